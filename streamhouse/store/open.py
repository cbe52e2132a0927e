"""From a URL to the store behind it.

========================  ==========================================================
``./data``, ``file://…``  a directory
``memory://``             memory, private to the log; ``memory://name`` is shared
``s3://bucket/prefix``    a bucket, through s3fs
anything else             the fsspec filesystem of that protocol
========================  ==========================================================

Only the filesystem that is asked for gets imported.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from streamhouse.config import Settings
from streamhouse.errors import (
    InvalidSettingError,
    InvalidUrlError,
    MissingExtraError,
    StoreAccessError,
    StoreUnavailableError,
    nearest,
)
from streamhouse.runtime import Runtime
from streamhouse.store.base import ObjectStore
from streamhouse.store.local import LocalStore
from streamhouse.store.memory import MemoryStore

if TYPE_CHECKING:
    from streamhouse.store.generic import FsspecStore

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}|arn:[A-Za-z0-9:/_-]+")
_ONE_SLASH = re.compile(r"([a-z][a-z0-9+]*):/?(?!/)")
_USER = re.compile(r"(?<=://)[^/?#]*@")
_OWN: Final = ("file", "local", "memory", "s3", "s3a")
_NO_STORE: Final = {
    "http": "a web server stores nothing; for a server that speaks S3, open s3://bucket/prefix with "
    'storage_options={"endpoint_url": ...}',
    "https": "a web server stores nothing; for a server that speaks S3, open s3://bucket/prefix with "
    'storage_options={"endpoint_url": ...}',
}


def open_store(
    url: str | os.PathLike[str],
    storage_options: Mapping[str, Any] | None,
    settings: Settings,
    runtime: Runtime,
) -> ObjectStore:
    """Make the store that a URL names. Nothing is read or written yet.

    Args:
        url: A path, or ``protocol://place``.
        storage_options: Endpoint, credentials and the like, for the fsspec filesystem.
        settings: Durability and concurrency.
        runtime: Clock and randomness.

    Raises:
        InvalidUrlError: The URL cannot be understood.
        InvalidSettingError: The filesystem does not know a storage option.
        MissingExtraError: The package for the protocol is not installed.
        NotALogError: The path is a file.
        StoreUnavailableError: A filesystem that connects at once could not.
    """
    options = dict(storage_options or {})
    text = _text(url)
    protocol, separator, place = text.partition("://")
    if not separator:
        _refuse_options(options, "a directory")
        return _local(os.path.expanduser(text), settings, runtime)  # noqa: PTH111
    protocol = protocol.lower()
    if protocol in {"file", "local"}:
        _refuse_options(options, "a directory")
        return _local(_path_of_file_url(text, place), settings, runtime)
    if protocol == "memory":
        _refuse_options(options, "memory")
        return MemoryStore(runtime, place.strip("/"))
    if protocol in {"s3", "s3a"}:
        return _s3(text, place, options, settings, runtime)
    return open_fsspec_store(text, options, runtime)


def without_credentials(url: str) -> str:
    """The URL as messages may show it."""
    return _USER.sub("***@", url.partition("?")[0])


def _text(url: object) -> str:
    if not isinstance(url, (str, os.PathLike)):
        raise InvalidUrlError(f"a log URL is a string or a path, not {type(url).__name__}")
    text = os.fspath(url)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise InvalidUrlError(f"{text!r} is neither a path nor a URL")
    if isinstance(url, os.PathLike):
        return text if "://" not in text else f"./{text}"
    if "::" in text:
        raise InvalidUrlError(f"{without_credentials(text)!r} chains filesystems; a log needs the plain one")
    if match := _ONE_SLASH.match(text):
        known = match[1] in _OWN or match[1] in _NO_STORE
        if known and not Path(text).exists():
            # Not repeated: what follows may hold credentials, and there is no telling where.
            raise InvalidUrlError(f"a URL with {match[1]}: begins with {match[1]}://, two slashes")
    return text


def _refuse_options(options: Mapping[str, Any], place: str) -> None:
    if options:
        raise InvalidSettingError(f"{place} takes no storage_options; got {', '.join(options)}")


def _local(path: str, settings: Settings, runtime: Runtime) -> ObjectStore:
    return LocalStore(path, durability=settings.durability, runtime=runtime)


def _path_of_file_url(text: str, place: str) -> str:
    host, _, path = place.partition("/")
    if host not in {"", "localhost"} or not path:
        raise InvalidUrlError(f"{text!r}: write file:///absolute/path, or the bare path")
    return "/" + urllib.parse.unquote(path)


def _s3(text: str, place: str, options: dict[str, Any], settings: Settings, runtime: Runtime) -> ObjectStore:
    if "@" in place.partition("/")[0]:
        raise InvalidUrlError(
            f"{without_credentials(text)!r}: credentials do not belong in the URL; pass them as "
            'storage_options={"key": ..., "secret": ...}'
        )
    if "?" in place or "#" in place:
        raise InvalidUrlError(
            f"{without_credentials(text)!r}: an s3 URL is s3://bucket/prefix; pass anything else as "
            "storage_options"
        )
    # The ARN of an access point has slashes of its own: arn:aws:s3:region:account:accesspoint/name
    parts = place.split("/", 2) if place.startswith("arn:") else place.split("/", 1)
    bucket = "/".join(parts[:2]) if place.startswith("arn:") else parts[0]
    prefix = place[len(bucket) :].strip("/")
    if not _BUCKET.fullmatch(bucket):
        raise InvalidUrlError(f"{text!r} names no bucket; write s3://bucket/prefix")
    if "//" in prefix:
        raise InvalidUrlError(f"{text!r} has an empty part in its prefix")
    from streamhouse.store.s3 import S3Store

    return S3Store(
        bucket,
        prefix,
        options,
        request_concurrency=settings.request_concurrency,
        runtime=runtime,
    )


def open_fsspec_store(url: str, storage_options: Mapping[str, Any] | None, runtime: Runtime) -> FsspecStore:
    """Make the store of a URL that no store of our own is for; see :func:`open_store`."""
    shown = without_credentials(url)
    protocol = url.partition("://")[0].lower()
    options = dict(storage_options or {})
    if protocol in _NO_STORE:
        raise InvalidUrlError(f"{shown!r}: {_NO_STORE[protocol]}")
    import fsspec
    from fsspec.registry import known_implementations, registry

    known = {*_OWN, *known_implementations, *registry}
    if protocol not in known:
        raise InvalidUrlError(f"{shown!r}: unknown protocol {protocol!r}{nearest(protocol, known)}")
    try:
        filesystem = fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        raise MissingExtraError(
            f"{protocol}:// needs a package that is not installed: pip install {_package(protocol, error)}"
        ) from None
    # What the URL itself says about the place (host, user), as fsspec does it.
    arguments = {**filesystem._get_kwargs_from_urls(url), **options}
    root = filesystem._strip_protocol(url)

    def make() -> Any:
        try:
            return filesystem(**arguments, skip_instance_cache=True)
        except (TypeError, ValueError) as error:
            raise InvalidSettingError(
                f"{protocol}:// refuses the storage options {', '.join(options) or '(none)'} "
                f"({type(error).__name__})"
            ) from None
        except PermissionError:
            raise StoreAccessError(f"{shown}: access denied; check the credentials") from None
        except Exception as error:  # noqa: BLE001 - some connect at once, and raise anything
            kind = type(error).__name__
            raise StoreUnavailableError(f"{shown} cannot be reached ({kind})") from None

    from streamhouse.store.generic import FsspecStore

    return FsspecStore(make, root, url=shown.rstrip("/"), protocol=protocol, runtime=runtime)


def _package(protocol: str, error: ImportError) -> str:
    """What to install: the package of the filesystem, or what fsspec's own implementation needs."""
    from fsspec.registry import known_implementations

    package = str(known_implementations[protocol]["class"]).partition(".")[0]
    if package != "fsspec":
        return package
    cause = error.__cause__
    missing = cause.name if isinstance(cause, ImportError) else None
    return (missing or f"fsspec[{protocol}]").partition(".")[0]
