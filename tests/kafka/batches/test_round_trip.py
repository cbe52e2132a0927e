"""What is built is parsed as the same, record for record."""

from __future__ import annotations

from array import array
from contextlib import contextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.format.joins import cut_columns, join_columns
from streamhouse.format.lists import binary_list
from streamhouse.kafka.batches import build, layout, parse
from streamhouse.kafka.batches.build import build_batch
from streamhouse.kafka.batches.compression import Codec
from streamhouse.kafka.batches.parse import parse_batch, split_batches
from tests.format import strategies
from tests.kafka.batches import naive

ONE_BY_ONE, ALL_AT_ONCE = 1_000_000, 0
CODECS = [None, *Codec]


@contextmanager
def few_max(records: int):
    """Up to how many records batches are few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parse, "_FEW_MAX", records)
        patch.setattr(build, "_FEW_MAX", records)
        yield


@pytest.mark.parametrize("few", [ONE_BY_ONE, ALL_AT_ONCE])
@given(rows=strategies.rows(), codec=st.sampled_from(CODECS), base_offset=st.integers(0, 2**62))
def test_parse_is_the_reverse_of_build(few, rows, codec, base_offset):
    columns = strategies.columns_of(rows)
    with few_max(few):
        data = build_batch(columns, 0, columns.count, base_offset, codec=codec)
        batch = parse_batch(data)
    assert batch.columns == columns
    assert (batch.codec, batch.size) == (codec or Codec.NONE, len(data))
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (-1, -1, -1)
    assert not any((batch.control, batch.transactional, batch.append_time))
    assert int.from_bytes(data[:8], "big") == base_offset


@given(rows=strategies.rows(), data=st.data())
def test_both_ways_of_building_make_the_same_bytes(rows, data):
    columns = strategies.columns_of(rows)
    start = data.draw(st.integers(0, columns.count - 1))
    stop = data.draw(st.integers(start + 1, columns.count))
    built = []
    for few in (ONE_BY_ONE, ALL_AT_ONCE):
        with few_max(few):
            built.append(build_batch(columns, start, stop, 5))
    assert built[0] == built[1]
    assert parse_batch(built[0]).columns == cut_columns(columns, start, stop)


@given(rows=strategies.rows())
def test_bytes_are_those_of_a_batch_written_field_by_field(rows):
    columns = strategies.columns_of(rows)
    keys, values, stamps, headers = strategies.spelled_out(rows)
    deltas = [(stamp - stamps[0] + 2**63) % 2**64 - 2**63 for stamp in stamps]
    body = naive.body_of(list(zip(deltas, keys, values, headers, strict=True)))
    expected = naive.batch(
        body,
        columns.count,
        base_offset=40,
        leader_epoch=0,
        base_timestamp=stamps[0],
        timestamp_max=max(stamps),
    )
    assert build_batch(columns, 0, columns.count, 40) == expected


@pytest.mark.parametrize("few", [ONE_BY_ONE, ALL_AT_ONCE])
@given(gaps=st.lists(st.integers(1, 300_000), min_size=1, max_size=20), base_offset=st.integers(0, 2**60))
def test_offsets_may_have_gaps(few, gaps, base_offset):
    """Compaction leaves them; clients read them from the offset delta of each record."""
    from aiokafka.record.default_records import DefaultRecordBatch

    deltas = [sum(gaps[:place]) for place in range(1, len(gaps) + 1)]
    columns = strategies.columns_of((None, [b"x"] * len(gaps), 5, None))
    columns = msgspec.structs.replace(columns, deltas=array("q", deltas).tobytes())
    with few_max(few):
        data = build_batch(columns, 0, len(gaps), base_offset)
    reader = DefaultRecordBatch(bytearray(data))
    assert [record.offset for record in reader] == [base_offset + delta for delta in deltas]
    assert reader.next_offset == base_offset + deltas[-1] + 1


@pytest.mark.parametrize("seed", range(40))
def test_batches_of_many_records(seed):
    count = (1, 47, 48, 49, 112, 113, 300, 1_500)[seed % 8]
    columns = naive.random_columns(seed, count, 40 if count > 1_000 else 6_000)
    codec = CODECS[seed % len(CODECS)]
    data = build_batch(columns, 0, count, 0, codec=codec)
    assert parse_batch(data).columns == columns


def test_chunks_are_put_together():
    """More records, and more bytes, than are decoded at once."""
    columns = naive.random_columns(3, 40_000, 100)
    data = build_batch(columns, 0, columns.count, 0)
    assert len(data) > 2 << 20
    assert parse_batch(data).columns == columns


def test_records_of_one_size_are_found_without_a_walk():
    """Sizes change where the offset takes a byte more, and where a record differs."""
    values: list[bytes | None] = [b"v" * 100] * 20_000
    values[9_000], values[9_001], values[15_000] = b"", None, b"v" * 9_000
    columns = strategies.columns_of((None, values, 5, None))
    assert parse_batch(build_batch(columns, 0, columns.count, 0)).columns == columns


@pytest.mark.parametrize("size", [2_047, 2_048, 8_191, 8_192, 70_000, 3_000_000])
def test_large_values(size):
    count = 120 if size < 100_000 else 3
    values = [bytes([place]) * (size + place % 3) for place in range(count)]
    columns = strategies.columns_of(([b"k"] * count, values, 5, None))
    assert parse_batch(build_batch(columns, 0, count, 0)).columns == columns


@given(rows=strategies.rows(), data=st.data())
def test_values_may_come_as_a_list(rows, data):
    """As those of typed topics do, whose columns are something else."""
    columns = strategies.columns_of(rows)
    start = data.draw(st.integers(0, columns.count - 1))
    stop = data.draw(st.integers(start + 1, columns.count))
    values = data.draw(st.lists(strategies.optional_blobs, min_size=stop - start, max_size=stop - start))
    window = cut_columns(columns, start, stop)
    for few in (ONE_BY_ONE, ALL_AT_ONCE):
        with few_max(few):
            batch = parse_batch(build_batch(columns, start, stop, 0, values=values))
        assert binary_list(batch.columns.value, 0, stop - start) == values
        assert batch.columns.key == window.key
        assert batch.columns.timestamps == window.timestamps


@given(rows=strategies.rows(), bytes_max=st.integers(61, 2_000), data=st.data())
def test_what_is_too_large_for_one_batch_becomes_several(rows, bytes_max, data):
    columns = strategies.columns_of(rows)
    count = columns.count
    values = data.draw(st.none() | st.lists(strategies.optional_blobs, min_size=count, max_size=count))
    built = build_batch(columns, 0, count, 70, values=values, batch_bytes_max=bytes_max)
    pieces = list(split_batches(built))
    batches = [parse_batch(piece) for piece in pieces]
    offsets = [int.from_bytes(piece[:8], "big") for piece in pieces]
    assert all(batch.columns.count == 1 or batch.size <= bytes_max for batch in batches)
    joined = join_columns(list(zip(offsets, [batch.columns for batch in batches], strict=True)))
    assert offsets[0] == 70
    assert joined == parse_batch(build_batch(columns, 0, count, 70, values=values)).columns


def test_offsets_too_far_apart_for_one_batch():
    deltas = [0, 1, layout.INT32_MAX, layout.INT32_MAX + 1, 1 << 40]
    columns = strategies.columns_of((None, [b"x"] * 5, 5, None))
    columns = msgspec.structs.replace(columns, deltas=array("q", deltas).tobytes())
    pieces = list(split_batches(build_batch(columns, 0, 5, 9)))
    found = []
    for piece in pieces:
        base = int.from_bytes(piece[:8], "big")
        last = int.from_bytes(piece[23:27], "big")
        found += [base, base + last]
    assert found[0] == 9
    assert found[-1] == 9 + deltas[-1]
    assert len(pieces) > 1


def test_deltas_of_extreme_timestamps_wrap():
    stamps = [-(2**63), 2**63 - 1, 0, -1] * 40
    columns = strategies.columns_of((None, [b""] * len(stamps), stamps, None))
    for few in (ONE_BY_ONE, ALL_AT_ONCE):
        with few_max(few):
            assert parse_batch(build_batch(columns, 0, len(stamps), 0)).columns == columns


def test_the_time_of_a_broker_is_that_of_all_records():
    entries = [(delta, None, b"x", ()) for delta in (0, 5, -3)]
    data = naive.batch(naive.body_of(entries), 3, attributes=8, base_timestamp=100, timestamp_max=777)
    batch = parse_batch(data)
    assert batch.append_time
    assert strategies.rows_of(batch.columns)[2] == [777] * 3
    assert (batch.columns.timestamp_min, batch.columns.timestamp_max) == (777, 777)


def test_what_a_batch_says_of_its_producer():
    body = naive.body_of([(0, None, b"x", ())])
    batch = parse_batch(naive.batch(body, 1, attributes=0x30, producer_id=9, epoch=3, sequence=12))
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (9, 3, 12)
    assert batch.transactional
    assert batch.control
