"""Every exception that StreamHouse raises, in one tree.

::

    StreamhouseError
    ├── InvalidInputError (ValueError)            what was passed in cannot be right; fix the call
    │   ├── InvalidUrlError                       the log URL cannot be understood
    │   ├── InvalidSettingError                   unknown or impossible setting
    │   ├── InvalidTopicNameError                 breaks Kafka's naming rule
    │   ├── InvalidPartitionCountError            outside 1 to 100,000
    │   ├── InvalidPositionError                  neither earliest, latest, offset nor datetime
    │   ├── InvalidRecordError (TypeError)        a key, value, header or timestamp of a wrong type
    │   ├── InvalidSchemaError                    a schema that cannot be understood or stored
    │   │   └── IncompatibleSchemaError           one through which stored records could not be read
    │   ├── RecordTooLargeError                   above ``record_bytes_max``
    │   └── DeserializationError                  a stored value that the chosen deserialiser refuses
    ├── TopicNotFoundError (KeyError)             no topic of that name (or it was deleted)
    ├── TopicExistsError                          the name is taken
    ├── PartitionNotFoundError (IndexError)       the topic has fewer partitions
    ├── OffsetOutOfRangeError (IndexError)        below the log start or above the high watermark
    ├── NotAssignedError                          a consumer was asked about a partition it does not read
    ├── GroupError                            something about a consumer group
    │   ├── GroupNotFoundError (KeyError)         no group of that name
    │   ├── GroupNotEmptyError                    it has members; stop them first
    │   ├── InconsistentAssignorError             its members use another assignor
    │   └── StaleMemberError                      no member (any more), or not the owner of the partition
    ├── BufferFullError (BufferError)             retriable: pending records fill the buffer
    ├── DeliveryError                             a record was not, or perhaps not, written
    │   ├── DeliveryTimeoutError (TimeoutError)   outcome unknown: it may appear later
    │   ├── ProducerFencedError                   another producer took this identity
    │   ├── SequenceError                         records would have been out of order
    │   └── TransactionError                      a transaction that cannot go on; nothing of it was written
    ├── ClosedError                               the handle was closed
    ├── ForkedError                               the handle belongs to the parent process
    ├── MissingExtraError (ImportError)           an optional dependency is not installed
    ├── StoreError (OSError)                      the directory or bucket
    │   ├── StoreUnavailableError (ConnectionError)  retriable: cannot be reached, or answers with errors
    │   ├── StoreAccessError (PermissionError)    reached, but access is denied or it is read-only
    │   ├── StoreFullError                        no space left
    │   ├── StoreDurabilityError                  written, but perhaps not durable: writing has to stop
    │   ├── StoreUnsafeError                      ignores create-if-absent: unsafe to share
    │   └── ObjectNotFoundError (FileNotFoundError)  an object is not there
    ├── QueryError (ValueError)                   SQL that cannot be understood or run; DuckDB says why
    │   ├── QueryRefusedError (PermissionError)   a restricted session does not do that
    │   └── QueryLimitError                       it reached a limit of rows, memory or time
    ├── HistoryGoneError (LookupError)            the log was cleaned up beyond that commit or time
    ├── NotALogError                              the place holds something else, or nothing
    ├── UnsupportedFormatError                    written by a newer StreamHouse
    ├── CorruptionError                           bytes that fail their checksum
    └── StateDivergedError                        two processes disagree about the log: writing stops

Each class also inherits the builtin that callers would catch, and says in ``retriable`` whether the
same call may succeed later without a change.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

LOG_CLOSED: Final = "the log is closed; open it again"


class StreamhouseError(Exception):
    """Base of all errors raised by this library."""

    retriable: bool = False

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0]) if self.args else type(self).__name__


class InvalidInputError(StreamhouseError, ValueError):
    """What was passed in cannot be right, whatever the state of the log."""


class InvalidUrlError(InvalidInputError):
    """The URL of the log cannot be understood."""


class InvalidSettingError(InvalidInputError):
    """An unknown setting, or a value it cannot have."""


class InvalidTopicNameError(InvalidInputError):
    """The name breaks the rule ``[a-zA-Z0-9._-]{1,249}``, not ``.`` or ``..``."""


class InvalidPartitionCountError(InvalidInputError):
    """A topic has 1 to 100,000 partitions."""


class InvalidPositionError(InvalidInputError):
    """A start or end that is neither earliest, latest, an offset nor a datetime."""


class InvalidRecordError(InvalidInputError, TypeError):
    """A key, value, header or timestamp of a type that cannot be stored."""


class InvalidSchemaError(InvalidInputError):
    """A schema cannot be understood, or has a type that cannot be stored; the message names the field."""


class IncompatibleSchemaError(InvalidSchemaError):
    """The records that a topic holds could not be read through the new schema; the message says why."""


class RecordTooLargeError(InvalidInputError):
    """Key, value and headers together exceed ``record_bytes_max``."""


class DeserializationError(InvalidInputError):
    """A stored key or value that the chosen deserialiser refuses; seek past its offset to go on.

    Attributes:
        topic: Name of the topic.
        partition: Number of the partition.
        offset: Offset of the record.
    """

    topic: str = ""
    partition: int = -1
    offset: int = -1


class TopicNotFoundError(StreamhouseError, KeyError):
    """No topic of that name; create it first, or check the spelling."""


class TopicExistsError(StreamhouseError):
    """The name is taken; pass ``exist_ok=True`` to accept the present topic."""


class PartitionNotFoundError(StreamhouseError, IndexError):
    """The topic has no partition of that number."""


class OffsetOutOfRangeError(StreamhouseError, IndexError):
    """The offset lies below the log start offset or above the high watermark."""


class NotAssignedError(StreamhouseError):
    """The consumer does not read that partition; ``assign`` it first."""


class GroupError(StreamhouseError):
    """Something about a consumer group."""


class GroupNotFoundError(GroupError, KeyError):
    """No group of that name has ever committed or had members, or it was deleted."""


class GroupNotEmptyError(GroupError):
    """The group has members; its offsets belong to them while they are there."""


class InconsistentAssignorError(GroupError):
    """The members of a group deal partitions out in another way; all must use the same assignor."""


class StaleMemberError(GroupError):
    """This consumer is no member of the group any more, or the partition has another owner by now.

    Whatever it wanted to note was refused. It goes on by polling, which joins anew.
    """


class BufferFullError(StreamhouseError, BufferError):
    """Records that wait to be written fill the buffer; try again later."""

    retriable = True


class DeliveryError(StreamhouseError):
    """A record was not, or perhaps not, written."""


class DeliveryTimeoutError(DeliveryError, TimeoutError):
    """Not confirmed in time. The outcome is unknown: the record may still appear in the log."""


class ProducerFencedError(DeliveryError):
    """Another producer took over this identity; this one must stop."""


class SequenceError(DeliveryError):
    """Records would have been stored out of order, so they were refused."""


class TransactionError(DeliveryError):
    """A transaction cannot go on, or was used in a way that makes no sense; nothing of it was written."""


class ClosedError(StreamhouseError):
    """The handle was closed; open a new one."""


class ForkedError(StreamhouseError):
    """The handle was made before ``fork``; open the log again in the child process."""


class MissingExtraError(StreamhouseError, ImportError):
    """An optional dependency is not installed; the message has the pip line."""


class StoreError(StreamhouseError, OSError):
    """The directory or bucket refused or failed an operation, and changed nothing by it."""


class StoreUnavailableError(StoreError, ConnectionError):
    """The store cannot be reached, or keeps answering with errors; try again later."""

    retriable = True


class StoreAccessError(StoreError, PermissionError):
    """The store was reached, but access is denied or it is read-only."""


class StoreFullError(StoreError):
    """No space left; free some, then write again."""


class StoreDurabilityError(StoreError):
    """An object was made, but may not survive a loss of power; stop writing and check the disk.

    Unlike with other store errors, others may see the object: neither acknowledge it nor write it anew.
    """


class StoreUnsafeError(StoreError):
    """The store does not honour create-if-absent, so two writers would overwrite each other."""


class ObjectNotFoundError(StoreError, FileNotFoundError):
    """An object is not in the store."""


class QueryError(StreamhouseError, ValueError):
    """A query that DuckDB cannot understand or run; the message is DuckDB's."""


class QueryRefusedError(QueryError, PermissionError):
    """A restricted session reads topics and does nothing else: no files, network, settings or changes."""


class QueryLimitError(QueryError):
    """A query of a restricted session reached its limit of rows, memory or time; ask for less."""


class HistoryGoneError(StreamhouseError, LookupError):
    """The log as of that commit or time cannot be had any more; the message says how far back it can."""


class NotALogError(StreamhouseError):
    """The place holds something that is not a log, or nothing where a log was expected."""


class UnsupportedFormatError(StreamhouseError):
    """The log was written by a newer StreamHouse; upgrade this one."""


class CorruptionError(StreamhouseError):
    """Stored bytes fail their checksum or structure. The message names the object."""


class StateDivergedError(StreamhouseError):
    """Two processes computed different states from the same log; this one stopped writing."""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """A hint such as ``; did you mean 'orders'?``, or nothing when no candidate is close."""
    match = difflib.get_close_matches(name, list(candidates), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def topic_deleted(name: str, what_to_do: str) -> TopicNotFoundError:
    """For those who hold a topic that is gone: one of the same name that was made since is another."""
    return TopicNotFoundError(
        f"topic {name!r} was deleted; its records are gone. If it was made anew since, {what_to_do}"
    )
