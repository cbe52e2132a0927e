"""Records, groups, transactions and administration by way of kafkajs, of which people have a lot."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import streamhouse
from streamhouse.kafka import Gateway
from tests.kafka.clients.bring import kafkajs
from tests.kafka.clients.samples import NOW_MS, SAMPLES, Sample, store, stored

NODE = kafkajs()
pytestmark = pytest.mark.skipif(NODE is None, reason="kafkajs is not here: `nox -s environment` brings it")
SCRIPT = Path(__file__).with_name("kafkajs_client.js")

# It knows headers by name, not in their order, and none without a value.
SENDABLE: Sequence[Sample] = tuple(
    sample for sample in SAMPLES if all(value is not None for _, value in sample.headers)
)


def run(gateway: Gateway, action: str, **wanted: Any) -> Any:
    """What it answers."""
    assert NODE is not None
    command, environment = NODE
    asked = json.dumps({"brokers": [gateway.bootstrap], "action": action, **wanted})
    done = subprocess.run(
        [*command, str(SCRIPT)],
        input=asked,
        env=environment,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def result(answer: dict[str, Any]) -> Any:
    assert "error" not in answer, answer
    return answer["result"]


def _encoded(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _decoded(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def sent(samples: Sequence[Sample]) -> list[Any]:
    """Samples as the script takes them."""
    taken = []
    for key, value, headers, timestamp in samples:
        by_name: dict[str, list[str | None]] = {}
        for name, content in headers:
            by_name.setdefault(name, []).append(_encoded(content))
        taken.append([_encoded(key), _encoded(value), list(by_name.items()), timestamp])
    return taken


def sample_of(message: dict[str, Any]) -> Sample:
    headers = tuple((name, _decoded(value)) for name, values in message["headers"] for value in values)
    return Sample(_decoded(message["key"]), _decoded(message["value"]), headers, message["timestamp"])


@pytest.mark.parametrize("codec", ["None", "GZIP", "Snappy"])
def test_records_in_and_out(log: streamhouse.Log, gateway: Gateway, codec: str) -> None:
    log.create_topic("t")
    assert result(run(gateway, "produce", topic="t", samples=sent(SENDABLE), codec=codec)) == [["0", 0]]
    assert stored(log, "t") == list(SENDABLE)
    found = result(run(gateway, "consume", group="g", topics=["t"], count=len(SENDABLE)))
    assert [sample_of(message) for message in found] == list(SENDABLE)
    assert log.groups["g"].lag == {("t", 0): 0}


@pytest.mark.parametrize("codec", ["gzip", "snappy"])
def test_batches_are_compressed_as_the_topic_says(log: streamhouse.Log, gateway: Gateway, codec: str) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": gateway.bootstrap})
    admin.create_topics([NewTopic("t", 1, config={"compression.type": codec})])["t"].result(10)
    store(log, "t", SENDABLE)
    found = result(run(gateway, "consume", group="g", topics=["t"], count=len(SENDABLE)))
    assert [sample_of(message) for message in found] == list(SENDABLE)


@pytest.mark.parametrize(("acks", "idempotent"), [(0, False), (1, False), (-1, True)])
def test_acknowledgements(log: streamhouse.Log, gateway: Gateway, acks: int, idempotent: bool) -> None:
    log.create_topic("t")
    result(run(gateway, "produce", topic="t", samples=sent(SENDABLE), acks=acks, idempotent=idempotent))
    assert [record.value for record in log.read("t")] == [sample.value for sample in SENDABLE]


def test_records_that_are_refused(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("compacted", cleanup_policy="compact")
    answer = run(gateway, "produce", topic="compacted", samples=sent([Sample(None, b"no key")]))
    assert answer["error"] == "INVALID_RECORD"
    assert stored(log, "compacted") == []


def test_members_come_and_go(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", partitions=4)
    found = result(run(gateway, "rebalance", group="g", topic="t", partitions=4))
    alone, shared, read, left, _ = found["stages"]
    assert alone == [[0, 1, 2, 3]]
    assert [len(mine) for mine in shared] == [2, 2]
    assert sorted(shared[0] + shared[1]) == [0, 1, 2, 3]
    assert read == shared
    assert left == [[], [0, 1, 2, 3]]
    first, second = ([tuple(each) for each in mine] for mine in found["read"])
    assert sorted(first) == sorted([(n, 0) for n in range(4)] + [(n, 1) for n in shared[0]])
    assert sorted(second) == sorted([(n, 1) for n in shared[1]] + [(n, 2) for n in range(4)])
    assert set(log.groups["g"].lag.values()) == {0}


def test_seek_and_patterns(log: streamhouse.Log, gateway: Gateway) -> None:
    for name in ("a-1", "a-2", "b"):
        log.create_topic(name)
        store(log, name, [Sample(None, b"%d" % n) for n in range(5)])
    found = result(run(gateway, "consume", group="p", topics=["/^a-.*"], count=10))
    assert {message["topic"] for message in found} == {"a-1", "a-2"}
    found = result(run(gateway, "consume", group="s", topics=["b"], count=2, seek=3))
    assert [message["offset"] for message in found[-2:]] == [3, 4]


def test_transactions(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    log.create_topic("source")
    store(log, "source", [Sample(None, b"%d" % n) for n in range(10)])
    result(run(gateway, "transactions", topic="t", group="g", source="source"))
    assert [(record.key, record.value) for record in log.read("t")] == [(b"k", b"kept")]
    assert {name: group.lag for name, group in log.groups.items() if group.lag} == {"g": {("source", 0): 3}}
    (message,) = result(run(gateway, "consume", group="r", topics=["t"], count=1))
    assert sample_of(message).value == b"kept"


def test_administration(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    store(log, "t", [Sample(None, b"%d" % n, timestamp=NOW_MS + n) for n in range(10)])
    found = result(run(gateway, "administration", time=NOW_MS + 4))
    assert found == {
        "made": True,
        "topics": ["made", "t"],
        "metadata": 3,
        "ends": [[0, 0, 10]],
        "byTime": [4],
        "brokers": 1,
        "retention": "9",
        "offsets": [3],
        "groups": ["g"],
        "state": "Empty",
    }
    assert (log.topic("t").partitions[0].log_start, list(log.topics), list(log.groups)) == (2, ["t"], [])
