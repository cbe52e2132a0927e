"""A store that is away for longer than anybody waits: what clients are told lets them ask again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import streamhouse
import streamhouse.kafka
from streamhouse.kafka import Gateway
from streamhouse.kafka.protocol.errors import ErrorCode
from tests.kafka.durable.asking import (
    NO_ERROR,
    beat,
    commit,
    committed,
    create,
    end_of,
    end_transaction,
    join,
    produce,
    sync,
    take_over,
)

WAIT_SECONDS = 1.0
ASK_AGAIN = {
    # What every client takes for "not now" from who coordinates.
    ErrorCode.coordinator_not_available,
    ErrorCode.not_coordinator,
    ErrorCode.coordinator_load_in_progress,
}
SEND_AGAIN = {
    ErrorCode.request_timed_out,
    ErrorCode.not_enough_replicas,
    ErrorCode.not_enough_replicas_after_append,
    ErrorCode.not_leader_or_follower,
    ErrorCode.kafka_storage_error,
}


class Asked:
    """Who they are that ask, in every way that needs the store."""

    def __init__(self, gateway: Gateway) -> None:
        create(gateway, "t")
        self.gateway = gateway
        taken = take_over(gateway, "tx")
        self.producer = taken.producer_id, taken.producer_epoch
        member = join(gateway, "g", join(gateway, "g").member_id)
        self.member = member.member_id, member.generation_id
        assert sync(gateway, "g", *self.member, assignment=b"mine").error_code is NO_ERROR

    def requests(self) -> dict[str, tuple[set[ErrorCode], Callable[[], ErrorCode]]]:
        gateway, me = self.gateway, self.producer
        return {
            "produce": (SEND_AGAIN, lambda: produce(gateway, "t", [b"v"])[0]),
            "produce in a transaction": (SEND_AGAIN, lambda: produce(gateway, "t", [b"v"], me, 0, "tx")[0]),
            "end transaction": (ASK_AGAIN, lambda: end_transaction(gateway, "tx", me, commit=True)),
            "init producer": (ASK_AGAIN, lambda: _error(take_over(gateway, "other"))),
            "join": (ASK_AGAIN, lambda: _error(join(gateway, "other", instance="one", session=1000))),
            "commit": (ASK_AGAIN, lambda: commit(gateway, "g", "t", 1, *self.member)),
            "commit as nobody": (ASK_AGAIN, lambda: commit(gateway, "alone", "t", 1)),
        }


def _error(answer: Any) -> ErrorCode:
    error: ErrorCode = answer.error_code
    return error


@pytest.mark.parametrize(
    "what",
    [
        "produce",
        "produce in a transaction",
        "end transaction",
        "init producer",
        "join",
        "commit",
        "commit as nobody",
    ],
)
def test_clients_can_ask_again(streamhouse_s3: Any, what: str) -> None:
    server = streamhouse_s3.server
    with (
        streamhouse.Log(
            streamhouse_s3.url,
            storage_options=streamhouse_s3.storage_options,
            delivery_timeout_seconds=WAIT_SECONDS,
        ) as log,
        streamhouse.kafka.serve(log, port=0) as gateway,
    ):
        asked = Asked(gateway)
        again, call = asked.requests()[what]
        for operation in ("GET", "PUT", "LIST"):
            server.fault(operation, "refuse", times=None)
        try:
            assert call() in again
        finally:
            server.clear_faults()
        # It is as if nothing had been: whether the first one came to pass is for nobody to see.
        assert call() in {NO_ERROR, *(again if what == "produce" else ())}
        assert beat(gateway, "g", *asked.member) is NO_ERROR
        assert committed(gateway, "g", "t") in {-1, 1}
        assert end_of(gateway, "t") <= 2
