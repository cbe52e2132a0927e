"""The requests that are served, and in which versions.

Every version in a range was tried with a client that speaks it. What is not listed is not answered: a client
that asks for the list (ApiVersions) uses no other.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Api(msgspec.Struct, frozen=True):
    """One kind of request.

    Attributes:
        key: Its number.
        name: Its name, as kio's modules have it.
        first: The lowest version that is served.
        last: The highest.
        listed_from: The lowest version that is claimed to be served, when that is another one.
    """

    key: int
    name: str
    first: int
    last: int
    listed_from: int | None = None

    @property
    def lowest_listed(self) -> int:
        """The lowest version in the list that clients get."""
        return self.first if self.listed_from is None else self.listed_from


# librdkafka 2.0 takes a broker that does not claim Produce 0 for one that cannot decompress, and silently
# sends its batches uncompressed.
PRODUCE: Final = Api(0, "produce", 3, 11, listed_from=0)
FETCH: Final = Api(1, "fetch", 4, 16)
LIST_OFFSETS: Final = Api(2, "list_offsets", 1, 8)
METADATA: Final = Api(3, "metadata", 0, 13)
OFFSET_COMMIT: Final = Api(8, "offset_commit", 2, 9)
OFFSET_FETCH: Final = Api(9, "offset_fetch", 1, 9)
FIND_COORDINATOR: Final = Api(10, "find_coordinator", 0, 4)
JOIN_GROUP: Final = Api(11, "join_group", 0, 9)
HEARTBEAT: Final = Api(12, "heartbeat", 0, 4)
LEAVE_GROUP: Final = Api(13, "leave_group", 0, 5)
SYNC_GROUP: Final = Api(14, "sync_group", 0, 5)
DESCRIBE_GROUPS: Final = Api(15, "describe_groups", 0, 5)
LIST_GROUPS: Final = Api(16, "list_groups", 0, 5)
SASL_HANDSHAKE: Final = Api(17, "sasl_handshake", 0, 1)
API_VERSIONS: Final = Api(18, "api_versions", 0, 4)
CREATE_TOPICS: Final = Api(19, "create_topics", 2, 7)
DELETE_TOPICS: Final = Api(20, "delete_topics", 1, 6)
DELETE_RECORDS: Final = Api(21, "delete_records", 0, 2)
INIT_PRODUCER_ID: Final = Api(22, "init_producer_id", 0, 5)
OFFSET_FOR_LEADER_EPOCH: Final = Api(23, "offset_for_leader_epoch", 2, 4)
ADD_PARTITIONS_TO_TXN: Final = Api(24, "add_partitions_to_txn", 0, 3)
ADD_OFFSETS_TO_TXN: Final = Api(25, "add_offsets_to_txn", 0, 3)
END_TXN: Final = Api(26, "end_txn", 0, 3)
TXN_OFFSET_COMMIT: Final = Api(28, "txn_offset_commit", 0, 3)
DESCRIBE_ACLS: Final = Api(29, "describe_acls", 1, 3)
CREATE_ACLS: Final = Api(30, "create_acls", 1, 3)
DELETE_ACLS: Final = Api(31, "delete_acls", 1, 3)
DESCRIBE_CONFIGS: Final = Api(32, "describe_configs", 1, 4)
ALTER_CONFIGS: Final = Api(33, "alter_configs", 0, 2)
DESCRIBE_LOG_DIRS: Final = Api(35, "describe_log_dirs", 1, 4)
SASL_AUTHENTICATE: Final = Api(36, "sasl_authenticate", 0, 2)
CREATE_PARTITIONS: Final = Api(37, "create_partitions", 0, 3)
DELETE_GROUPS: Final = Api(42, "delete_groups", 0, 2)
INCREMENTAL_ALTER_CONFIGS: Final = Api(44, "incremental_alter_configs", 0, 1)
OFFSET_DELETE: Final = Api(47, "offset_delete", 0, 0)
DESCRIBE_CLIENT_QUOTAS: Final = Api(48, "describe_client_quotas", 0, 1)
ALTER_CLIENT_QUOTAS: Final = Api(49, "alter_client_quotas", 0, 1)
DESCRIBE_USER_SCRAM_CREDENTIALS: Final = Api(50, "describe_user_scram_credentials", 0, 0)
ALTER_USER_SCRAM_CREDENTIALS: Final = Api(51, "alter_user_scram_credentials", 0, 0)
DESCRIBE_CLUSTER: Final = Api(60, "describe_cluster", 0, 1)
DESCRIBE_PRODUCERS: Final = Api(61, "describe_producers", 0, 0)
DESCRIBE_TRANSACTIONS: Final = Api(65, "describe_transactions", 0, 0)
LIST_TRANSACTIONS: Final = Api(66, "list_transactions", 0, 1)
CONSUMER_GROUP_HEARTBEAT: Final = Api(68, "consumer_group_heartbeat", 0, 1)
CONSUMER_GROUP_DESCRIBE: Final = Api(69, "consumer_group_describe", 0, 1)
DESCRIBE_TOPIC_PARTITIONS: Final = Api(75, "describe_topic_partitions", 0, 0)

APIS: Final[dict[int, Api]] = {api.key: api for api in list(globals().values()) if isinstance(api, Api)}
"""All of them by number."""

COORDINATED: Final = frozenset(
    api.key
    for api in (
        OFFSET_COMMIT,
        OFFSET_FETCH,
        FIND_COORDINATOR,
        JOIN_GROUP,
        HEARTBEAT,
        LEAVE_GROUP,
        SYNC_GROUP,
        DESCRIBE_GROUPS,
        INIT_PRODUCER_ID,
        ADD_PARTITIONS_TO_TXN,
        ADD_OFFSETS_TO_TXN,
        END_TXN,
        TXN_OFFSET_COMMIT,
        DELETE_GROUPS,
        OFFSET_DELETE,
        CONSUMER_GROUP_HEARTBEAT,
        CONSUMER_GROUP_DESCRIBE,
    )
)
"""Numbers of those that are for whoever coordinates a group or a producer."""

WITHOUT_AUTHENTICATION: Final = frozenset({API_VERSIONS.key, SASL_HANDSHAKE.key, SASL_AUTHENTICATE.key})
"""What a client may ask for before it has said who it is, where it must."""

LARGE_ANSWERS: Final = frozenset(
    api.key
    for api in (
        FETCH,
        METADATA,
        OFFSET_FETCH,
        DESCRIBE_GROUPS,
        LIST_GROUPS,
        DESCRIBE_ACLS,
        DELETE_ACLS,
        DESCRIBE_CONFIGS,
        DESCRIBE_LOG_DIRS,
        DESCRIBE_CLIENT_QUOTAS,
        DESCRIBE_USER_SCRAM_CREDENTIALS,
        DESCRIBE_PRODUCERS,
        DESCRIBE_TRANSACTIONS,
        LIST_TRANSACTIONS,
        CONSUMER_GROUP_DESCRIBE,
        DESCRIBE_TOPIC_PARTITIONS,
    )
)
"""What may be answered with much more than was sent."""
