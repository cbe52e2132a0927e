"""CRC-32, by the fastest library at hand.

Every byte that is read is checked. With the zlib that most systems have this runs at some 4 GB/s, and is the
dearest part of reading a typed column. ISA-L computes the same twenty times as fast. It is used where it is
installed, which the extra ``fast`` sees to.
"""

from __future__ import annotations

try:
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

__all__ = ["crc32"]
