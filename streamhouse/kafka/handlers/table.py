"""Who answers what: all handlers of a gateway, and what they share."""

from __future__ import annotations

import msgspec

from streamhouse.kafka.access import Access
from streamhouse.kafka.cluster.brokers import Brokers
from streamhouse.kafka.groups.committers import Committers
from streamhouse.kafka.groups.consumer import ConsumerGroups
from streamhouse.kafka.groups.coordinator import ClassicGroups
from streamhouse.kafka.handlers.acls import AclHandlers
from streamhouse.kafka.handlers.classic_groups import ClassicGroupHandlers
from streamhouse.kafka.handlers.configs import ConfigHandlers
from streamhouse.kafka.handlers.consumer_groups import ConsumerGroupHandlers
from streamhouse.kafka.handlers.coordinators import CoordinatorHandler
from streamhouse.kafka.handlers.fetch import FetchHandler
from streamhouse.kafka.handlers.group_offsets import GroupOffsetHandlers
from streamhouse.kafka.handlers.groups import GroupHandlers
from streamhouse.kafka.handlers.metadata import MetadataHandlers
from streamhouse.kafka.handlers.offsets import OffsetHandlers
from streamhouse.kafka.handlers.produce import ProduceHandler
from streamhouse.kafka.handlers.producers import ProducerHandlers
from streamhouse.kafka.handlers.sasl import SaslHandlers
from streamhouse.kafka.handlers.topics import TopicHandlers
from streamhouse.kafka.handlers.users import UserHandlers
from streamhouse.kafka.handlers.versions import api_versions
from streamhouse.kafka.parts import Parts
from streamhouse.kafka.protocol import apis
from streamhouse.kafka.reading import RecordSource
from streamhouse.kafka.security.credentials import CredentialStore
from streamhouse.kafka.security.quota_store import QuotaStore
from streamhouse.kafka.server.memory import Memory
from streamhouse.kafka.server.metrics import Metrics
from streamhouse.kafka.server.server import Handler
from streamhouse.kafka.throttling import Throttle
from streamhouse.kafka.topics import TopicDirectory
from streamhouse.kafka.transactions import Transactions
from streamhouse.kafka.writing import RecordSink


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What the handlers of a gateway work with.

    Attributes:
        parts: The insides of the log, and the loop.
        topics: Topics by name and id.
        brokers: The gateways of the log.
        transactions: Producers with names.
        consumers: Group members of the newer protocol.
        classic: Groups of the older one.
        committers: Who may commit offsets.
        access: Who may do what.
        credentials: Those of users.
        quotas: Those of users and clients.
        throttle: Enforces them.
        metrics: Counts.
        memory: What requests and responses take.
    """

    parts: Parts
    topics: TopicDirectory
    brokers: Brokers
    transactions: Transactions
    consumers: ConsumerGroups
    classic: ClassicGroups
    committers: Committers
    access: Access
    credentials: CredentialStore
    quotas: QuotaStore
    throttle: Throttle
    metrics: Metrics
    memory: Memory


def handler_table(services: Services, sasl: SaslHandlers) -> dict[int, Handler]:
    """Handlers by number of the API."""
    return {
        apis.API_VERSIONS.key: api_versions,
        apis.SASL_HANDSHAKE.key: sasl.handshake,
        apis.SASL_AUTHENTICATE.key: sasl.authenticate,
        **_records(services),
        **_administration(services),
        **_producers(services),
        **_groups(services),
        **_security(services),
    }


def _records(services: Services) -> dict[int, Handler]:
    parts, topics, access = services.parts, services.topics, services.access
    metrics, throttle, memory = services.metrics, services.throttle, services.memory
    sink, source = RecordSink(parts), RecordSource(parts)
    metadata = MetadataHandlers(parts, topics, services.brokers, access)
    produce = ProduceHandler(parts, topics, sink, services.transactions, access, metrics, throttle, memory)
    fetch = FetchHandler(parts, topics, source, access, metrics, throttle, memory)
    offsets = OffsetHandlers(parts, topics, access)
    return {
        apis.METADATA.key: metadata.metadata,
        apis.DESCRIBE_CLUSTER.key: metadata.describe_cluster,
        apis.DESCRIBE_TOPIC_PARTITIONS.key: metadata.describe_topic_partitions,
        apis.PRODUCE.key: produce.produce,
        apis.FETCH.key: fetch.fetch,
        apis.LIST_OFFSETS.key: offsets.list_offsets,
        apis.OFFSET_FOR_LEADER_EPOCH.key: offsets.for_leader_epoch,
        apis.DELETE_RECORDS.key: offsets.delete_records,
    }


def _administration(services: Services) -> dict[int, Handler]:
    shared = services.parts, services.topics, services.brokers, services.access
    topics, configs = TopicHandlers(*shared), ConfigHandlers(*shared)
    return {
        apis.CREATE_TOPICS.key: topics.create,
        apis.DELETE_TOPICS.key: topics.delete,
        apis.CREATE_PARTITIONS.key: topics.create_partitions,
        apis.DESCRIBE_LOG_DIRS.key: topics.describe_log_dirs,
        apis.DESCRIBE_CONFIGS.key: configs.describe,
        apis.ALTER_CONFIGS.key: configs.alter,
        apis.INCREMENTAL_ALTER_CONFIGS.key: configs.alter_incrementally,
    }


def _producers(services: Services) -> dict[int, Handler]:
    parts, brokers, access = services.parts, services.brokers, services.access
    producers = ProducerHandlers(parts, services.topics, brokers, services.transactions, access)
    return {
        apis.FIND_COORDINATOR.key: CoordinatorHandler(brokers, access).find,
        apis.INIT_PRODUCER_ID.key: producers.init_producer_id,
        apis.ADD_PARTITIONS_TO_TXN.key: producers.add_partitions,
        apis.ADD_OFFSETS_TO_TXN.key: producers.add_offsets,
        apis.END_TXN.key: producers.end,
        apis.LIST_TRANSACTIONS.key: producers.list_transactions,
        apis.DESCRIBE_TRANSACTIONS.key: producers.describe_transactions,
        apis.DESCRIBE_PRODUCERS.key: producers.describe_producers,
    }


def _groups(services: Services) -> dict[int, Handler]:
    parts, topics, brokers, access = services.parts, services.topics, services.brokers, services.access
    classic = ClassicGroupHandlers(parts, brokers, services.classic, access)
    consumers = ConsumerGroupHandlers(parts, topics, brokers, services.consumers, access)
    groups = GroupHandlers(parts, brokers, services.consumers, services.classic, access)
    offsets = GroupOffsetHandlers(parts, topics, brokers, services.committers, services.transactions, access)
    return {
        apis.JOIN_GROUP.key: classic.join,
        apis.SYNC_GROUP.key: classic.sync,
        apis.HEARTBEAT.key: classic.heartbeat,
        apis.LEAVE_GROUP.key: classic.leave,
        apis.CONSUMER_GROUP_HEARTBEAT.key: consumers.heartbeat,
        apis.CONSUMER_GROUP_DESCRIBE.key: consumers.describe,
        apis.LIST_GROUPS.key: groups.list,
        apis.DESCRIBE_GROUPS.key: groups.describe,
        apis.DELETE_GROUPS.key: groups.delete,
        apis.OFFSET_COMMIT.key: offsets.commit,
        apis.OFFSET_FETCH.key: offsets.fetch,
        apis.OFFSET_DELETE.key: offsets.delete,
        apis.TXN_OFFSET_COMMIT.key: offsets.commit_in_transaction,
    }


def _security(services: Services) -> dict[int, Handler]:
    acls = AclHandlers(services.parts, services.access)
    users = UserHandlers(services.parts, services.credentials, services.quotas, services.access)
    return {
        apis.DESCRIBE_ACLS.key: acls.describe,
        apis.CREATE_ACLS.key: acls.create,
        apis.DELETE_ACLS.key: acls.delete,
        apis.DESCRIBE_USER_SCRAM_CREDENTIALS.key: users.describe_credentials,
        apis.ALTER_USER_SCRAM_CREDENTIALS.key: users.alter_credentials,
        apis.DESCRIBE_CLIENT_QUOTAS.key: users.describe_quotas,
        apis.ALTER_CLIENT_QUOTAS.key: users.alter_quotas,
    }
