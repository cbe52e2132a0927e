"""Folders of a local store: made on first need, and made durable before anything is put into them.

A file survives a loss of power only if its folder's entry for it does, and the folder only if *its*
parent's entry does. A folder made by another process a moment ago may not be on disk yet, although
we can write into it: so the first write into each folder by this process syncs the whole chain of
parents, whoever made it.
"""

# The callers have strings, see local.py:
# ruff: noqa: PTH103, PTH120

from __future__ import annotations

import os
import sys
from collections.abc import Callable

if sys.platform == "darwin":
    import fcntl

    def sync_data(descriptor: int) -> None:
        """Bring the bytes of a file to the disk."""
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # plain fsync stops at the drive's cache

else:
    sync_data: Callable[[int], None] = os.fdatasync


class Folders:
    """Makes folders under (and including) ``root``.

    Args:
        root: Absolute path.
        durable: Whether folders and their entries must survive a loss of power.
    """

    def __init__(self, root: str, *, durable: bool) -> None:
        self._root = root
        self._durable = durable
        self._anchored: set[str] = set()

    def ready(self, folder: str) -> None:
        """Have the folder exist, with a durable path to it. Cheap from the second call on."""
        if folder not in self._anchored:
            self.make(folder)

    def make(self, folder: str) -> None:
        """As :meth:`ready`, but believing nothing (somebody may have removed the folder)."""
        os.makedirs(folder, exist_ok=True)
        if self._durable:
            self._sync_parents(folder)
        self._anchored.add(folder)

    def sync(self, folder: str) -> None:
        """Bring the entries of a folder to the disk."""
        if self._durable:
            sync_folder(folder)

    def _sync_parents(self, folder: str) -> None:
        # The root may have been made along with its own parents, so go on above it as long as we
        # may.
        while (parent := os.path.dirname(folder)) != folder:
            inside = len(parent) >= len(self._root)
            try:
                sync_folder(parent)
            except OSError:
                if inside:
                    raise
                return  # a folder above the log that is not ours to open was there before us
            folder = parent


def sync_folder(folder: str) -> None:
    """``fsync`` a folder: its entries, not what they point to."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
