"""A topic as far as producers need to know it: its id, and which partition a record goes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.errors import InvalidRecordError, PartitionNotFoundError
from streamhouse.runtime import Runtime
from streamhouse.write.encoder import Rows
from streamhouse.write.partitioner import Partitioner

_BYTE_VALUES = 1 << 8


class Destination:
    """Where records go.

    Attributes:
        topic: The topic.
    """

    def __init__(self, topic: TopicInfo, runtime: Runtime) -> None:
        self.topic = topic
        self._partitioner = Partitioner(topic.partitions)
        self._runtime = runtime

    def check_partition(self, partition: Any) -> None:
        """Refuse a partition that the topic does not have.

        Raises:
            InvalidRecordError: It is not even a number.
            PartitionNotFoundError: There is no such partition.
        """
        if isinstance(partition, bool) or not isinstance(partition, int):
            raise InvalidRecordError(f"a partition is a whole number, not {partition!r}")
        if not 0 <= partition < self.topic.partitions:
            raise PartitionNotFoundError(
                f"topic {self.topic.name!r} has partitions 0 to {self.topic.partitions - 1}, not {partition}"
            )

    def assign(self, rows: Rows) -> Sequence[int]:
        """The partition of each row by its key; those without a key share a random one."""
        last = self.topic.partitions - 1
        sticky = min(last, int(self._runtime.uniform(0, self.topic.partitions)))
        if rows.keys is None:
            return repeated(sticky, len(rows))
        return self._partitioner.assign(rows.keys, sticky)


def repeated(partition: int, count: int) -> Sequence[int]:
    """The same partition for all."""
    return bytes((partition,)) * count if partition < _BYTE_VALUES else [partition] * count
