"""The assignors that do not look at who has what now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamhouse.assignors.members import Assignment, each, first


def contiguous_ranges(
    names: Sequence[str], topics: Mapping[int, int], partition_counts: Mapping[int, int]
) -> Assignment:
    """Per topic one run of partitions for each reader; the first ones get one more."""
    assignment: Assignment = {}
    for topic, readers in topics.items():
        share, extra = divmod(partition_counts[topic], readers.bit_count())
        start = 0
        for place, member in enumerate(each(readers)):
            end = start + share + (place < extra)
            if start == end:  # more readers than partitions
                break
            assignment.update(((topic, partition), names[member]) for partition in range(start, end))
            start = end
    return assignment


def round_robin(
    names: Sequence[str], topics: Mapping[int, int], partition_counts: Mapping[int, int]
) -> Assignment:
    """The next partition to the next member in the circle that reads the topic."""
    assignment: Assignment = {}
    turn = 0
    for topic, readers in topics.items():
        for partition in range(partition_counts[topic]):
            taker = first(readers >> turn << turn or readers)
            assignment[topic, partition] = names[taker]
            turn = taker + 1
    return assignment
