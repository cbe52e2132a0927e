"""CRC-32C, Kafka's checksum."""

from __future__ import annotations

import google_crc32c
import numpy as np


def crc32c(data: bytes | memoryview, before: int = 0) -> int:
    """The checksum of a buffer, without a copy: the library takes an array where it refuses a memoryview.

    Args:
        data: The buffer.
        before: Checksum of what comes before it.
    """
    found: int = google_crc32c.extend(before, np.frombuffer(data, np.uint8))
    return found
