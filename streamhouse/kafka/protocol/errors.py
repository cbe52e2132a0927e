"""What an error of the log is called in Kafka's protocol."""

from __future__ import annotations

from typing import Final

from kio.schema.errors import ErrorCode

from streamhouse import errors

__all__ = ["ErrorCode", "code_of", "coordinator_code_of"]

_CODES: Final[tuple[tuple[type[BaseException], ErrorCode], ...]] = (
    # The first that fits: subclasses before what they derive from.
    (errors.InvalidTopicNameError, ErrorCode.invalid_topic_exception),
    (errors.InvalidPartitionCountError, ErrorCode.invalid_partitions),
    (errors.InvalidSettingError, ErrorCode.invalid_config),
    (errors.RecordTooLargeError, ErrorCode.message_too_large),
    (errors.InvalidRecordError, ErrorCode.invalid_record),
    (errors.InvalidInputError, ErrorCode.invalid_request),
    (errors.TopicNotFoundError, ErrorCode.unknown_topic_or_partition),
    (errors.PartitionNotFoundError, ErrorCode.unknown_topic_or_partition),
    (errors.TopicExistsError, ErrorCode.topic_already_exists),
    (errors.OffsetOutOfRangeError, ErrorCode.offset_out_of_range),
    (errors.GroupNotFoundError, ErrorCode.group_id_not_found),
    (errors.GroupNotEmptyError, ErrorCode.non_empty_group),
    (errors.InconsistentAssignorError, ErrorCode.inconsistent_group_protocol),
    (errors.StaleMemberError, ErrorCode.unknown_member_id),
    (errors.ProducerFencedError, ErrorCode.invalid_producer_epoch),
    (errors.SequenceError, ErrorCode.out_of_order_sequence_number),
    (errors.DeliveryTimeoutError, ErrorCode.request_timed_out),
    (errors.BufferFullError, ErrorCode.request_timed_out),
    (errors.StoreDurabilityError, ErrorCode.not_enough_replicas_after_append),
    (errors.StoreUnavailableError, ErrorCode.not_enough_replicas),
    (errors.StoreError, ErrorCode.kafka_storage_error),
    (errors.CorruptionError, ErrorCode.kafka_storage_error),
    (errors.ClosedError, ErrorCode.coordinator_not_available),
)


def code_of(error: BaseException) -> ErrorCode:
    """The code of an error."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return ErrorCode.unknown_server_error


_NOT_NOW: Final = frozenset(
    {
        ErrorCode.request_timed_out,
        ErrorCode.not_enough_replicas,
        ErrorCode.not_enough_replicas_after_append,
        ErrorCode.kafka_storage_error,
    }
)


def coordinator_code_of(error: BaseException) -> ErrorCode:
    """The code of an error in an answer of whoever coordinates a group, or a producer.

    When the store is away, partitions say so in other words, which clients take for the end of all here. What
    they ask a coordinator for they can ask for again, whether it came to pass or not.
    """
    code = code_of(error)
    return ErrorCode.coordinator_not_available if code in _NOT_NOW else code
