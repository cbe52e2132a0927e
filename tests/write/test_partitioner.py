from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamhouse.write import partitioner
from streamhouse.write.partitioner import Partitioner, hash_partitions, partition_for_key, split

COUNTS = (1, 2, 3, 7, 8, 100, 255, 256, 257, 1000, 4096, 99_999, 100_000)


@pytest.mark.parametrize("partitions", COUNTS)
def test_many_keys_agree_with_one_by_one(partitions: int) -> None:
    dice = random.Random(partitions)
    keys = [dice.randbytes(11) for _ in range(5000)]
    expected = [partition_for_key(key, partitions) for key in keys]
    assert list(hash_partitions(keys, partitions)) == expected
    assert max(expected) < partitions


def test_partition_is_the_hash_without_its_sign() -> None:
    assert partition_for_key(b"foobar", 1000) == (-790332482 & 0x7FFFFFFF) % 1000


@settings(max_examples=60)
@given(
    st.lists(st.one_of(st.none(), st.binary(max_size=70)), max_size=200),
    st.sampled_from(COUNTS),
    st.integers(0, 3),
)
def test_assign(keys: list[bytes | None], partitions: int, repeats: int) -> None:
    keys = keys * (repeats + 1)
    sticky = partitions - 1
    expected = [sticky if key is None else partition_for_key(key, partitions) for key in keys]
    assigning = Partitioner(partitions)
    for _ in range(2):  # the second time the keys are known
        assert list(assigning.assign(keys, sticky)) == expected
    assert list(assigning.assign([*keys, b"another"], sticky))[:-1] == expected


@pytest.mark.parametrize("distinct", [1, 10, 1000, 50_000])
@pytest.mark.parametrize("even", [True, False])
def test_assign_batch_after_batch(distinct: int, even: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitioner, "_KNOWN_KEYS_MAX", 3000)
    dice = random.Random(distinct)
    assigning = Partitioner(5)
    for size in (1, 63, 64, 5000, 5000, 200):
        numbers = [dice.randrange(distinct) for _ in range(size)]
        keys = [b"%012d" % number if even else b"%d" % number for number in numbers]
        expected = [partition_for_key(key, 5) for key in keys]
        assert list(assigning.assign(keys, 0)) == expected
        assert len(assigning._known) <= 3000


def test_an_empty_key_is_a_key() -> None:
    partition = partition_for_key(b"", 100)
    assert list(Partitioner(100).assign([b"", None], 99)) == [partition, 99]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=300))
def test_split_keeps_order(numbers: list[int]) -> None:
    values = list(range(len(numbers)))
    names = [str(value) for value in values]
    found = split(numbers, values, names)
    assert list(found) == sorted(set(numbers))
    for partition, (mine, their_names) in found.items():
        assert mine == [v for v, p in zip(values, numbers, strict=True) if p == partition]
        assert their_names == [str(value) for value in mine]
    assert sorted(itertools.chain.from_iterable(column[0] for column in found.values())) == values


def test_split_with_one_partition_copies() -> None:
    values = [b"a", b"b"]
    found = split(b"\5\5", values)
    assert found == {5: [values]}
    assert found[5][0] is not values


def test_keys_that_come_again_are_looked_up() -> None:
    keys = [b"%04d" % (number % 1000) for number in range(20_000)]
    assigning = Partitioner(3)
    assigning.assign(keys, 0)  # all new: hashed without a look
    assigning.assign(keys, 0)
    assert set(assigning._known) == set(keys)
