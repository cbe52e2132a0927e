"""Batches damaged at random, mostly with a checksum that fits.

Whatever comes in, a batch is parsed or refused with an error that has a code; reading records one by one and
all at once agree on which; and no more memory is taken than the batch may need. For as long as one likes::

    python -m tests.kafka.batches.fuzz [SECONDS [SEED]]
"""

from __future__ import annotations

import random
import sys
import time
import tracemalloc
from collections.abc import Callable

from streamhouse.format.columns import Columns
from streamhouse.kafka.batches import layout
from streamhouse.kafka.batches.build import build_batch
from streamhouse.kafka.batches.compression import Codec
from streamhouse.kafka.batches.errors import BatchError, InvalidRecordsError
from streamhouse.kafka.batches.few import decode_few
from streamhouse.kafka.batches.many import decode_many
from streamhouse.kafka.batches.parse import parse_batch
from tests.kafka.batches import naive

RAW_BYTES_MAX = 1 << 20
MEMORY_BYTES_MAX = 24 << 20
_NUMBERS = [-(2**31), -2, -1, 0, 1, 63, 64, 127, 128, 8_191, 8_192, 2**31 - 1, 2**63 - 1]


def fuzz(seconds: float, seed: int, *, report: Callable[[str], object] = lambda line: None) -> int:
    """Damage batches for some time.

    Args:
        seconds: How long.
        seed: Of the dice.
        report: Is told what was tried, now and then.

    Returns:
        How many batches were tried.

    Raises:
        AssertionError: One was not handled as it should be; the message has it.
    """
    dice = random.Random(seed)
    seeds = [_sample(dice, codec) for codec in Codec for _ in range(4)]
    tried = refused = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        data = damaged(dice, dice.choice(seeds))
        refused += not try_one(data, measured=tried % 50 == 0)
        tried += 1
        if tried % 20_000 == 0:
            report(f"{tried:,} batches, {refused:,} refused")
    return tried


def try_one(data: bytes, *, measured: bool = False) -> bool:
    """Whether a batch was parsed.

    Args:
        data: The batch.
        measured: Look at the memory it takes, which is slow.

    Raises:
        AssertionError: It was neither parsed nor refused, or took too much memory.
    """
    if measured:
        tracemalloc.start()
    try:
        columns = parse_batch(data, raw_bytes_max=RAW_BYTES_MAX).columns
    except BatchError:
        columns = None
    except Exception as error:
        raise AssertionError(f"{error!r}: {data.hex()}") from error
    finally:
        if measured:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    if measured:
        assert peak < MEMORY_BYTES_MAX, (peak, data.hex())
    _compare(data, columns)
    return columns is not None


def damaged(dice: random.Random, data: bytes) -> bytes:
    """A batch that is not quite right, mostly with a checksum and a length that are."""
    out = bytearray(data)
    for _ in range(dice.choice([1, 1, 1, 2, 3, 8])):
        place = dice.randrange(layout.LENGTH_START, len(out)) if len(out) > layout.LENGTH_START else 0
        match dice.randrange(7):
            case 0:
                out[place : place + 1] = bytes([dice.randrange(256)])
            case 1:
                out[place : place + 1] = bytes([out[place] ^ 1 << dice.randrange(8)]) if out else b""
            case 2:
                del out[place : place + dice.randrange(1, 20)]
            case 3:
                out[place:place] = dice.randbytes(dice.randrange(1, 20))
            case 4:
                out[place : place + 1] = naive.varint(dice.choice(_NUMBERS), dice.choice([1, 1, 3]))
            case 5:
                other = dice.randrange(len(out) + 1)
                out[place:place] = out[other : other + dice.randrange(40)]
            case 6:
                name = dice.choice([57, 57, 23, 21, 35, 43, 53])
                out[name : name + 4] = (dice.choice(_NUMBERS) % 2**32).to_bytes(4, "big")
    if dice.random() < 0.9 and len(out) >= layout.HEADER_BYTES:
        out[layout.LENGTH_START : layout.LENGTH_STOP] = (len(out) - layout.LENGTH_STOP).to_bytes(4, "big")
        out[layout.MAGIC_PLACE] = layout.MAGIC
        out = bytearray(naive.resealed(bytes(out)))
    return bytes(out)


def _sample(dice: random.Random, codec: Codec) -> bytes:
    columns = naive.random_columns(dice.randrange(1_000), dice.choice([1, 3, 60, 130]), dice.choice([3, 90]))
    return build_batch(columns, 0, columns.count, dice.randrange(1 << 40), codec=codec)


def _compare(data: bytes, columns: Columns | None) -> None:
    """That both ways of reading records say the same of them."""
    if len(data) < layout.HEADER_BYTES or data[layout.MAGIC_PLACE] != layout.MAGIC:
        return
    attributes, _, base, _, _, _, _, count = layout.SUMMED.unpack_from(data, layout.SUMMED_START)
    body = data[layout.HEADER_BYTES :]
    if attributes & layout.CODEC_MASK or not 0 < count <= len(body) // layout.RECORD_BYTES_MIN:
        return
    found: list[tuple[Columns, int] | None] = []
    for decode in (
        lambda: decode_few(body, 0, 0, count, base),
        lambda: decode_many(body, count, base),
    ):
        try:
            found.append(decode())
        except InvalidRecordsError:
            found.append(None)
    assert found[0] == found[1], data.hex()
    if columns is not None and not attributes & layout.APPEND_TIME_FLAG:
        assert found[0] == (columns, len(body)), data.hex()


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    seconds, seed = given + [60, time.time_ns()][len(given) :]
    print(f"{fuzz(seconds, seed, report=print):,} batches with seed {seed}")
