"""The fold: pure, deterministic, and the same whether or not it began from a snapshot."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamhouse.commits.fold import Code, apply
from streamhouse.commits.snapshots import image_of, restore
from streamhouse.commits.state import State
from streamhouse.format.commit import BlockEntry, Commit, Flush
from streamhouse.format.operations import Append, AppendPart, CreateTopic, DeleteTopic, Operation, SealLane
from streamhouse.format.snapshot import pack_snapshot, unpack_snapshot

AGENTS = ["a1", "b2", "c3"]

operations = st.one_of(
    st.builds(CreateTopic, name=st.sampled_from("xyz"), partitions=st.integers(1, 3)),
    st.builds(DeleteTopic, topic=st.integers(1, 4)),
    st.builds(SealLane, agent=st.sampled_from(AGENTS)),
    st.builds(
        Append,
        topic=st.integers(1, 4),
        producer=st.integers(-1, 2),
        epoch=st.integers(0, 1),
        parts=st.tuples(
            st.builds(
                AppendPart,
                partition=st.integers(0, 3),
                sequence=st.integers(0, 6),
                first_block=st.just(0),
                block_count=st.integers(1, 2),
            )
        ),
    ),
)
blocks = st.tuples(
    *[
        st.builds(
            BlockEntry,
            part=st.just(0),
            position=st.just(i * 10),
            length=st.just(10),
            count=st.integers(1, 3),
            timestamp_min=st.just(0),
            timestamp_max=st.integers(0, 9),
            raw_bytes=st.just(7),
        )
        for i in range(2)
    ]
)
flushes = st.builds(
    Flush,
    agent=st.sampled_from(AGENTS),
    number=st.integers(0, 4),
    operations=st.lists(operations, max_size=3).map(tuple),
    blocks=blocks,
    body_starts=st.sampled_from([(), (40,)]),
)
histories = st.lists(st.lists(flushes, max_size=3).map(tuple), max_size=25)


def commit(seq: int, *inner: Flush, witness: tuple[int, bytes] = (10**9, b"")) -> Commit:
    """A commit whose witness nobody remembers, unless one is given."""
    return Commit(b"%016d" % seq, "author", 1_000 + seq, *witness, tuple(inner))


def fold(history: list[tuple[Flush, ...]], state: State | None = None) -> State:
    state = state or State()
    for inner in history:
        apply(state, state.seq + 1, commit(state.seq + 1, *inner), 64)
    return state


def append(number: int, sequence: int, count: int = 1, producer: int = 5, agent: str = "a1") -> Flush:
    operation = Append(1, producer, 0, (AppendPart(0, sequence, 0, 1),))
    return Flush(agent, number, (operation,), (BlockEntry(0, 0, 10, count, 0, 0, 7),))


def started() -> State:
    return fold([(Flush("z9", 0, (CreateTopic("t", 2),), ()),)])


def verdicts(state: State, *inner: Flush) -> list[tuple[int, Code, tuple[int, ...]]]:
    applied = apply(state, state.seq + 1, commit(state.seq + 1, *inner), 64)
    return [(number, v[0].code, v[0].values) for _, number, v in applied.verdicts]


@given(histories)
def test_two_folds_of_one_history_agree(history: list[tuple[Flush, ...]]) -> None:
    assert image_of(fold(history), "log") == image_of(fold(history), "log")


@given(histories, st.integers(0, 25))
def test_a_snapshot_in_between_makes_no_difference(history: list[tuple[Flush, ...]], cut: int) -> None:
    straight = fold(history)
    stored = b"".join(map(bytes, pack_snapshot(image_of(fold(history[:cut]), "log"))))
    resumed = fold(history[cut:], restore(unpack_snapshot(stored, "snap")))
    assert image_of(resumed, "log") == image_of(straight, "log")
    assert resumed.hash == straight.hash
    assert resumed.block_count == straight.block_count


@given(histories)
def test_offsets_have_no_holes_and_blocks_are_in_order(history: list[tuple[Flush, ...]]) -> None:
    state = fold(history)
    for topic in state.topics.values():
        for partition in topic.partitions.values():
            bases = list(partition.base_offsets)
            assert bases == sorted(set(bases))
            assert bases[0] == 0
            assert list(partition.timestamps) == sorted(partition.timestamps)
            found = [state.block_ref(partition, i) for i in range(len(bases))]
            assert [ref.next_offset for ref in found[:-1]] == bases[1:]
            assert found[-1].next_offset == partition.high_watermark


def test_a_flush_counts_once_and_in_its_turn() -> None:
    state = started()
    assert verdicts(state, append(1, 1)) == []  # overtook its predecessor
    assert verdicts(state, append(0, 0)) == [(0, Code.ACCEPTED, (0,))]
    assert verdicts(state, append(0, 0), append(1, 1)) == [(1, Code.ACCEPTED, (1,))]
    assert verdicts(state, append(1, 1)) == []


def test_the_last_batches_of_a_producer_are_remembered() -> None:
    state = started()
    for number in range(7):
        verdicts(state, append(number, 2 * number, count=2))
    assert verdicts(state, append(7, 12, count=2)) == [(7, Code.DUPLICATE, (12,))]
    assert verdicts(state, append(8, 4, count=2)) == [(8, Code.DUPLICATE, (4,))]
    assert verdicts(state, append(9, 0, count=2)) == [(9, Code.DUPLICATE, (-1,))]  # long ago
    assert verdicts(state, append(10, 99)) == [(10, Code.OUT_OF_SEQUENCE, ())]
    assert state.topics[1].partitions[0].high_watermark == 14


def test_nothing_of_a_sealed_lane_counts() -> None:
    state = started()
    verdicts(state, append(0, 0))
    apply(state, state.seq + 1, commit(state.seq + 1, Flush("z9", 1, (SealLane("a1"),), ())), 64)
    assert verdicts(state, append(1, 1)) == []
    assert verdicts(state, append(0, 1, agent="new")) == [(0, Code.ACCEPTED, (1,))]


def test_a_commit_on_another_state_has_no_effect() -> None:
    state = started()
    wrong = commit(state.seq + 1, append(0, 0), witness=(state.seq, bytes(16)))
    applied = apply(state, state.seq + 1, wrong, 64)
    assert applied.diverged
    assert applied.verdicts == ()
    right = commit(state.seq + 1, append(0, 0), witness=(state.seq, state.hash))
    assert not apply(state, state.seq + 1, right, 64).diverged


def test_an_operation_that_is_refused_changes_nothing() -> None:
    state = started()
    parts = (AppendPart(0, 0, 0, 1), AppendPart(9, 0, 0, 1))
    both: Operation = Append(1, 5, 0, parts)
    flush = Flush("a1", 0, (both,), (BlockEntry(0, 0, 10, 1, 0, 0, 7),))
    assert verdicts(state, flush) == [(0, Code.UNKNOWN_PARTITION, ())]
    assert state.topics[1].partitions == {}
    assert state.producers == {}
