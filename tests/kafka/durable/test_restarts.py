"""What survives a gateway, on every store: whatever its clients were told."""

from __future__ import annotations

from streamhouse.kafka.protocol.errors import ErrorCode
from tests.kafka.clients.samples import until
from tests.kafka.durable.asking import (
    NO_ERROR,
    beat,
    commit,
    committed,
    consumer_beat,
    create,
    end_of,
    end_transaction,
    join,
    produce,
    sync,
    take_over,
)
from tests.kafka.durable.conftest import Serve
from tests.kafka.wire import ask

FENCED = {
    ErrorCode.invalid_producer_id_mapping,  # whoever takes a name over gets a new identity
    ErrorCode.invalid_producer_epoch,
    ErrorCode.producer_fenced,
}


def test_records_offsets_and_identities(serve: Serve) -> None:
    def shown() -> tuple[object, ...]:
        answer = ask(
            gateway,
            3,
            10,
            topics=None,
            allow_auto_topic_creation=False,
            include_cluster_authorized_operations=False,
            include_topic_authorized_operations=False,
        )
        topics = [(topic.name, topic.topic_id) for topic in answer.topics]
        return answer.cluster_id, topics, gateway.node_id, end_of(gateway, "t"), committed(gateway, "g", "t")

    with serve() as gateway:
        create(gateway, "t")
        assert produce(gateway, "t", [b"a", b"b"]) == (NO_ERROR, 0)
        assert commit(gateway, "g", "t", 1) is NO_ERROR
        before = shown()
    with serve() as gateway:
        assert shown() == before
        assert produce(gateway, "t", [b"c"]) == (NO_ERROR, 2)
        assert commit(gateway, "g", "t", 3) is NO_ERROR
    with serve() as gateway:
        assert (end_of(gateway, "t"), committed(gateway, "g", "t")) == (3, 3)


def test_sequences_of_producers(serve: Serve) -> None:
    with serve() as gateway:
        create(gateway, "t")
        taken = take_over(gateway, None)
        me = taken.producer_id, taken.producer_epoch
        for number in range(6):
            assert produce(gateway, "t", [b"v", b"w"], me, 2 * number) == (NO_ERROR, 2 * number)
    with serve() as gateway:
        for number in range(1, 6):  # their answers were lost
            assert produce(gateway, "t", [b"v", b"w"], me, 2 * number) == (NO_ERROR, 2 * number)
        assert produce(gateway, "t", [b"v"], me, 20)[0] is ErrorCode.out_of_order_sequence_number
        assert end_of(gateway, "t") == 12
        assert produce(gateway, "t", [b"v"], me, 12) == (NO_ERROR, 12)
        assert take_over(gateway, None).producer_id != me[0]


def test_members_of_a_classic_group_go_on(serve: Serve) -> None:
    with serve() as gateway:
        create(gateway, "t")
        member = join(gateway, "g", join(gateway, "g").member_id)
        assert member.error_code is NO_ERROR
        me = member.member_id, member.generation_id
        assert sync(gateway, "g", *me, assignment=b"mine").error_code is NO_ERROR
        assert commit(gateway, "g", "t", 1, *me) is NO_ERROR
    with serve() as gateway:
        assert beat(gateway, "g", *me) is NO_ERROR
        assert sync(gateway, "g", *me).assignment == b"mine"
        assert commit(gateway, "g", "t", 2, *me) is NO_ERROR
        assert commit(gateway, "g", "t", 1, me[0], me[1] - 1) is ErrorCode.illegal_generation
        assert commit(gateway, "g", "t", 1, "stranger", me[1]) is ErrorCode.unknown_member_id
        assert commit(gateway, "g", "t", 1) is ErrorCode.unknown_member_id
        assert committed(gateway, "g", "t") == 2


def test_static_members(serve: Serve) -> None:
    with serve() as gateway:
        create(gateway, "t")
        member = join(gateway, "g", instance="one")
        me = member.member_id, member.generation_id
        assert sync(gateway, "g", *me, assignment=b"mine").error_code is NO_ERROR
    with serve() as gateway:
        returned = join(gateway, "g", instance="one")
        assert returned.error_code is NO_ERROR
        assert returned.generation_id == me[1]
        assert returned.member_id != me[0]
        assert sync(gateway, "g", returned.member_id, me[1]).assignment == b"mine"
        assert commit(gateway, "g", "t", 1, *me) in {
            ErrorCode.unknown_member_id,
            ErrorCode.fenced_instance_id,
        }
        assert commit(gateway, "g", "t", 2, returned.member_id, me[1]) is NO_ERROR


def test_open_transactions(serve: Serve) -> None:
    with serve() as gateway:
        create(gateway, "t")
        taken = take_over(gateway, "tx")
        me = taken.producer_id, taken.producer_epoch
        assert produce(gateway, "t", [b"a"], me, 0, "tx") == (NO_ERROR, 0)
    with serve() as gateway:
        assert end_of(gateway, "t") == 0
        assert produce(gateway, "t", [b"a"], me, 0, "tx")[0] is NO_ERROR  # the answer was lost
        assert produce(gateway, "t", [b"b"], me, 1, "tx")[0] is NO_ERROR
    with serve() as gateway:
        assert end_transaction(gateway, "tx", me, commit=True) is NO_ERROR
        assert end_of(gateway, "t") == 2
        assert end_transaction(gateway, "tx", me, commit=True) is NO_ERROR  # the answer was lost
        assert produce(gateway, "t", [b"never"], me, 2, "tx")[0] is NO_ERROR
    with serve() as gateway:
        taken = take_over(gateway, "tx")
        successor = taken.producer_id, taken.producer_epoch
        assert successor[1] == me[1] + 1
        assert produce(gateway, "t", [b"zombie"], me, 3, "tx")[0] in FENCED
        assert end_transaction(gateway, "tx", me, commit=True) in FENCED
        assert produce(gateway, "t", [b"c"], successor, 0, "tx") == (NO_ERROR, 2)
        assert end_transaction(gateway, "tx", successor, commit=True) is NO_ERROR
        assert end_of(gateway, "t") == 3


def test_open_transactions_end_in_time(serve: Serve) -> None:
    with serve() as gateway:
        create(gateway, "t")
        taken = take_over(gateway, "tx", timeout=300)
        me = taken.producer_id, taken.producer_epoch
        assert produce(gateway, "t", [b"a"], me, 0, "tx") == (NO_ERROR, 0)
    with serve() as gateway:

        def ended() -> bool:
            answer = ask(gateway, 66, 0, state_filters=("Ongoing",), producer_id_filters=())
            return not answer.transaction_states

        assert not ended()
        until(ended)
        assert end_transaction(gateway, "tx", me, commit=True) is ErrorCode.producer_fenced
        assert end_of(gateway, "t") == 0


def test_members_of_the_newer_protocol_go_on(serve: Serve) -> None:
    with serve() as gateway:
        create(gateway, "t", 2)
        answer = consumer_beat(gateway, "g", "me", 0, topics=("t",), owned=(), instance="one")
        assert answer.error_code is NO_ERROR
        epoch = answer.member_epoch
        (topic,) = answer.assignment.topic_partitions
        assert topic.partitions == (0, 1)
        assert commit(gateway, "g", "t", 1, "me", epoch) is NO_ERROR
    with serve() as gateway:
        owned = ({"topic_id": topic.topic_id, "partitions": (0, 1)},)
        answer = consumer_beat(gateway, "g", "me", epoch, owned=owned, instance="one")
        assert (answer.error_code, answer.member_epoch) == (NO_ERROR, epoch)
        assert commit(gateway, "g", "t", 2, "me", epoch) is NO_ERROR
        assert commit(gateway, "g", "t", 1, "me", epoch - 1) is ErrorCode.stale_member_epoch
        assert commit(gateway, "g", "t", 1, "stranger", epoch) is ErrorCode.unknown_member_id
        assert commit(gateway, "g", "t", 1) is ErrorCode.unknown_member_id
        assert committed(gateway, "g", "t") == 2
        stranger = consumer_beat(gateway, "g", "stranger", epoch)
        assert stranger.error_code is ErrorCode.unknown_member_id
        twin = consumer_beat(gateway, "g", "twin", 0, topics=("t",), owned=(), instance="one")
        assert twin.error_code is ErrorCode.unreleased_instance_id


def test_a_static_member_of_the_newer_protocol_keeps_its_place_while_it_is_away(serve: Serve) -> None:
    """Though the gateway that it says so to was started since it joined."""
    with serve() as gateway:
        create(gateway, "t", 2)
        first = consumer_beat(gateway, "g", "me", 0, topics=("t",), owned=(), instance="one")
        assert first.error_code is NO_ERROR
    with serve() as gateway:
        gone = consumer_beat(gateway, "g", "me", -2, instance="one")
        assert (gone.error_code, gone.member_epoch) == (NO_ERROR, -2)
        back = consumer_beat(gateway, "g", "anew", 0, topics=("t",), owned=(), instance="one")
        assert back.error_code is NO_ERROR
        assert back.member_epoch == first.member_epoch  # nobody else had to be disturbed
        assert back.assignment == first.assignment
        assert consumer_beat(gateway, "g", "me", first.member_epoch).error_code is ErrorCode.unknown_member_id
