"""Memory that was freed stays at hand, so that decoding a block does not begin with a request to the kernel.

Decoding makes buffers of megabytes that live for some milliseconds. glibc gives memory above a threshold
back to the kernel as soon as it is free, and gets it again, page by page and zeroed, for the next block: a
third of the time of a scan. The threshold rises by itself to the size of the largest piece that was ever
freed, and the one for trimming to twice that (``M_MMAP_THRESHOLD`` in ``mallopt(3)``). So one such piece is
taken and freed here; its pages are never touched. At most 64 MiB stay with each of glibc's heaps.
"""

from __future__ import annotations

from typing import Final

from streamhouse import limits

_LARGEST: Final = 32 * limits.MIB - 64 * limits.KIB  # pieces of more than 32 MiB do not move the threshold


def keep_freed_memory() -> None:
    """Let this process keep what it frees. With another C library it does nothing, at no cost."""
    bytes(_LARGEST)
