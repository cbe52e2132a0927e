"""Blocks of typed topics read in parts: the header first, then the columns that somebody wants.

A header tells where each column lies. It is kept when it was read once, so another query over the
block fetches nothing but the columns it wants. Columns that lie close together are fetched in one request,
since a request costs as much as some hundred kilobytes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection
from typing import Final

from streamhouse import limits
from streamhouse.commits.state import BlockRef
from streamhouse.errors import CorruptionError
from streamhouse.format.columns import Columns
from streamhouse.format.partial import FRONT_BYTES, BlockIndex, read_index
from streamhouse.store.base import ObjectStore

_INDEX_BYTES_MAX: Final = 32 * limits.MIB
_LOCAL_GAP: Final = 16 * limits.KIB
_REMOTE_GAP: Final = 512 * limits.KIB


class PartReader:
    """Reads columns of blocks. Safe to call from any thread.

    Args:
        store: Where the blocks are.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._gap = _REMOTE_GAP if store.capabilities.remote else _LOCAL_GAP
        self._lock = threading.Lock()
        self._indexes: OrderedDict[tuple[str, int], BlockIndex] = OrderedDict()
        self._held = 0

    def worthwhile(self, ref: BlockRef) -> bool:
        """Whether a block is so large that parts of it are read sooner than all of it."""
        return ref.length > 2 * self._gap

    def fetch(self, ref: BlockRef, where: str, only: Collection[str]) -> tuple[Columns, int] | None:
        """Some columns of a block, and how many bytes were read for them.

        Args:
            ref: The block.
            where: Object and position, for messages.
            only: See :func:`~streamhouse.format.block.decode_block`.

        Returns:
            ``None``: the block is not typed, read it whole.

        Raises:
            CorruptionError: The bytes are not what was written.
            ObjectNotFoundError: The object is gone.
            StoreError: The store fails.
        """
        index, total = self.index(ref, where)
        if index is None:
            return None
        spans: dict[int, bytes] = {}
        for start, stop in self._requests(index.spans(only)):
            spans[start] = self._get(ref, start, stop, where)
            total += stop - start
        return index.decode(spans, only), total

    def index(self, ref: BlockRef, where: str) -> tuple[BlockIndex | None, int]:
        """What lies where in a block (``None``: it is not typed), and how many bytes were read to find out.

        Raises:
            CorruptionError: The bytes are not what was written.
            ObjectNotFoundError: The object is gone.
            StoreError: The store fails.
        """
        key = ref.object_name, ref.position
        with self._lock:
            known = self._indexes.get(key)
            if known is not None:
                self._indexes.move_to_end(key)
                return known, 0
        wanted = min(FRONT_BYTES, ref.length)
        found = read_index(self._get(ref, 0, wanted, where), ref.length, where)
        total = wanted
        if isinstance(found, int) and found > 0:
            total += found
            found = read_index(self._get(ref, 0, found, where), ref.length, where)
        if isinstance(found, int):
            return None, total
        with self._lock:
            if key not in self._indexes:
                self._indexes[key] = found
                self._held += found.nbytes
            while self._held > _INDEX_BYTES_MAX:
                _, oldest = self._indexes.popitem(last=False)
                self._held -= oldest.nbytes
        return found, total

    def _requests(self, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        requests: list[tuple[int, int]] = []
        for start, stop in spans:
            if requests and start - requests[-1][1] <= self._gap:
                start = requests.pop()[0]  # noqa: PLW2901
            requests.append((start, stop))
        return requests

    def _get(self, ref: BlockRef, start: int, stop: int, where: str) -> bytes:
        data = self._store.get(ref.object_name, ref.position + start, ref.position + stop)
        if len(data) != stop - start:
            raise CorruptionError(
                f"{where}: {len(data)} bytes are left of {stop - start}; the object was cut short"
            )
        return data
