"""What is no request, or one that claims absurd things: refused at once, and others do not notice."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator

import pytest

from streamhouse import Log
from streamhouse.format.columns import columns_from_lists
from streamhouse.kafka import Gateway, serve
from streamhouse.kafka.batches.build import build_batch
from streamhouse.kafka.batches.compression import Codec
from streamhouse.kafka.protocol import apis
from tests.kafka.batches.naive import resealed
from tests.kafka.hostile.corpus import kind_of, load
from tests.kafka.hostile.fuzzing import GoodClient
from tests.kafka.wire import Wire

HEADER = struct.Struct(">hhih")
SECONDS = 2.0


@pytest.fixture(scope="module")
def log() -> Iterator[Log]:
    with Log("memory://") as log:
        yield log


@pytest.fixture(scope="module")
def gateway(log: Log) -> Iterator[Gateway]:
    with serve(log, port=0) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def good(gateway: Gateway) -> Iterator[GoodClient]:
    client = GoodClient(gateway.bootstrap)
    yield client
    client.close()


@pytest.fixture(autouse=True)
def others_do_not_notice(good: GoodClient) -> Iterator[None]:
    good.work(3)
    yield
    good.work(3)


def is_closed(wire: Wire) -> bool:
    """Whether the gateway has hung up, and soon."""
    wire.socket.settimeout(SECONDS)
    try:
        return wire.socket.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        bytes.fromhex("16030100c6010000c203036162"),  # a TLS handshake
        b"\xff" * 100,
        struct.pack(">i", -1),
        struct.pack(">i", -(2**31)),
        struct.pack(">i", 2**31 - 1),
        struct.pack(">i", 0),
        struct.pack(">i", 3) + b"abc",
        struct.pack(">i", 10) + HEADER.pack(999, 0, 1, -1),  # no such API
        struct.pack(">i", 10) + HEADER.pack(apis.METADATA.key, 999, 1, -1),
        struct.pack(">i", 10) + HEADER.pack(apis.METADATA.key, -1, 1, -1),
        struct.pack(">i", 10) + HEADER.pack(apis.METADATA.key, 1, 1, -2),
        struct.pack(">i", 10) + HEADER.pack(apis.METADATA.key, 1, 1, 32_767),
    ],
)
def test_what_is_no_request_ends_the_connection(gateway: Gateway, data: bytes) -> None:
    with Wire(gateway) as wire:
        wire.socket.sendall(data)
        assert is_closed(wire)


def test_noise_ends_connections(gateway: Gateway) -> None:
    dice = random.Random(1)
    for _ in range(50):
        with Wire(gateway) as wire:
            wire.socket.sendall(b"\x00\x00" + dice.randbytes(dice.randrange(1, 30_000)))
    for _ in range(50):
        with Wire(gateway) as wire:
            body = dice.randbytes(dice.randrange(8, 300))
            wire.send_frame(HEADER.pack(dice.choice(list(apis.APIS)), dice.randrange(12), 1, -1) + body)


@pytest.mark.parametrize("count", [2**31 - 1, 2**30, 1_000_000])
def test_arrays_that_claim_more_than_there_is(gateway: Gateway, count: int) -> None:
    began = time.monotonic()
    fronts = {(3, 1): 0, (1, 4): 17, (0, 3): 8, (2, 1): 4, (8, 2): 16, (9, 1): 2, (19, 2): 0, (32, 1): 0}
    for (key, version), front in fronts.items():  # so many bytes are before the array
        with Wire(gateway) as wire:
            wire.send_frame(
                HEADER.pack(key, version, 42, -1) + bytes(front) + struct.pack(">i", count) + b"\0" * 8
            )
            assert is_closed(wire)
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("number", [b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01", b"\xff" * 20, b"\x80"])
def test_varints_that_claim_more_than_there_is(gateway: Gateway, number: bytes) -> None:
    with Wire(gateway) as wire:  # tagged fields of the header
        wire.send_frame(HEADER.pack(apis.METADATA.key, 9, 42, -1) + number)
        assert is_closed(wire)
    with Wire(gateway) as wire:  # topics
        wire.send_frame(HEADER.pack(apis.METADATA.key, 9, 42, -1) + b"\0" + number)
        assert is_closed(wire)
    with Wire(gateway) as wire:  # the name of a topic
        wire.send_frame(HEADER.pack(apis.METADATA.key, 9, 42, -1) + b"\0\x02" + number)
        assert is_closed(wire)


def test_every_request_cut_off_anywhere(gateway: Gateway) -> None:
    frames = {kind_of(frame): frame for frame in load()}
    for frame in frames.values():
        for stop in {0, 1, 7, 9, len(frame) // 2, len(frame) - 1}:
            with Wire(gateway) as wire:
                wire.send_frame(frame[:stop])
                wire.socket.sendall(b"\0\0")  # and half of a size


def test_a_request_byte_by_byte(gateway: Gateway) -> None:
    frame = next(frame for frame in load() if kind_of(frame)[0] == apis.API_VERSIONS.key)
    with Wire(gateway) as wire:
        for byte in struct.pack(">i", len(frame)) + frame:
            wire.socket.sendall(bytes((byte,)))
        assert wire.receive_frame()


def batch_of(*values: bytes, codec: Codec = Codec.NONE) -> bytes:
    columns = columns_from_lists(None, list(values), [1] * len(values), None)
    return build_batch(columns, 0, columns.count, 0, codec=codec)


def produce(gateway: Gateway, records: bytes) -> tuple[int, int]:
    """Error code and base offset."""
    with Wire(gateway) as wire:
        partition = {"index": 0, "records": records}
        response = wire.ask(
            apis.PRODUCE.key, 9, transactional_id=None, acks=-1, timeout=5_000,
            topic_data=[{"name": "t", "partition_data": [partition]}],
        )  # fmt: skip
    part = response.responses[0].partition_responses[0]
    return int(part.error_code), part.base_offset


CORRUPT, TOO_LARGE, INVALID, UNSUPPORTED_FORMAT = 2, 10, 87, 43


def test_batches_that_are_none(gateway: Gateway, log: Log) -> None:
    log.create_topic("t", exist_ok=True)
    good = batch_of(b"a", b"b", b"c")
    assert produce(gateway, good) == (0, 0)
    flipped = bytearray(good)
    flipped[-1] ^= 1
    assert produce(gateway, bytes(flipped))[0] == CORRUPT
    for stop in (1, 12, 60, len(good) - 1):
        assert produce(gateway, good[:stop])[0] in {CORRUPT, INVALID}
    assert produce(gateway, good + b"\0")[0] in {CORRUPT, INVALID}
    for magic in (0, 1, 3, 127):
        old = bytearray(good)
        old[16] = magic
        assert produce(gateway, bytes(old))[0] in {CORRUPT, INVALID, UNSUPPORTED_FORMAT}
    for place, value in ((57, 2), (57, 4), (57, 2**31 - 1), (57, -1), (23, 7), (23, -1)):  # count; last delta
        wrong = bytearray(good)
        wrong[place : place + 4] = (value % 2**32).to_bytes(4, "big")
        assert produce(gateway, resealed(bytes(wrong)))[0] in {CORRUPT, INVALID}
    assert [record.value for record in log.read("t")] == [b"a", b"b", b"c"]


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD])
def test_bombs_are_refused_before_they_go_off(log: Log, codec: Codec) -> None:
    log.create_topic("t", exist_ok=True)
    bomb = batch_of(bytes(64 << 20), codec=codec)
    with serve(log, port=0, batch_raw_bytes_max=1 << 20) as gateway:
        before = _peak_bytes()
        for _ in range(3):
            assert produce(gateway, bomb)[0] == TOO_LARGE
        assert _peak_bytes() - before < 48 << 20
        assert produce(gateway, batch_of(bytes(1_000), codec=codec))[0] == 0


def _peak_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
