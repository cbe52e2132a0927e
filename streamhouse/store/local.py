"""A directory as an object store, safe for many processes and for loss of power.

An object is a file. It is written under a temporary name in its final folder, brought to the disk,
and only then given its name: with ``link``, which fails if the name is taken, or with ``rename``,
which replaces. Last, the folder is brought to the disk. Leave out any step and something
acknowledged can be lost:

* opening the final name with ``O_EXCL`` and writing afterwards shows half-written objects to
  others, and leaves them there for ever when the writer is killed (fsspec's local ``mode="create"``
  does this, after looking with ``exists()``, so two writers can win as well);
* without the sync of the file, a name can survive a loss of power while the bytes do not;
* without the sync of the folder, the name itself can be gone afterwards.

When the sync of the folder fails *after* the link, the object is visible and perhaps not durable.
It must not be taken back, because another process may have read it and built upon it. Nor may it be
acknowledged, and a second sync proves nothing (Linux reports a lost write once). So the store
raises :class:`~streamhouse.errors.StoreDurabilityError` then and refuses every later write.

Another process can read an object between its link and the sync of the folder. A loss of power in
that moment takes back what was read; what was acknowledged is safe.
"""

# One Path object costs as much as the system call it is made for:
# ruff: noqa: PTH100, PTH105, PTH108, PTH112, PTH116, PTH118, PTH120

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from stat import S_ISREG

from streamhouse.config import Durability
from streamhouse.errors import NotALogError, ObjectNotFoundError, StoreDurabilityError, StoreError
from streamhouse.runtime import Runtime, process_id
from streamhouse.store.base import Buffer, ObjectInfo, PutOutcome, StoreCapabilities
from streamhouse.store.failures import from_os_error
from streamhouse.store.filelock import file_lock
from streamhouse.store.folders import Folders, sync_data

_HIDDEN = "."  # temporary files, the lock, what file managers and NFS leave: never objects
_TEMPORARY = ".tmp-"
_BUFFERS_PER_CALL = min(os.sysconf("SC_IOV_MAX"), 1024)
_CAPABILITIES = StoreCapabilities(remote=False, atomic_create=True, shared=True)


class LocalStore:
    """Objects as files under a directory, which is made by the first write.

    Args:
        root: The directory.
        durability: ``"fsync"``, or ``"os"`` to leave the moment of writing to the operating system.
        runtime: Clock and randomness.

    Raises:
        NotALogError: The path exists and is not a directory.
    """

    def __init__(self, root: str, *, durability: Durability, runtime: Runtime) -> None:
        self._root = os.path.abspath(root)
        if os.path.lexists(self._root) and not os.path.isdir(self._root):
            raise NotALogError(f"{self._root} is not a directory; a local log needs one")
        self._durable = durability == "fsync"
        self._folders = Folders(self._root, durable=self._durable)
        self._runtime = runtime
        self._token = runtime.random_bytes(6).hex()
        self._counter = itertools.count()
        self._unsynced: str | None = None  # why writing has stopped

    @property
    def url(self) -> str:
        return self._root

    @property
    def capabilities(self) -> StoreCapabilities:
        return _CAPABILITIES

    def __repr__(self) -> str:
        return f"LocalStore({self._root!r})"

    def put_if_absent(self, name: str, data: Sequence[Buffer]) -> PutOutcome:
        path = self._path(name)
        temporary = self._write_temporary(path, data)
        try:
            outcome = _link(temporary, path)
        finally:
            _remove_quietly(temporary)
        if outcome is PutOutcome.CREATED:
            self._sync_folder(path)
        return outcome

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        path = self._path(name)
        temporary = self._write_temporary(path, data)
        try:
            os.replace(temporary, path)
        except OSError as error:
            _remove_quietly(temporary)
            raise from_os_error(error, "cannot replace", path) from error
        self._sync_folder(path)

    def upload(self, name: str, path: str) -> None:
        """Make an object out of a file of any size; see :meth:`put`."""
        with open(path, "rb") as file:  # noqa: PTH123
            if os.fstat(file.fileno()).st_size == 0:
                self.put(name, [])
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
                self.put(name, [view])

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        path = self._path(name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise ObjectNotFoundError(f"no object {name} in {self._root}") from None
        except OSError as error:
            raise from_os_error(error, "cannot read", path) from error
        try:
            size = os.fstat(descriptor).st_size
            stop = size if end is None else min(end, size)
            return _read(descriptor, start, stop)
        except OSError as error:
            raise from_os_error(error, "cannot read", path) from error
        finally:
            os.close(descriptor)

    def head(self, name: str) -> ObjectInfo | None:
        return self._info(name)

    def list(self, prefix: str, start_after: str = "", limit: int | None = None) -> list[ObjectInfo]:
        if limit is not None and limit <= 0:
            return []
        found: list[ObjectInfo] = []
        for name in self._walk(prefix.rpartition("/")[0], prefix, start_after):
            info = self._info(name)
            if info is not None:  # else deleted since the folder was read
                found.append(info)
                if len(found) == limit:
                    break
        return found

    def delete_many(self, names: Iterable[str]) -> None:
        for name in names:
            path = self._path(name)
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError as error:
                raise from_os_error(error, "cannot delete", path) from error

    def commit_lock(self, timeout_seconds: float) -> AbstractContextManager[bool]:
        return file_lock(self._root, timeout_seconds, self._runtime)

    def sweep(self, older_than_seconds: float) -> int:
        before = self._runtime.time_ms() / 1000 - older_than_seconds
        removed = 0
        for folder, folders, files in os.walk(self._root, topdown=False):
            for path in (os.path.join(folder, file) for file in files if file.startswith(_TEMPORARY)):
                removed += _remove_if_older(path, before, os.unlink)
            for path in (os.path.join(folder, child) for child in folders):
                removed += _remove_if_older(path, before, os.rmdir)
        return removed

    def close(self) -> None:
        """Nothing to give back: every call opens and closes what it needs."""

    def _path(self, name: str) -> str:
        if not name or name.startswith(("/", _HIDDEN)) or "/." in name or "//" in name:
            raise ValueError(f"{name!r} cannot be the name of an object")
        return f"{self._root}/{name}"

    def _write_temporary(self, path: str, data: Sequence[Buffer]) -> str:
        """Write the bytes, durably, into a new file next to ``path``, or raise and leave none."""
        if self._unsynced is not None:
            raise StoreDurabilityError(self._unsynced)
        folder = os.path.dirname(path)
        temporary = f"{folder}/{_TEMPORARY}{process_id()}-{self._token}-{next(self._counter)}"
        try:
            self._folders.ready(folder)
            try:
                descriptor = os.open(temporary, _NEW_FILE, 0o666)
            except FileNotFoundError:  # somebody removed the folder
                self._folders.make(folder)
                descriptor = os.open(temporary, _NEW_FILE, 0o666)
        except OSError as error:
            raise _write_error(error, path) from error
        try:
            try:
                _write(descriptor, data)
                if self._durable:
                    sync_data(descriptor)
            finally:
                os.close(descriptor)  # before the link: NFS reports a full disk only here
        except BaseException as error:
            _remove_quietly(temporary)
            if isinstance(error, OSError):
                raise _write_error(error, path) from error
            raise
        return temporary

    def _sync_folder(self, path: str) -> None:
        folder = os.path.dirname(path)
        try:
            self._folders.sync(folder)
        except OSError as error:
            self._unsynced = (
                f"{folder} could not be brought to the disk ({error.strerror}) after {path} was "
                "made: that object may be lost or kept, and this writer must stop. Check the disk, "
                "then open the log anew"
            )
            raise StoreDurabilityError(self._unsynced) from error

    def _info(self, name: str) -> ObjectInfo | None:
        path = self._path(name)
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise from_os_error(error, "cannot look at", path) from error
        if not S_ISREG(status.st_mode):
            return None
        return ObjectInfo(name, status.st_size, status.st_mtime_ns // 1_000_000)

    def _walk(self, folder: str, prefix: str, start_after: str) -> Iterator[str]:
        """Names under a folder in order, read lazily so that a limit spares the rest."""
        base = f"{folder}/" if folder else ""
        path = f"{self._root}/{folder}" if folder else self._root
        try:
            with os.scandir(path) as entries:
                # A folder sorts as "name/", which puts its content where the full names belong.
                names = [
                    f"{base}{entry.name}/" if entry.is_dir() else base + entry.name
                    for entry in entries
                    if entry.name[0] != _HIDDEN
                ]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise from_os_error(error, "cannot list", path) from error
        names.sort()
        for name in names:
            if name[-1] == "/":
                if (name > start_after or start_after.startswith(name)) and (
                    name.startswith(prefix) or prefix.startswith(name)
                ):
                    yield from self._walk(name[:-1], prefix, start_after)
            elif name > start_after and name.startswith(prefix):
                yield name


_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def _link(temporary: str, path: str) -> PutOutcome:
    """Give the finished file its name, unless the name is taken."""
    try:
        os.link(temporary, path)
    except OSError as error:
        # Over NFS the answer to a link that worked can get lost, and its repetition then fails with
        # "exists". The number of names of our own file tells.
        try:
            names = os.stat(temporary).st_nlink
        except OSError:
            return PutOutcome.UNKNOWN
        if names > 1:
            return PutOutcome.CREATED
        if isinstance(error, FileExistsError):
            return PutOutcome.EXISTS
        raise _write_error(error, path) from error
    return PutOutcome.CREATED


def _write(descriptor: int, data: Sequence[Buffer]) -> None:
    pending = [memoryview(buffer).cast("B") for buffer in data if len(buffer)]
    while pending:
        written = os.writev(descriptor, pending[:_BUFFERS_PER_CALL])
        while pending and written >= len(pending[0]):
            written -= len(pending.pop(0))
        if written:
            pending[0] = pending[0][written:]


def _read(descriptor: int, start: int, stop: int) -> bytes:
    if start >= stop:
        return b""
    data = os.pread(descriptor, stop - start, start)
    if len(data) == stop - start:
        return data
    pieces = [data]  # one call moves at most 2 GiB
    while data and (start := start + len(data)) < stop:
        data = os.pread(descriptor, stop - start, start)
        pieces.append(data)
    return b"".join(pieces)


def _write_error(error: OSError, path: str) -> StoreError:
    translated = from_os_error(error, "cannot write", path)
    if isinstance(translated, ObjectNotFoundError):  # a folder of the path is a file, or vanished
        return StoreError(str(translated))
    return translated


def _remove_quietly(path: str) -> None:
    with contextlib.suppress(OSError):  # what is left is removed by a later sweep
        os.unlink(path)


def _remove_if_older(path: str, before: float, remove: Callable[[str], None]) -> int:
    try:
        if os.lstat(path).st_mtime >= before:
            return 0
        remove(path)
    except OSError:  # gone, not empty, or not ours
        return 0
    return 1
