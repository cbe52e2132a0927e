"""A streaming platform that is a library: topics and records on a directory or a bucket.

::

    import streamhouse

    with streamhouse.Log("memory://") as log:
        log.create_topic("orders", partitions=3)
        with log.producer() as producer:
            producer.send("orders", {"amount": 99.99}, key="user-1").result()
        for record in log.read("orders", start="earliest", until="end"):
            print(record.key, record.value)

The names below are loaded when they are first used, so that ``import streamhouse`` costs a script
that only wants a type or an error next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from streamhouse import aio as aio
    from streamhouse import errors as errors
    from streamhouse.config import Settings, TopicSettings
    from streamhouse.consumer import Consumer
    from streamhouse.groups.admin import Group
    from streamhouse.groups.description import GroupDescription, GroupMember
    from streamhouse.log import Log
    from streamhouse.process import Output
    from streamhouse.producer import Producer
    from streamhouse.read.batch import RecordBatch
    from streamhouse.records import OffsetAndMetadata, Record, RecordMetadata, TopicPartition
    from streamhouse.topic import Partition, Topic
    from streamhouse.upkeep.report import UpkeepReport
    from streamhouse.write.transaction import Transaction

__version__: Final = "0.1.0"

__all__ = [
    "Consumer",
    "Group",
    "GroupDescription",
    "GroupMember",
    "Log",
    "OffsetAndMetadata",
    "Output",
    "Partition",
    "Producer",
    "Record",
    "RecordBatch",
    "RecordMetadata",
    "Settings",
    "Topic",
    "TopicPartition",
    "TopicSettings",
    "Transaction",
    "UpkeepReport",
    "__version__",
    "aio",
    "errors",
]

_MODULES: Final = {
    "Consumer": "streamhouse.consumer",
    "Group": "streamhouse.groups.admin",
    "GroupDescription": "streamhouse.groups.description",
    "GroupMember": "streamhouse.groups.description",
    "Log": "streamhouse.log",
    "OffsetAndMetadata": "streamhouse.records",
    "Output": "streamhouse.process",
    "Partition": "streamhouse.topic",
    "Producer": "streamhouse.producer",
    "Record": "streamhouse.records",
    "RecordBatch": "streamhouse.read.batch",
    "RecordMetadata": "streamhouse.records",
    "Settings": "streamhouse.config",
    "Topic": "streamhouse.topic",
    "TopicPartition": "streamhouse.records",
    "TopicSettings": "streamhouse.config",
    "UpkeepReport": "streamhouse.upkeep.report",
    "Transaction": "streamhouse.write.transaction",
}
_SUBMODULES: Final = ("aio", "errors")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"streamhouse.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'streamhouse' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
