"""Heartbeats of the newer protocol (KIP-848) whose answers get lost, and epochs that nobody was given."""

from __future__ import annotations

from typing import Any

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway
from streamhouse.kafka.protocol.errors import ErrorCode
from tests.kafka.clients.samples import until
from tests.kafka.durable.asking import NO_ERROR, consumer_beat

AWAY = -2


def partitions(answer: Any) -> list[int] | None:
    """What a member is told to have of the one topic; ``None``: nothing new."""
    if answer.assignment is None:
        return None
    return sorted(number for topic in answer.assignment.topic_partitions for number in topic.partitions)


def having(first: Any, *numbers: int) -> Any:
    """That a member has these, in words of the first answer that it got."""
    return ({"topic_id": first.assignment.topic_partitions[0].topic_id, "partitions": numbers},)


def test_who_says_everything_is_told_everything(log: streamhouse.Log, gateway: Gateway) -> None:
    """Clients do so when an answer has not come, and what was in it they do not know."""
    log.create_topic("t", partitions=2)
    first = consumer_beat(gateway, "g", "m", 0, topics=("t",), owned=())
    assert partitions(first) == [0, 1]
    log.alter_topic("t", partitions=3)
    lost = consumer_beat(gateway, "g", "m", first.member_epoch)
    while partitions(lost) is None:  # the group hears of it a little later
        lost = consumer_beat(gateway, "g", "m", first.member_epoch)
    assert partitions(lost) == [0, 1, 2]
    again = consumer_beat(gateway, "g", "m", first.member_epoch, topics=("t",), owned=having(first, 0, 1))
    assert partitions(again) == [0, 1, 2]
    assert partitions(consumer_beat(gateway, "g", "m", again.member_epoch)) is None


def test_what_was_taken_back_in_a_lost_answer_is_told_again(log: streamhouse.Log, gateway: Gateway) -> None:
    """Otherwise the client would go on to take on what somebody else has by now."""
    log.create_topic("t", partitions=2)
    first = consumer_beat(gateway, "g", "m", 0, topics=("t",), owned=())
    consumer_beat(gateway, "g", "other", 0, topics=("t",), owned=())
    lost = consumer_beat(gateway, "g", "m", first.member_epoch)
    (kept,) = partitions(lost) or ()
    again = consumer_beat(gateway, "g", "m", lost.member_epoch, topics=("t",), owned=having(first, kept))
    assert partitions(again) == [kept]


def test_an_epoch_that_was_not_given_is_fenced(log: streamhouse.Log, gateway: Gateway) -> None:
    """The client then gives up what it has, and joins anew."""
    log.create_topic("t")
    epoch = consumer_beat(gateway, "g", "m", 0, topics=("t",), owned=()).member_epoch
    assert consumer_beat(gateway, "g", "m", epoch + 50).error_code is ErrorCode.fenced_member_epoch
    assert consumer_beat(gateway, "g", "m", epoch).error_code is NO_ERROR
    anew = consumer_beat(gateway, "g", "m", 0, topics=("t",), owned=())
    assert partitions(anew) == [0]


def test_a_static_member_that_does_not_come_back_is_out_at_last(log: streamhouse.Log) -> None:
    log.create_topic("t")
    with streamhouse.kafka.serve(log, port=0) as gateway:
        consumer_beat(gateway, "g", "m", 0, topics=("t",), owned=(), instance="one")
    with streamhouse.kafka.serve(log, port=0, consumer_session_timeout_ms=100) as gateway:
        assert consumer_beat(gateway, "g", "m", AWAY, instance="one").error_code is NO_ERROR
        until(lambda: not log.groups["g"].members)


def test_who_has_no_name_of_its_own_has_no_place_to_keep(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    consumer_beat(gateway, "g", "m", 0, topics=("t",), owned=())
    assert consumer_beat(gateway, "g", "m", AWAY).error_code is NO_ERROR
    assert log.groups["g"].members == ()
