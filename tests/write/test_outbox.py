"""What goes wrong, with a commit log that fails or keeps silent as the test wants."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from streamhouse.catalog.catalog import TopicInfo
from streamhouse.errors import (
    BufferFullError,
    ClosedError,
    DeliveryError,
    DeliveryTimeoutError,
    PartitionNotFoundError,
    SequenceError,
    StoreFullError,
    StoreUnavailableError,
    TopicNotFoundError,
)
from streamhouse.producer import BatchDelivery, Delivery
from streamhouse.testing.clock import ManualRuntime
from streamhouse.write import encoder as encoder_module
from streamhouse.write.outbox import Outbox
from streamhouse.write.sequencer import Sequencer
from tests.write.fakes import rig


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# --- when records go out -----------------------------------------------------------------------------


def test_records_go_out_after_the_linger_time() -> None:
    runtime = ManualRuntime()
    with rig(linger=5.0, runtime=runtime) as r:
        delivery = r.producer.send("one", b"a")
        runtime.advance(4.9)
        r.producer.send("one", b"b")
        time.sleep(0.05)
        assert r.commits.appends == []
        runtime.advance(0.2)
        eventually(delivery.done)
        assert r.one == [b"a", b"b"]
        assert len(r.commits.appends) == 1


def test_a_busy_sender_seals_its_own_batch() -> None:
    runtime = ManualRuntime()
    with rig(linger=5.0, runtime=runtime) as r:
        r.producer.send("one", b"a")
        runtime.advance(4.9995)  # the batcher would wait on
        r.producer.send("one", b"x" * 200_000)  # needs memory, and looks at the clock then
        assert len(r.commits.appends) == 1


def test_a_full_batch_goes_out_at_once() -> None:
    with rig(linger=60.0, block_bytes_target=10_000) as r:
        for i in range(250):
            r.producer.send("one", b"%0100d" % i)
        eventually(lambda: len(r.one) >= 200)
        assert len(r.one) < 250
        r.producer.flush()
        assert [int(value or b"") for value in r.one] == list(range(250))
        for _, _, parts in r.commits.appends:
            assert sum(block.raw_bytes for part in parts for block in part.blocks) <= 14_300


def test_whoever_waits_ends_the_linger_on_a_local_log() -> None:
    with rig(linger=60.0) as r:
        assert r.producer.send("one", b"a").result(timeout=10).offset == 0
        assert r.producer.send("one", b"b").exception(timeout=10) is None
        assert asyncio.run(asyncio.wait_for(_awaited(r.producer.send("one", b"c")), 10)) == 2


async def _awaited(delivery: object) -> int:
    return (await delivery).offset  # type: ignore[misc,no-any-return]


def test_whoever_waits_on_a_remote_log_waits() -> None:
    with rig(linger=0.2, remote=True) as r:
        first = r.producer.send("one", b"a")
        with pytest.raises(DeliveryTimeoutError, match=r"not confirmed after 0.01 s; .* ask again"):
            first.result(timeout=0.01)
        r.producer.send("one", b"b")
        assert first.result(timeout=10).offset == 0
        assert len(r.commits.appends) == 1  # both together


def test_flush_and_close_do_not_linger_anywhere() -> None:
    with rig(linger=60.0, remote=True) as r:
        r.producer.send("one", b"a")
        r.producer.flush(timeout=10)
        assert r.commits.urged
        r.producer.send("one", b"x" * 300_000)  # through the pool
        r.producer.close(timeout=10)
        assert len(r.one) == 2


def test_without_linger_records_still_share_batches_while_nobody_looks() -> None:
    with rig(linger=0.0) as r:
        for i in range(5000):
            r.producer.send("one", b"%d" % i)
        r.producer.flush()
        assert [int(value or b"") for value in r.one] == list(range(5000))
        assert len(r.commits.appends) < 2500


def test_null_records_are_bounded_too() -> None:
    with rig(linger=60.0, buffer_bytes_max=65536) as r:
        r.commits.hold = True
        for _ in range(65536 // 64):
            r.producer.send("one", b"", timeout=0)
        with pytest.raises(BufferFullError):
            r.producer.send("one", b"", timeout=0)
        with pytest.raises(BufferFullError):
            r.producer.send("one", None, timeout=0)


def test_the_batcher_survives_what_should_not_happen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with rig(linger=0.0) as r:
        right = Outbox.seal
        broken = [True]

        def seal(self: Outbox, batch: object, *, here: bool = False) -> None:
            if broken:
                broken.pop()
                raise ZeroDivisionError
            right(self, batch, here=here)  # type: ignore[arg-type]

        monkeypatch.setattr(Outbox, "seal", seal)
        r.producer.send("one", b"a")
        eventually(lambda: not broken)
        r.producer.send("three", b"b")
        eventually(lambda: bool(r.commits.appends))
        assert "the batcher failed" in caplog.text


# --- order ---------------------------------------------------------------------------------------------


def test_a_small_batch_waits_for_a_large_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    right = encoder_module.Pool.compress

    def slow(self: encoder_module.Pool, raw: bytes) -> object:
        job = right(self, raw)
        assert job is not None
        job.result()
        job._done.opened = False
        threading.Thread(target=lambda: (go.wait(), job._done.open())).start()
        return job

    monkeypatch.setattr(encoder_module.Pool, "compress", slow)
    with rig(linger=0.001) as r:
        r.producer.send("one", b"x" * 300_000)
        eventually(lambda: not r.producer._outbox.open)
        small = r.producer.send("one", b"small")
        with pytest.raises(DeliveryTimeoutError):
            small.result(timeout=0.05)
        assert r.commits.appends == []
        go.set()
        assert small.result(timeout=10).offset == 1


def test_sequences_count_per_topic_and_partition() -> None:
    with rig() as r:
        for _ in range(3):
            r.producer.send("three", b"a", partition=0)
            r.producer.send("three", b"b", partition=2)
            r.producer.send("one", b"c")
            r.producer.flush()
            r.producer.send_many("three", [b"d"] * 10, partition=2).result()
        numbered = [
            (topic, part.partition, part.sequence) for topic, _, parts in r.commits.appends for part in parts
        ]
        assert [n for n in numbered if n[:2] == (2, 2)] == [
            (2, 2, sequence) for sequence in (0, 1, 11, 12, 22, 23)
        ]
        assert [n for n in numbered if n[:2] == (1, 0)] == [(1, 0, s) for s in (0, 1, 2)]
        (identity,) = {producer for _, producer, _ in r.commits.appends}
        assert 0 <= identity < 1 << 62


def test_producers_have_identities_of_their_own() -> None:
    with rig() as r, r.another() as other:
        r.producer.send("one", b"").result()
        other.send("one", b"").result()
        assert len({producer for _, producer, _ in r.commits.appends}) == 2


# --- failures ------------------------------------------------------------------------------------------


def test_a_failed_append_fails_all_its_records_and_the_next_has_a_fresh_identity() -> None:
    with rig(linger=60.0) as r:
        r.producer.send("one", b"a").result()
        r.commits.failures.append(StoreFullError("no space left"))
        lost = [r.producer.send("one", b"b") for _ in range(3)]
        for delivery in lost:
            with pytest.raises(StoreFullError, match="no space left"):
                delivery.result()
            assert isinstance(delivery.exception(), StoreFullError)
            assert repr(delivery) == "<Delivery to 'one', failed: StoreFullError>"
        assert r.producer.send("one", b"c").result().offset == 1
        first, second, third = [producer for _, producer, _ in r.commits.appends]
        assert first == second != third
        assert r.commits.appends[2][2][0].sequence == 0
        assert r.one == [b"a", b"c"]


def test_what_was_under_way_behind_a_failure_is_refused() -> None:
    with rig(linger=60.0) as r:
        r.commits.hold = True
        deliveries = []
        for value in (b"a", b"b", b"c"):
            deliveries.append(r.producer.send("one", value))
            r.producer._outbox.seal_all()
        many = r.producer.send_many("one", [b"d"])
        r.commits.failures += [StoreUnavailableError("gone")]
        r.commits.release()
        assert isinstance(deliveries[0].exception(), StoreUnavailableError)
        for delivery in (*deliveries[1:], many):
            with pytest.raises(SequenceError):
                delivery.result()
        assert r.producer.send("one", b"e").result().offset == 0
        assert r.one == [b"e"]


def test_flush_raises_the_first_error_that_nobody_saw_once() -> None:
    with rig(linger=60.0) as r:
        r.commits.failures += [StoreFullError("first"), StoreUnavailableError("second")]
        r.producer.send("one", b"a")
        r.producer._outbox.seal_all()
        r.producer.send("one", b"b")
        with pytest.raises(StoreFullError, match="first"):
            r.producer.flush()
        r.producer.flush()
        r.producer.send("one", b"c").result()


def test_flush_does_not_repeat_what_a_waiter_saw() -> None:
    with rig(linger=60.0) as r:
        for ask in (Delivery.result, Delivery.exception):
            r.commits.failures += [StoreFullError("seen")]
            with suppress(StoreFullError):
                ask(r.producer.send("one", b"a"))
            r.producer.flush()
        for ask_many in (BatchDelivery.result, BatchDelivery.exception):
            r.commits.failures += [StoreFullError("seen")]
            with suppress(StoreFullError):
                ask_many(r.producer.send_many("one", [b"a"]))
            r.producer.flush()


def test_close_raises_it_too_and_closes_all_the_same() -> None:
    with rig(linger=60.0) as r:
        other = r.another()
        r.commits.failures.append(StoreFullError("unseen"))
        other.send("one", b"a")
        with pytest.raises(StoreFullError, match="unseen"):
            other.close()
        with pytest.raises(ClosedError):
            other.send("one", b"a")


def test_an_error_that_is_raised_often_does_not_grow() -> None:
    with rig(linger=60.0) as r:
        r.commits.failures.append(StoreFullError("x"))
        delivery = r.producer.send("one", b"a")
        lengths = set()
        for _ in range(5):
            with pytest.raises(StoreFullError) as caught:
                delivery.result()
            lengths.add(len(caught.traceback))
        assert len(lengths) == 1


def test_awaiting_a_failure_raises() -> None:
    with rig(linger=60.0) as r:
        r.commits.failures += [StoreFullError("x"), StoreFullError("y")]
        with pytest.raises(StoreFullError, match="x"):
            asyncio.run(_awaited(r.producer.send("one", b"a")))
        with pytest.raises(StoreFullError, match="y"):
            asyncio.run(_awaited(r.producer.send_many("one", [b"a"])))


def test_flush_that_takes_too_long() -> None:
    with rig(linger=60.0) as r:
        r.commits.hold = True
        r.producer.send("one", b"a")
        with pytest.raises(DeliveryTimeoutError, match=r"1 batches are not confirmed after 0.02 s"):
            r.producer.flush(timeout=0.02)
        with pytest.raises(TimeoutError):
            r.producer.flush(timeout=0)
        r.commits.release()
        r.producer.flush(timeout=10)


def test_out_of_memory_while_encoding_fails_the_batch_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with rig(linger=60.0) as r:
        right = encoder_module.columns_from_lists
        monkeypatch.setattr(encoder_module, "columns_from_lists", _out_of_memory)
        lost = r.producer.send("one", b"a")
        with pytest.raises(MemoryError):
            lost.result(timeout=10)
        with pytest.raises(MemoryError):
            r.producer.send_many("one", [b"a"])
        monkeypatch.setattr(encoder_module, "columns_from_lists", right)
        monkeypatch.setattr(encoder_module, "encode_block", _out_of_memory)
        lost = r.producer.send("one", b"a")
        with pytest.raises(MemoryError):
            lost.result(timeout=10)
        monkeypatch.undo()
        assert r.producer.send("one", b"b").result(timeout=10).offset == 0


def _out_of_memory(*_: object) -> None:
    raise MemoryError


def test_a_closed_commit_log_fails_what_is_sent_to_it() -> None:
    with rig(linger=60.0) as r:

        def closed(*_: object) -> None:
            raise ClosedError("the log is closed")

        r.commits.append = closed  # type: ignore[method-assign,assignment]
        delivery = r.producer.send("one", b"a")
        with pytest.raises(ClosedError, match="the log is closed"):
            delivery.result(timeout=10)


@pytest.mark.parametrize("error", [TopicNotFoundError("deleted"), PartitionNotFoundError("fewer")])
def test_a_topic_that_changed_is_looked_up_again(error: Exception) -> None:
    with rig(linger=60.0) as r:
        r.producer.send("one", b"a").result()
        r.catalog.infos["one"] = TopicInfo(id=9, name="one", partitions=1, created_ms=0)
        r.commits.failures.append(error)
        with pytest.raises(type(error)):
            r.producer.send("one", b"b").result()
        r.producer.send("one", b"c").result()
        assert r.commits.stored[9, 0] == [b"c"]


def test_an_unknown_topic_is_looked_for_once() -> None:
    with rig() as r:
        with pytest.raises(TopicNotFoundError):
            r.producer.send("new", b"a")
        assert r.catalog.refreshed == 1
        r.catalog.appearing["new"] = TopicInfo(id=7, name="new", partitions=2, created_ms=0)
        r.producer.send("new", b"a", partition=1).result()
        r.producer.send("new", b"a", partition=1).result()
        assert r.catalog.refreshed == 2


# --- memory --------------------------------------------------------------------------------------------


def test_a_full_buffer_blocks_until_there_is_room() -> None:
    with rig(buffer_bytes_max=65536) as r:
        r.commits.hold = True
        value = b"x" * 20_000
        for _ in range(3):
            r.producer.send("one", value)
        with pytest.raises(BufferFullError, match=r"of buffer_bytes_max=65,536: wait longer, send later"):
            r.producer.send("one", value, timeout=0)
        with pytest.raises(BufferError):
            r.producer.send("one", value, timeout=0.02)
        with pytest.raises(BufferFullError):
            r.producer.send_many("one", [value], timeout=0.02)
        threading.Timer(0.05, r.commits.release).start()
        r.producer.send("one", value).result(timeout=10)
        assert len(r.one) == 4


def test_waiting_for_room_sends_what_is_open() -> None:
    with rig(linger=60.0, buffer_bytes_max=65536) as r:
        for i in range(20):  # would wait for the linger time otherwise
            r.producer.send("one", b"%05d" % i + b"x" * 20_000, timeout=10)
        r.producer.flush()
        assert [int((value or b"")[:5]) for value in r.one] == list(range(20))


def test_a_record_larger_than_the_buffer_goes_alone() -> None:
    with rig(linger=60.0, buffer_bytes_max=65536) as r:
        r.producer.send("one", b"small")
        r.producer.send("one", b"x" * 1_000_000)
        r.producer.send_many("one", [b"x" * 1000] * 1000)
        r.producer.send("one", b"small")
        r.producer.flush()
        assert len(r.one) == 1003


def test_topics_do_not_hoard_memory() -> None:
    with rig(linger=60.0, buffer_bytes_max=1 << 20) as r:
        for i in range(100):
            r.catalog.infos[f"t{i}"] = TopicInfo(id=100 + i, name=f"t{i}", partitions=1, created_ms=0)
        r.commits.hold = True
        for i in range(100):
            r.producer.send(f"t{i}", b"small", timeout=0)


def test_closing_frees_a_blocked_sender() -> None:
    with rig(linger=60.0, buffer_bytes_max=65536) as r:
        other = r.another()
        r.commits.hold = True
        other.send("one", b"x" * 65_000)
        caught: list[BaseException] = []

        def work() -> None:
            try:
                other.send("one", b"x" * 65_000)
            except BaseException as error:  # noqa: BLE001
                caught.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        eventually(lambda: bool(r.memory._line))
        threading.Timer(0.05, r.commits.release).start()
        other.close()
        thread.join()
        assert [type(error) for error in caught] == [ClosedError]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals between threads")
def test_ctrl_c_ends_a_blocked_send_and_spoils_nothing() -> None:
    main = threading.main_thread().ident
    assert main is not None
    with rig(buffer_bytes_max=65536) as r:
        for attempt in (
            lambda: r.producer.send("one", b"x" * 30_000),
            lambda: r.producer.send_many("one", [b"x" * 30_000]),
        ):
            r.commits.hold = True
            before = len(r.one)
            r.producer.send("one", b"x" * 60_000)
            timer = threading.Timer(0.1, lambda: signal.pthread_kill(main, signal.SIGINT))
            timer.start()
            started = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                attempt()
            assert time.monotonic() - started < 5
            timer.join()
            r.commits.release()
            r.producer.flush()
            assert len(r.one) == before + 1
            assert r.memory.used == 0


def test_memory_is_given_back_once_when_ctrl_c_comes_after_the_append(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(_sequencer: Sequencer, _shipment: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with rig(linger=60.0) as r:
        r.commits.hold = True
        monkeypatch.setattr(Sequencer, "_release", interrupted)
        with pytest.raises(KeyboardInterrupt):
            r.producer.send_many("one", [b"a"] * 10)
        assert r.memory.used > 0
        r.commits.release()
        r.producer.flush()
        assert r.memory.used == 0
        assert len(r.one) == 10


def test_closing_the_batcher_sends_what_forgotten_producers_left() -> None:
    with rig(linger=60.0) as r:
        other = r.another()
        small = other.send("one", b"a")
        large = other.send("three", b"x" * 300_000)
        with pytest.warns(ResourceWarning):
            del other
        r.batcher.close()
        assert small.done()
        assert large.done()
        assert len(r.one) == 1


def test_delivery_errors_are_what_the_docs_say() -> None:
    assert issubclass(SequenceError, DeliveryError)
    assert issubclass(DeliveryTimeoutError, TimeoutError)
