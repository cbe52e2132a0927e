"""Cutting the bytes of a connection into requests, into memory of the right size. No I/O.

Requests are preceded by their size. Small ones are cut out of one shared buffer, of which a single read fills
as much as there is. A large one gets memory of its own, once it was granted, and the rest of it is read right
there. That memory grows with what really comes: a size that somebody claims costs nothing.

Requests are taken one at a time, by whoever knows whether there is room for another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_SIZE_BYTES: Final = 4
_KEY_BYTES: Final = 2
_SHARED_BYTES: Final = 16 << 10  # there may be thousands of connections
_OWN_BYTES_FIRST: Final = 256 << 10


class FrameTooLargeError(Exception):
    """The size in front of a request is more than is allowed, or is none."""


class Framer:
    """One connection's buffers.

    Args:
        frame_bytes_max: Largest request.
        bytes_max_of: Largest request of a kind, by the number of its API.

    Attributes:
        frame_bytes_max: Likewise; it may be changed.
        claimed: Size of a large request for which no memory was granted yet; 0: there is none.
    """

    def __init__(self, frame_bytes_max: int, bytes_max_of: Callable[[int], int] | None = None) -> None:
        self.frame_bytes_max = frame_bytes_max
        self.claimed = 0
        self._bytes_max_of = bytes_max_of
        self._shared = bytearray(_SHARED_BYTES)
        self._view = memoryview(self._shared)
        self._start = 0  # where the next request begins
        self._filled = 0
        self._own: bytearray | None = None  # a large request, being read
        self._own_size = 0
        self._own_filled = 0

    @property
    def filling(self) -> bool:
        """Whether a large request is being read."""
        return self._own is not None

    def buffer(self) -> memoryview:
        """Where to read into; never empty, if all requests that were complete have been taken."""
        if self._own is None:
            self._compact()
            return self._view[self._filled :]
        if self._own_filled == len(self._own):
            grown = bytearray(min(self._own_size, 2 * len(self._own)))
            grown[: self._own_filled] = self._own
            self._own = grown
        return memoryview(self._own)[self._own_filled :]

    def received(self, count: int) -> None:
        """Note that so many bytes were read."""
        if self._own is None:
            self._filled += count
        else:
            self._own_filled += count

    def next(self) -> memoryview | None:
        """The next request without its size; ``None``: it is not complete, or has no memory.

        Raises:
            FrameTooLargeError: What comes next is no request.
        """
        if self._own is not None:
            if self._own_filled < self._own_size:
                return None
            frame, self._own = memoryview(self._own), None
            return frame
        present = self._filled - self._start - _SIZE_BYTES
        if present < 0 or self.claimed:
            return None
        begin = self._start + _SIZE_BYTES
        size = int.from_bytes(self._view[self._start : begin], "big", signed=True)
        if not 0 <= size <= self.frame_bytes_max:
            raise FrameTooLargeError(f"a request of {size} bytes; {self.frame_bytes_max} are allowed")
        if size <= present:
            self._start = begin + size
            return memoryview(bytes(self._view[begin : self._start]))
        if _SIZE_BYTES + size > _SHARED_BYTES and present >= _KEY_BYTES:
            self._check_kind(size, begin)
            self.claimed = size
        return None

    def grant(self) -> None:
        """There is memory for what was claimed."""
        begin = self._start + _SIZE_BYTES
        own = bytearray(min(self.claimed, _OWN_BYTES_FIRST))
        own[: self._filled - begin] = self._view[begin : self._filled]
        self._own, self._own_size, self._own_filled = own, self.claimed, self._filled - begin
        self._start = self._filled = self.claimed = 0

    def _check_kind(self, size: int, begin: int) -> None:
        if self._bytes_max_of is None:
            return
        key = int.from_bytes(self._view[begin : begin + _KEY_BYTES], "big")
        allowed = self._bytes_max_of(key)
        if size > allowed:
            raise FrameTooLargeError(f"a request {key} of {size} bytes; {allowed} are allowed")

    def _compact(self) -> None:
        """Move what is left of an incomplete request to the beginning."""
        left = self._filled - self._start
        if self._start:
            if left:
                self._shared[:left] = bytes(self._view[self._start : self._filled])
            self._start, self._filled = 0, left
