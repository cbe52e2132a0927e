"""Any other filesystem that fsspec knows, for one writing process unless it creates atomically.

Most filesystems of fsspec have no atomic creation: they look whether the name is free, and then
write. Two processes can both find it free. A few (Google, Azure) have a real one. For the others
this store looks and writes itself, and does so slowly for the names of the capability probe, so
that the probe sees a race that is there instead of being lucky.

Nothing here is synced or written aside and renamed, since fsspec has neither: whoever wants that of
a directory uses :class:`~streamhouse.store.local.LocalStore`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from streamhouse.errors import (
    ObjectNotFoundError,
    StoreAccessError,
    StoreError,
    StoreUnavailableError,
)
from streamhouse.format import names as object_names
from streamhouse.runtime import Runtime, process_id
from streamhouse.store.base import Buffer, ObjectInfo, PutOutcome, StoreCapabilities
from streamhouse.store.failures import from_os_error

CREATING_PROTOCOLS = frozenset({"abfs", "abfss", "az", "gcs", "gs"})
"""Protocols whose ``pipe_file(mode="create")`` is one conditional request."""

_LOCAL_PROTOCOLS = frozenset({"dir", "file", "local", "memory"})
_LONG_BYTES = 64 << 20
_PROBE_PAUSE_SECONDS = 0.02
_TIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class FsspecStore:
    """Objects as files of an fsspec filesystem.

    Args:
        make: Makes a new filesystem instance; called again in a forked child.
        root: Where in it, as the filesystem writes paths.
        url: For messages, without credentials.
        protocol: Its fsspec protocol.
        runtime: Clock for filesystems that do not say when a file was written.
    """

    def __init__(
        self, make: Callable[[], Any], root: str, *, url: str, protocol: str, runtime: Runtime
    ) -> None:
        self._make = make
        self._filesystem = make()
        self._process = process_id()
        self._root = f"{root.rstrip('/')}/" if root else ""
        self._url = url
        self._creates = protocol in CREATING_PROTOCOLS
        self._remote = protocol not in _LOCAL_PROTOCOLS
        self._runtime = runtime
        self._folders: set[str] = set()

    @property
    def url(self) -> str:
        return self._url

    @property
    def capabilities(self) -> StoreCapabilities:
        return StoreCapabilities(remote=self._remote, atomic_create=False, shared=True)

    def __repr__(self) -> str:
        return f"FsspecStore({self._url!r})"

    def put_if_absent(self, name: str, data: Sequence[Buffer]) -> PutOutcome:
        content = b"".join(data)
        if not self._creates:
            return self._look_and_write(name, content)
        try:
            self._fs.pipe_file(self._root + name, content, mode="create")
        except FileExistsError:
            return PutOutcome.EXISTS
        except PermissionError as error:
            raise self._error(error, "cannot create", name) from None
        except Exception:  # noqa: BLE001 - it may have been carried out; the caller looks
            return PutOutcome.UNKNOWN
        return PutOutcome.CREATED

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        content = b"".join(data)
        with self._translated("cannot write", name):
            self._have_folder(name)
            self._fs.pipe_file(self._root + name, content)

    def upload(self, name: str, path: str) -> None:
        """Make an object out of a file; others see it when it is complete."""
        target = self._root + name
        with self._translated("cannot write", name):
            self._have_folder(name)
            if self._creates:  # these show what they are sent when they have it all
                self._fs.put_file(path, target)
                return
            folder, _, file = target.rpartition("/")
            part = f"{folder}/.part-{process_id()}-{file}"
            try:
                self._fs.put_file(path, part)
                self._rename(part, target)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._fs.rm_file(part)
                raise

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        if end is not None and start >= end:
            return b""
        if end is not None and end - start > _LONG_BYTES:  # some allocate what they are asked for
            info = self.head(name)
            end = end if info is None else min(end, max(start, info.size))
        whole = start == 0 and end is None
        try:
            with self._translated("cannot read", name):
                data: bytes = self._fs.cat_file(self._root + name, start=None if whole else start, end=end)
        except ObjectNotFoundError:
            raise
        except StoreError:
            info = self.head(name) if start else None
            if info is None or start < info.size:
                raise
            return b""  # some filesystems refuse a range past the end
        return data

    def head(self, name: str) -> ObjectInfo | None:
        try:
            with self._translated("cannot look at", name):
                self._fs.invalidate_cache()
                return self._info(name, self._fs.info(self._root + name))
        except ObjectNotFoundError:
            return None

    def list(self, prefix: str, start_after: str = "", limit: int | None = None) -> list[ObjectInfo]:
        folder = self._root + prefix.rpartition("/")[0]
        try:
            with self._translated("cannot list", prefix):
                self._fs.invalidate_cache()
                found = self._fs.find(folder, detail=True)
        except ObjectNotFoundError:
            return []
        skipped = len(self._root)
        infos = {path[skipped:]: info for path, info in found.items()}
        names = sorted(name for name in infos if name.startswith(prefix) and name > start_after)
        entries = (self._info(name, infos[name]) for name in names)
        listed = [entry for entry in entries if entry is not None]
        return listed if limit is None else listed[: max(limit, 0)]

    def delete_many(self, names: Iterable[str]) -> None:
        for name in names:
            with (
                contextlib.suppress(ObjectNotFoundError),
                self._translated("cannot delete", name),
            ):
                self._fs.rm_file(self._root + name)

    def sweep(self, older_than_seconds: float) -> int:  # noqa: ARG002 - nothing is left behind here
        return 0

    def commit_lock(
        self,
        timeout_seconds: float,  # noqa: ARG002 - there is nothing to wait for
    ) -> AbstractContextManager[bool]:
        return contextlib.nullcontext(False)

    def close(self) -> None:
        """Nothing to give back; fsspec closes connections when the instance is collected."""

    @property
    def _fs(self) -> Any:
        if self._process != process_id():
            self._filesystem = self._make()
            self._process = process_id()
        return self._filesystem

    def _look_and_write(self, name: str, content: bytes) -> PutOutcome:
        path = self._root + name
        with self._translated("cannot create", name):
            self._fs.invalidate_cache()
            if self._fs.exists(path):
                return PutOutcome.EXISTS
            self._have_folder(name)
        if name.startswith(object_names.PROBES):
            time.sleep(_PROBE_PAUSE_SECONDS)
        try:
            with self._translated("cannot create", name):
                self._fs.pipe_file(path, content)
        except StoreError:
            # A full disk leaves half a file. With one writer it is ours, and must not look like a
            # commit.
            try:
                if self._fs.exists(path):
                    self._fs.rm_file(path)
            except Exception:  # noqa: BLE001 - it stays, so the outcome is open
                return PutOutcome.UNKNOWN
            raise
        return PutOutcome.CREATED

    def _have_folder(self, name: str) -> None:
        folder = (self._root + name).rpartition("/")[0]
        if self._creates or not folder or folder in self._folders:
            return
        self._fs.makedirs(folder, exist_ok=True)
        self._folders.add(folder)

    def _rename(self, path: str, target: str) -> None:
        from fsspec import AbstractFileSystem

        if type(self._fs).mv is AbstractFileSystem.mv:  # which takes names for patterns
            self._fs.cp_file(path, target)
            self._fs.rm_file(path)
            return
        if self._fs.exists(target):  # not all of them rename over what is there
            self._fs.rm_file(target)
        self._fs.mv(path, target)

    def _info(self, name: str, info: dict[str, Any]) -> ObjectInfo | None:
        if info.get("type") == "directory":
            return None
        moment = next((info[key] for key in _TIME_KEYS if info.get(key) is not None), None)
        return ObjectInfo(name, int(info.get("size") or 0), self._milliseconds(moment))

    def _milliseconds(self, moment: object) -> int:
        if isinstance(moment, str):
            with contextlib.suppress(ValueError):
                moment = dt.datetime.fromisoformat(moment)
        if isinstance(moment, dt.datetime):
            aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
            return round(aware.timestamp() * 1000)
        if isinstance(moment, (int, float)):
            return round(moment * 1000)
        # Unknown age counts as new: what looks old may be collected.
        return self._runtime.time_ms()

    @contextlib.contextmanager
    def _translated(self, action: str, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - filesystems raise what their library raises
            raise self._error(error, action, name) from None

    def _error(self, error: Exception, action: str, name: str) -> StoreError:
        place = f"{self._url}/{name}"
        if isinstance(error, FileNotFoundError):
            return ObjectNotFoundError(f"no object {name} in {self._url}")
        if isinstance(error, PermissionError):
            return StoreAccessError(f"{action} {place}: access denied; check the credentials")
        if isinstance(error, (ConnectionError, TimeoutError)):
            return StoreUnavailableError(f"{action} {place}: no answer ({type(error).__name__})")
        if isinstance(error, OSError) and error.errno:
            return from_os_error(error, action, place)
        # The text of an unknown error may hold a URL with a password.
        return StoreError(f"{action} {place}: {type(error).__name__}")
