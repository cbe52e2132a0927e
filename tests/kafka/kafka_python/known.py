"""Tests of kafka-python that do not pass against a gateway, each with the reason."""

from __future__ import annotations

from typing import Final

_NOT_SERVED: Final = (
    "the gateway has no such API: nothing can be moved or elected where nothing is replicated"
)
_OWN_BROKER: Final = "starts an Apache Kafka of its own, though one is given"

KNOWN: Final[dict[str, str]] = {
    "test_admin_integration::test_elect_leaders": _NOT_SERVED,
    "test_admin_integration::test_alter_replica_log_dirs": _NOT_SERVED,
    "test_admin_integration::test_describe_metadata_quorum": _NOT_SERVED,
    "test_admin_integration::test_alter_partition_reassignments": _NOT_SERVED,
    "test_admin_integration::test_list_partition_reassignments": _NOT_SERVED,
    "test_consumer_integration::test_kafka_version_infer": (
        "takes the highest versions that are served for those of Kafka 3.8; those of 4.0 bring nothing that"
        " a gateway has (share groups, transactions of KIP-890, remote storage)"
    ),
    "test_consumer_integration::test_kafka_consumer_unsupported_encoding": (
        "expects batches back as they were compressed; the gateway stores columns, and sends batches as the"
        " topic's compression.type says, uncompressed where it says nothing"
    ),
    "test_producer_integration::test_transactional_producer_offsets": (
        "expects the leader epoch back that it committed with an offset; it is 0 for all, and not kept"
    ),
    "test_ssl_integration.TestSSLConnection::test_ssl_handshake": _OWN_BROKER,
    "test_ssl_integration.TestSSLConnection::test_legacy_kafka_client_ssl": _OWN_BROKER,
}
