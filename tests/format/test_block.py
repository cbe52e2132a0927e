import random
import struct
import zlib
from array import array

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamhouse.errors import CorruptionError, UnsupportedFormatError
from streamhouse.format import codecs
from streamhouse.format.block import BLOCK_RECORDS_MAX, decode_block, encode_block
from streamhouse.format.blockheader import BlockHeader, BufferHeader, ColumnHeader
from streamhouse.format.columns import Columns, columns_from_lists
from tests.format.strategies import Rows, as_stored, columns_of, rows


def reframe(header: BlockHeader, body: bytes) -> bytes:
    """A block with a right checksum around any header and any buffers."""
    packed = msgspec.msgpack.encode(header)
    rest = struct.pack("<HHIQ", 1, 0, len(packed), 24 + len(packed) + len(body)) + packed + body
    return b"SHBL" + zlib.crc32(rest).to_bytes(4, "little") + rest


def unframe(data: bytes) -> tuple[BlockHeader, bytes]:
    header_bytes = int.from_bytes(data[12:16], "little")
    packed = data[24 : 24 + header_bytes]
    return msgspec.msgpack.decode(packed, type=BlockHeader), data[24 + header_bytes :]


def with_column(header: BlockHeader, column: ColumnHeader) -> BlockHeader:
    others = [each for each in header.columns if each.name != column.name]
    return msgspec.structs.replace(header, columns=[*others, column])


@pytest.fixture(scope="module")
def small() -> Columns:
    """Every kind of buffer: strides, planes, LZ4, plain, a bitmap, headers, gaps."""
    columns = columns_from_lists(
        [b"key-%04d" % i for i in range(12)],
        [None if i == 5 else b"a value that compresses " * i for i in range(12)],
        [1_700_000_000_000 + 7 * i for i in range(12)],
        [(("trace", b"%d" % i), ("empty", None)) for i in range(12)],
    )
    return msgspec.structs.replace(columns, deltas=array("q", range(0, 36, 3)).tobytes())


@given(rows())
def test_a_block_gives_back_its_columns(rows: Rows) -> None:
    columns = columns_of(rows)
    encoded = encode_block(columns)
    assert decode_block(encoded.data, "here") == as_stored(columns)
    assert encoded.size == len(encoded.data)
    assert (encoded.count, encoded.raw_bytes) == (columns.count, columns.payload_bytes)


@given(rows(), st.lists(st.integers(0, 2**60), min_size=40, max_size=40, unique=True).map(sorted))
def test_gaps_in_the_offsets_are_kept(rows: Rows, deltas: list[int]) -> None:
    columns = columns_of(rows)
    gaps = array("q", deltas[: columns.count]).tobytes()
    columns = msgspec.structs.replace(columns, deltas=gaps)
    assert decode_block(encode_block(columns).data, "here") == as_stored(columns)


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_any_buffer_is_decoded(small: Columns, make: type) -> None:
    assert decode_block(make(encode_block(small).data), "here") == as_stored(small)


def test_a_decoded_block_does_not_keep_the_object_alive(small: Columns) -> None:
    around = bytearray(b"front" + encode_block(small).data)
    decode_block(memoryview(around)[5:], "here")
    around.clear()  # would raise BufferError if a view were left


def test_equal_keys_and_timestamps_take_no_room() -> None:
    values = [random.Random(i).randbytes(10) for i in range(5000)]  # same length, incompressible
    columns = columns_from_lists([b"k" * 16] * 5000, values, 1_700_000_000_000, None)
    assert encode_block(columns).size < 50_000 + 1_000


def test_what_does_not_shrink_is_stored_as_it_is() -> None:
    columns = columns_from_lists(None, [random.Random(1).randbytes(10_000)], 0, None)
    assert encode_block(columns).size < 10_200


def test_every_flipped_bit_is_detected(small: Columns) -> None:
    data = encode_block(small).data
    for index in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[index] ^= 1 << bit
            with pytest.raises(CorruptionError, match="at this place"):
                decode_block(damaged, "at this place")


def test_every_truncation_and_every_addition_is_detected(small: Columns) -> None:
    data = encode_block(small).data
    for length in range(len(data)):
        with pytest.raises(CorruptionError, match="at this place"):
            decode_block(data[:length], "at this place")
    with pytest.raises(CorruptionError):
        decode_block(data + b"\0", "here")


@given(rows(), st.data())
def test_damage_in_any_block_is_detected(rows: Rows, data: st.DataObject) -> None:
    damaged = bytearray(encode_block(columns_of(rows)).data)
    index = data.draw(st.integers(0, len(damaged) - 1))
    damaged[index] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptionError):
        decode_block(damaged, "here")


@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage: bytes) -> None:
    for data in (garbage, b"SHBL" + garbage):
        with pytest.raises(CorruptionError):
            decode_block(data, "here")


@given(st.binary(max_size=100), st.integers(0, 120))
def test_garbage_with_a_right_checksum_is_refused(garbage: bytes, header_bytes: int) -> None:
    rest = struct.pack("<HHIQ", 1, 0, header_bytes, 24 + len(garbage)) + garbage
    with pytest.raises((CorruptionError, UnsupportedFormatError)):
        decode_block(b"SHBL" + zlib.crc32(rest).to_bytes(4, "little") + rest, "here")


buffer_headers = st.builds(
    BufferHeader,
    codec=st.integers(0, 5),
    stored=st.integers(0, 60),
    raw=st.one_of(st.integers(0, 60), st.integers(0, 2**64 - 1)),
    params=st.binary(max_size=9),
)


@settings(max_examples=300)
@given(st.sampled_from(range(6)), st.integers(0, 2), buffer_headers)
def test_a_header_that_lies_with_a_right_checksum_is_refused(
    small: Columns, column: int, buffer: int, lie: BufferHeader
) -> None:
    header, body = unframe(encode_block(small).data)
    buffers = header.columns[column].buffers
    if buffer >= len(buffers) or buffers[buffer] == lie:
        return
    buffers[buffer] = lie
    try:
        columns = decode_block(reframe(header, body), "here")
    except (CorruptionError, UnsupportedFormatError):
        return
    assert len(columns.timestamps) == 8 * columns.count  # a lie that fits, such as another codec
    assert len(columns.value.offsets) == 4 * (columns.count + 1)


@pytest.mark.parametrize(
    "bomb",
    [
        BufferHeader(1, 4, 2**31),  # LZ4 that claims gigabytes
        BufferHeader(1, 4, 4 * 255 + 1),  # one byte more than its input could ever hold
        BufferHeader(0, 4, 2**62),
    ],
)
def test_a_compression_bomb_is_refused_before_it_is_unpacked(
    small: Columns, bomb: BufferHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    header, body = unframe(encode_block(columns_from_lists(None, [b"v"], 0, None)).data)
    claim = array("i", [0, min(bomb.raw, 2**31 - 1)]).tobytes()  # offsets that fit the claim
    header.columns[2].buffers[2] = bomb
    assert body.endswith(array("i", [0, 1]).tobytes() + b"v")
    lied = reframe(header, body[:-9] + claim + bytes(bomb.stored))
    allocated = []
    monkeypatch.setattr(codecs.lz4.block, "decompress", lambda *a, **k: allocated.append(a))
    with pytest.raises(CorruptionError, match=r"cannot (be|hold)"):
        decode_block(lied, "here")
    assert not allocated


def test_a_block_of_too_many_records_is_refused() -> None:
    header, body = unframe(encode_block(columns_from_lists(None, [b"v"] * 100, 0, None)).data)
    header = msgspec.structs.replace(header, count=BLOCK_RECORDS_MAX + 1)
    with pytest.raises(CorruptionError, match="cannot be"):
        decode_block(reframe(header, body), "here")


@pytest.mark.parametrize("count", [0, BLOCK_RECORDS_MAX + 1])
def test_such_a_block_is_not_written_either(count: int) -> None:
    with pytest.raises(ValueError, match="a block holds"):
        encode_block(columns_from_lists(None, [b""] * count, 0, None))


def test_an_unknown_extra_column_is_stepped_over(small: Columns) -> None:
    header, body = unframe(encode_block(small).data)
    extra = ColumnHeader("value.amount", "g", [BufferHeader(99, 8, 2**40)])
    header.columns.insert(2, extra)
    stored = sum(buffer.stored for column in header.columns[:2] for buffer in column.buffers)
    assert decode_block(reframe(header, body[:stored] + b"8 bytes." + body[stored:]), "x") == as_stored(small)


def test_an_unknown_codec_in_a_needed_column_is_refused_as_newer(small: Columns) -> None:
    header, body = unframe(encode_block(small).data)
    buffer = header.columns[0].buffers[0]
    header.columns[0].buffers[0] = msgspec.structs.replace(buffer, codec=99)
    with pytest.raises(UnsupportedFormatError, match=r"here.*codec 99.*upgrade"):
        decode_block(reframe(header, body), "here")


def test_a_newer_layout_is_refused_as_newer() -> None:
    rest = struct.pack("<HHIQ", 3, 0, 0, 24)
    with pytest.raises(UnsupportedFormatError, match="layout 3"):
        decode_block(b"SHBL" + zlib.crc32(rest).to_bytes(4, "little") + rest, "here")


@pytest.mark.parametrize("name", ["timestamp", "key", "value"])
def test_a_missing_column_is_corruption(small: Columns, name: str) -> None:
    header, _ = unframe(encode_block(small).data)
    header = msgspec.structs.replace(
        header, columns=[ColumnHeader(c.name, c.type, []) for c in header.columns if c.name != name]
    )
    with pytest.raises(CorruptionError, match="buffers"):
        decode_block(reframe(header, b""), "here")


def test_values_packed_beforehand_make_the_same_block() -> None:
    columns = columns_from_lists([b"k", None], [b"ab" * 100, b"c"], 5, None)
    values, keys = codecs.pack_bytes(columns.value.data), codecs.pack_bytes(columns.key.data)
    assert encode_block(columns, values).data == encode_block(columns).data
    assert encode_block(columns, values, keys).data == encode_block(columns).data
