"""Which topics a query scans just once, as DuckDB plans it.

DuckDB offers the filters of a scan to its source, one by one, and then asks for a stream, without saying
which filter belongs to which stream. A source that refuses a filter, so that DuckDB applies it, can still
leave out blocks by it: but only if there is one scan of it, for another one may want what this filter does
not. The plan says how many there are. Whose a scan in it is can be told by its number of rows: each source
says another one while DuckDB is asked for the plan. In the plan are only the scans that are left: a filter is
also offered for those that DuckDB then finds to be of no use. So each source counts, besides, how often it is
asked for its rows, which is once for each scan that is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

FIRST_MARK: Final = 1_000_000_007
_SCAN: Final = "PYTHON_ARROW_SCAN"


def scanned_once(plan: str, marks: Mapping[int | None, str]) -> frozenset[str]:
    """The sources of which a plan has one scan; none if there is a scan of which nobody knows whose it is.

    Args:
        plan: What ``explain (format json)`` gives.
        marks: Names of the sources by the rows that they have said they have.
    """
    try:
        scans = _scans(msgspec.json.decode(plan))
        rows = [int(scan["extra_info"]["Estimated Cardinality"]) for scan in scans]
    except (ValueError, KeyError, TypeError):
        return frozenset()
    counts = Counter(rows)
    if not counts.keys() <= marks.keys():
        return frozenset()
    return frozenset(marks[mark] for mark, count in counts.items() if count == 1)


def _scans(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    pending = list(nodes)
    while pending:
        node = pending.pop()
        pending.extend(node["children"])
        if node["name"] == _SCAN:
            yield node
