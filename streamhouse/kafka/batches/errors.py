"""What can be wrong with a record batch, and Kafka's code for it."""

from __future__ import annotations

from typing import ClassVar

from streamhouse.kafka.protocol.errors import ErrorCode


class BatchError(ValueError):
    """A record batch is refused; the message says why.

    Attributes:
        code: What the client is told.
    """

    code: ClassVar[ErrorCode] = ErrorCode.corrupt_message


class CorruptBatchError(BatchError):
    """It is not what was sent: clients try again."""


class InvalidRecordsError(BatchError):
    """It was sent like that, so it would not help to send it again."""

    code = ErrorCode.invalid_record


class UnsupportedCodecError(BatchError):
    """It is compressed in a way that is not known."""

    code = ErrorCode.unsupported_compression_type


class UnsupportedMagicError(BatchError):
    """It is in a format before (or after) the one of Kafka 0.11."""

    code = ErrorCode.unsupported_for_message_format


class BatchTooLargeError(BatchError):
    """It is larger than allowed, as a rule after decompression."""

    code = ErrorCode.message_too_large
