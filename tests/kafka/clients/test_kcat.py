"""Records by way of kcat, with the librdkafka of Debian: an old one."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import streamhouse
from streamhouse.kafka import Gateway
from tests.kafka.clients.bring import kcat
from tests.kafka.clients.members import member_process
from tests.kafka.clients.samples import CODECS, NOW_MS, Sample, store, stored, until

KCAT = kcat()
pytestmark = pytest.mark.skipif(KCAT is None, reason="kcat is not here: `nox -s environment` brings it")
MEMBER = {"session.timeout.ms": 1500, "heartbeat.interval.ms": 100, "auto.commit.interval.ms": 100}


def run(gateway: Gateway, *options: str, stdin: str = "") -> str:
    """What it prints."""
    assert KCAT is not None
    command, environment = KCAT
    done = subprocess.run(
        [*command, "-b", gateway.bootstrap, *options],
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def consume(gateway: Gateway, *options: str, form: str = "%s\n") -> list[str]:
    """What is there, and no more."""
    return run(gateway, "-C", "-q", "-e", "-f", form, *options).splitlines()


class Member:
    """A ``kcat -G`` that runs until it is told to leave."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self._process = process
        self._output = output

    def wait_for(self, partitions: int) -> None:
        """Wait until it says that it was assigned so many partitions."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if len(re.findall(r" \[\d+\]", line.partition(" assigned: ")[2])) == partitions:
                return
        raise AssertionError("the member ended")

    def received(self) -> list[str]:
        """What it has printed."""
        return self._output.read_text().splitlines()


@contextmanager
def member(gateway: Gateway, group: str, topic: str, output: Path) -> Iterator[Member]:
    """It leaves in order at the end."""
    assert KCAT is not None
    command, environment = KCAT
    settings = {**MEMBER, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 50}
    options = [option for name, value in settings.items() for option in ("-X", f"{name}={value}")]
    joining = [*command, "-b", gateway.bootstrap, *options, "-u", "-f", "%p %o\n", "-G", group, topic]
    with (
        output.open("w") as stdout,
        subprocess.Popen(
            joining, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        try:
            yield Member(process, output)
            process.terminate()
            process.communicate(timeout=20)
        finally:
            process.kill()


@pytest.mark.parametrize("codec", CODECS)
def test_records_in_and_out(log: streamhouse.Log, gateway: Gateway, codec: str) -> None:
    log.create_topic("t")
    lines = [f"k{n}:{'value' * 100} {n}" for n in range(200)]
    run(gateway, "-P", "-t", "t", "-K", ":", "-z", codec, "-H", "h=1", "-H", "h=2", stdin="\n".join(lines))
    assert [f"{(s.key or b'').decode()}:{(s.value or b'').decode()}" for s in stored(log, "t")] == lines
    assert {sample.headers for sample in stored(log, "t")} == {(("h", b"1"), ("h", b"2"))}
    assert consume(gateway, "-t", "t", form="%k:%s\n") == lines
    # It compresses only if it believes that the broker can decompress.
    small = gateway.metrics.bytes_in < len("".join(lines)) / 4
    assert small == (codec != "none")


def test_what_the_native_api_wrote(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    samples = [
        Sample(b"k", b"v", (("a", b"1"), ("n", None))),
        Sample(None, b"v"),
        Sample(b"", None),
        Sample(b"k", b""),
    ]
    store(log, "t", samples)
    lines = consume(gateway, "-t", "t", form="%o %T %K %k %S %s %h\n")
    assert lines == [
        f"0 {NOW_MS} 1 k 1 v a=1,n=NULL",
        f"1 {NOW_MS} -1  1 v ",
        f"2 {NOW_MS} 0  -1  ",
        f"3 {NOW_MS} 1 k 0  ",
    ]


def test_null_keys_and_values(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    run(gateway, "-P", "-t", "t", "-K", ":", "-Z", stdin=":v\nk:\n")
    assert [(sample.key, sample.value) for sample in stored(log, "t")] == [(None, b"v"), (b"k", None)]


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_acknowledgements(log: streamhouse.Log, gateway: Gateway, acks: str) -> None:
    run(gateway, "-P", "-t", "new", "-X", f"acks={acks}", stdin="a\nb\n")
    until(lambda: "new" in log.topics and len(stored(log, "new")) == 2)
    assert consume(gateway, "-t", "new") == ["a", "b"]


def test_big_records(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    run(gateway, "-P", "-t", "t", "-X", "message.max.bytes=4000000", stdin="x" * 3_000_000)
    (line,) = consume(gateway, "-t", "t", "-X", "fetch.message.max.bytes=1000", form="%S\n")
    assert line == "3000000"


def test_partitions_and_offsets(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", partitions=3)
    for partition in range(3):
        run(gateway, "-P", "-t", "t", "-p", str(partition), stdin="\n".join(map(str, range(10))))
    assert len(consume(gateway, "-t", "t")) == 30
    assert consume(gateway, "-t", "t", "-p", "1", "-o", "7") == ["7", "8", "9"]
    assert consume(gateway, "-t", "t", "-p", "1", "-o", "-2") == ["8", "9"]
    listed = run(gateway, "-L")
    assert 'topic "t" with 3 partitions' in listed
    assert f"broker {gateway.node_id} at {gateway.bootstrap}" in listed


def test_offsets_by_time(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    store(log, "t", [Sample(None, b"%d" % n, timestamp=NOW_MS + n) for n in range(10)])
    assert run(gateway, "-Q", "-t", f"t:0:{NOW_MS + 4}") == "t [0] offset 4\n"
    assert consume(gateway, "-t", "t", "-p", "0", "-o", f"s@{NOW_MS + 8}") == ["8", "9"]


def test_a_group(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t", partitions=2)
    for partition in range(2):
        run(gateway, "-P", "-t", "t", "-p", str(partition), stdin="\n".join(map(str, range(10))))
    options = ("-q", "-X", "auto.offset.reset=earliest", "-f", "%p %s\n", "-G", "g", "t")
    assert len(run(gateway, "-e", *options).splitlines()) == 20
    assert log.groups["g"].lag == {("t", 0): 0, ("t", 1): 0}
    assert run(gateway, "-e", *options) == ""


def test_members_come_and_go(log: streamhouse.Log, gateway: Gateway, tmp_path: Path) -> None:
    log.create_topic("t", partitions=6)
    with log.producer() as producer:
        for number in range(60):
            producer.send("t", b"v", partition=number % 6)
    with member(gateway, "g", "t", tmp_path / "first") as first:
        first.wait_for(6)
        until(lambda: len(first.received()) == 60)
        with member(gateway, "g", "t", tmp_path / "second") as second:
            first.wait_for(3)
            second.wait_for(3)
            with member_process("confluent", gateway.bootstrap, "g", "t", **MEMBER) as third:
                for each in (first, second, third):
                    each.wait_for(2)
                assert len(log.groups["g"].members) == 3
                with log.producer() as producer:
                    for number in range(6):
                        producer.send("t", b"later", partition=number)
                until(lambda: sum(log.groups["g"].lag.values()) == 0)
        first.wait_for(6)
    received = [first.received(), second.received()]
    everything = {f"{partition} {offset}" for partition in range(6) for offset in range(10)}
    assert everything <= set(first.received())
    assert [len([line for line in lines if line.endswith(" 10")]) for lines in received] == [2, 2]


def test_an_idempotent_producer(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    lines = [str(number) for number in range(2000)]
    options = ("-X", "enable.idempotence=true", "-X", "batch.num.messages=100")
    run(gateway, "-P", "-t", "t", *options, stdin="\n".join(lines))
    assert [(sample.value or b"").decode() for sample in stored(log, "t")] == lines
    assert gateway.metrics.apis["init_producer_id"].requests > 0


def test_a_transaction(log: streamhouse.Log, gateway: Gateway) -> None:
    log.create_topic("t")
    run(gateway, "-P", "-t", "t", "-X", "transactional.id=x", stdin="a\nb\n")
    assert consume(gateway, "-t", "t", "-X", "isolation.level=read_committed") == ["a", "b"]
