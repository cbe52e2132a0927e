"""What a fetch is answered with while upkeep puts the blocks that are being read together."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

import streamhouse
from streamhouse.kafka import Gateway
from streamhouse.kafka.reading import RecordSource

RECORDS = 40  # each in a block of its own: more than are looked up at a time


@pytest.mark.parametrize("read_before", range(1, 12))
def test_blocks_that_are_merged_while_they_are_read(
    log: streamhouse.Log, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, read_before: int
) -> None:
    log.create_topic("orders")
    with log.producer() as producer:
        for number in range(RECORDS):
            producer.send("orders", b"%d" % number).result()
    read = RecordSource._block
    blocks = 0

    async def read_and_merge(self: RecordSource, *arguments: Any) -> Any:
        nonlocal blocks
        blocks += 1
        if blocks == read_before:
            await self._parts.aside(log.upkeep)
        return await read(self, *arguments)

    monkeypatch.setattr(RecordSource, "_block", read_and_merge)
    consumer = Consumer({"bootstrap.servers": gateway.bootstrap, "group.id": "g"})
    consumer.assign([TopicPartition("orders", 0, 0)])
    came: list[int] = []
    while len(came) < RECORDS or came[-1] != RECORDS - 1:
        came += [int(message.value()) for message in consumer.consume(RECORDS, timeout=0.2)]
    came += [int(message.value()) for message in consumer.consume(RECORDS, timeout=0.2)]
    consumer.close()
    ((left,),) = log.sql("select count(*) from streamhouse.segments").fetchall()
    assert left < RECORDS
    assert came == list(range(RECORDS))
