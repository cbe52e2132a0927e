"""Places outside of the log, where exports go: any that fsspec can write to.

A file that is finished is uploaded, and shows up there as a whole or not at all. Credentials are those of the
log where it lies in the same kind of place; else what fsspec and the client of that place find in the
environment and in their configuration. They never show up in messages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol, cast

from streamhouse.config import Settings
from streamhouse.errors import InvalidSettingError, InvalidUrlError, NotALogError
from streamhouse.records import is_unicode
from streamhouse.runtime import Runtime
from streamhouse.store.base import ObjectInfo
from streamhouse.store.open import open_fsspec_store, open_store, without_credentials

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_S3: Final = frozenset(("s3", "s3a"))
_LOCAL: Final = frozenset(("file", "local"))


class Place(Protocol):
    """A folder of files, somewhere."""

    @property
    def url(self) -> str:
        """Where it is, without credentials."""

    def list(self, prefix: str, start_after: str = "", limit: int | None = None) -> list[ObjectInfo]:
        """The files in it; see :class:`~streamhouse.store.base.ObjectStore`."""

    def upload(self, name: str, path: str) -> None:
        """Put a file there, in the place of what may be there; as a whole, or not at all."""

    def delete_many(self, names: Iterable[str]) -> None:
        """Remove files; names that do not exist are fine."""

    def close(self) -> None:
        """Give back connections and threads."""


class Outside:
    """Opens places for a log.

    Args:
        log: Where the log is.
        storage_options: Of the log.
        settings: Of the log.
        runtime: Clock and randomness.
    """

    def __init__(
        self,
        log: str | os.PathLike[str] | None,
        storage_options: Mapping[str, Any] | None,
        settings: Settings,
        runtime: Runtime,
    ) -> None:
        self._log = "" if log is None else os.fspath(log)
        self._options = dict(storage_options or {})
        self._settings = settings
        self._runtime = runtime

    def open(self, url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> Place:
        """A folder.

        Args:
            url: A path, or ``protocol://place``.
            storage_options: For its filesystem; by default those of the log, where they are meant for
                that place, too.

        Raises:
            InvalidUrlError: The URL cannot be understood.
            InvalidSettingError: ``storage_options`` are none, or none that the filesystem knows.
            MissingExtraError: The package for the protocol is not installed.
            StoreUnavailableError: A filesystem that connects at once could not.
        """
        text = _text(url)
        if not isinstance(storage_options, Mapping | None):
            raise InvalidSettingError(
                f"storage_options are names and values, not {type(storage_options).__name__}"
            )
        if storage_options is None and self._shares_options(text):
            storage_options = self._options
        try:
            if protocol_of(text) == "memory":  # that of fsspec, which others see as well
                return open_fsspec_store(text, storage_options, self._runtime)
            return cast(Place, open_store(url, storage_options, self._settings, self._runtime))
        except NotALogError:
            raise InvalidUrlError(f"{text} is a file; this needs a folder") from None

    def open_file(self, url: str, storage_options: Mapping[str, Any] | None = None) -> tuple[Place, str]:
        """The folder of a file, and the file's name in it; see :meth:`open`."""
        folder, slash, name = url.rpartition("/")
        if not (slash and name) or (folder.endswith(":/") and protocol_of(url) in _S3):
            raise InvalidUrlError(f"{without_credentials(url)!r} names no file")
        if protocol_of(url) in _S3 and folder.endswith("/"):
            raise InvalidUrlError(f"{without_credentials(url)!r} has an empty part in its key")
        if protocol_of(url) in _S3 and not {"?", "#"}.isdisjoint(name):
            raise InvalidUrlError(f"{without_credentials(url)!r}: an s3 URL is s3://bucket/key")
        return self.open(f"{folder}/" if folder.endswith(":/") else folder, storage_options), name

    def _shares_options(self, url: str) -> bool:
        """Whether the log's options are for that place as well: the same service, at the same address."""
        protocol, own = protocol_of(url), protocol_of(self._log)
        if not self._options or not own:
            return False
        if protocol in _S3 and own in _S3:
            return True
        return protocol == own and _address(url) == _address(self._log)


def _text(url: object) -> str:
    text = os.fspath(url) if isinstance(url, str | os.PathLike) else None
    if not isinstance(text, str):
        raise InvalidUrlError(f"a folder is a path or a URL, not {type(url).__name__}")
    if not is_unicode(text):
        raise InvalidUrlError(f"{without_credentials(text)!r} is no Unicode text")
    return text


def protocol_of(url: str) -> str:
    """The protocol of a URL in small letters; empty for a path, also one with ``file://``."""
    found = _URL.match(url)
    protocol = "" if found is None else found[1].lower()
    return "" if protocol in _LOCAL else protocol


def _address(url: str) -> dict[str, Any]:
    """What a URL says about the server: host, user and the like."""
    import fsspec

    arguments: dict[str, Any] = fsspec.get_filesystem_class(protocol_of(url))._get_kwargs_from_urls(url)
    return arguments
