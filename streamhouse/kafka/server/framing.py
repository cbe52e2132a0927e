"""Cutting the bytes of a connection into requests, into memory of the right size. No I/O.

Requests are preceded by their size. Small ones are cut out of one shared buffer, of which a single read fills
as much as there is. A large one gets memory of its own, and the rest of it is read right there. That memory
grows with what really comes: a size that somebody claims costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_SIZE_BYTES: Final = 4
_SHARED_BYTES: Final = 16 << 10  # there may be thousands of connections
_OWN_BYTES_FIRST: Final = 2 << 20


class FrameTooLargeError(Exception):
    """The size in front of a request is more than is allowed, or is none."""


class Framer:
    """One connection's buffers.

    Args:
        frame_bytes_max: Largest request.

    Attributes:
        frame_bytes_max: Likewise; it may be changed.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._shared = bytearray(_SHARED_BYTES)
        self._view = memoryview(self._shared)
        self._filled = 0
        self._own: bytearray | None = None  # a large request, being read
        self._own_size = 0
        self._own_filled = 0

    def buffer(self) -> memoryview:
        """Where to read into; never empty."""
        if self._own is None:
            return self._view[self._filled :]
        if self._own_filled == len(self._own):
            grown = bytearray(min(self._own_size, 2 * len(self._own)))
            grown[: self._own_filled] = self._own
            self._own = grown
        return memoryview(self._own)[self._own_filled :]

    def received(self, count: int) -> Iterator[memoryview]:
        """Note that so many bytes were read; the requests that are complete now, without their sizes.

        Raises:
            FrameTooLargeError: What comes next is no request.
        """
        if self._own is not None:
            self._own_filled += count
            if self._own_filled == self._own_size:
                frame, self._own = memoryview(self._own), None
                yield frame
            return
        self._filled += count
        yield from self._cut()

    def _cut(self) -> Iterator[memoryview]:
        position = 0
        while self._filled - position >= _SIZE_BYTES:
            size = int.from_bytes(self._view[position : position + _SIZE_BYTES], "big", signed=True)
            if not 0 <= size <= self.frame_bytes_max:
                raise FrameTooLargeError(f"a request of {size} bytes; {self.frame_bytes_max} are allowed")
            start = position + _SIZE_BYTES
            if start + size > self._filled:
                if _SIZE_BYTES + size > _SHARED_BYTES:
                    self._begin_own(start, size)
                    return
                break
            yield memoryview(bytes(self._view[start : start + size]))
            position = start + size
        self._keep(position)

    def _begin_own(self, start: int, size: int) -> None:
        present = self._filled - start
        own = bytearray(min(size, _OWN_BYTES_FIRST))
        own[:present] = self._view[start : self._filled]
        self._own, self._own_size, self._own_filled = own, size, present
        self._filled = 0

    def _keep(self, position: int) -> None:
        """Move what is left of an incomplete request to the beginning."""
        left = self._filled - position
        if position and left:
            self._shared[:left] = bytes(self._view[position : self._filled])
        self._filled = left
