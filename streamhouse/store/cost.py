"""What requests cost at S3's list prices (us-east-1, standard class, 2026).

Below about 50 MB/s the requests are the bill, not the bytes. Storage and traffic out of the region
are not counted here; requests are counted as S3 bills them: a listing costs as much as a PUT, one
for each thousand names; deletions are free.
"""

from __future__ import annotations

from typing import Final

import msgspec

SECONDS_PER_MONTH: Final = 730 * 3600
DOLLARS_PER_PUT: Final = 0.005 / 1000  # PUT, COPY, POST, LIST
DOLLARS_PER_GET: Final = 0.0004 / 1000  # GET, HEAD and all others


class RequestCounts(msgspec.Struct, frozen=True):
    """Requests to a store, by billing class, and the bytes they moved.

    Attributes:
        puts: Objects written or attempted, conditional or not.
        gets: Objects read, whole or in part, found or not.
        heads: Looks at size and time.
        lists: Listings, counted per page of a thousand names.
        deletes: Requests to delete, of up to a thousand names each.
        bytes_written: Bytes sent.
        bytes_read: Bytes received.
    """

    puts: int = 0
    gets: int = 0
    heads: int = 0
    lists: int = 0
    deletes: int = 0
    bytes_written: int = 0
    bytes_read: int = 0

    @property
    def requests(self) -> int:
        """All requests."""
        return self.puts + self.gets + self.heads + self.lists + self.deletes

    @property
    def dollars(self) -> float:
        """What these requests cost."""
        return (self.puts + self.lists) * DOLLARS_PER_PUT + (self.gets + self.heads) * DOLLARS_PER_GET

    def since(self, earlier: RequestCounts) -> RequestCounts:
        """What came after an earlier count."""
        return RequestCounts(
            *(getattr(self, f) - getattr(earlier, f) for f in RequestCounts.__struct_fields__)
        )


def dollars_per_month(counts: RequestCounts, seconds: float) -> float:
    """What a month costs at the rate of these requests in this time.

    >>> round(dollars_per_month(RequestCounts(puts=60), 60.0), 1)
    13.1
    """
    return counts.dollars / seconds * SECONDS_PER_MONTH if seconds > 0 else 0.0
