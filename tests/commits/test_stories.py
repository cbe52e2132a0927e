"""Accidents that the simulator found, told again so that they do not come back."""

from __future__ import annotations

import asyncio

import pytest

from streamhouse.commits.fold import Code
from streamhouse.commits.proposal import StoredBlock, entry_of
from streamhouse.errors import DeliveryTimeoutError, StateDivergedError, StoreFullError
from streamhouse.format.commit import Segment
from streamhouse.format.operations import Replace
from streamhouse.testing.simulation import guards_without
from streamhouse.testing.simulation.world import Agent
from tests.commits.stage import BLOCK, HOUR, Stage


async def agree(*agents: Agent) -> None:
    for _ in range(10):
        for agent in agents:
            await agent.ask(agent.engine.refresh)
        if len({agent.state.seq for agent in agents}) == 1:
            break  # nobody announced a snapshot in between
    assert len({agent.state.hash for agent in agents}) == 1


async def asleep_through_truncation(stage: Stage) -> tuple[Agent, Agent]:
    """One agent that slept since before the slots it would read next were deleted, and one that did not."""
    sleeper, other = await stage.agent(), await stage.agent()
    await stage.create(sleeper)
    stage.world.stop(sleeper)
    await stage.truncate(other)
    return sleeper, other


def test_a_sleeper_does_not_read_its_own_commit_in_a_deleted_slot() -> None:
    stage = Stage("remote")

    async def story() -> None:
        sleeper, other = await asleep_through_truncation(stage)
        stage.world.resume(sleeper)
        answers = [stage.create(sleeper)]
        for _ in range(20):
            answers.append(sleeper.ask(sleeper.engine.refresh))  # type: ignore[arg-type]
            await asyncio.sleep(0.01)
        await asyncio.gather(*answers)
        await agree(sleeper, other)

    stage.play(story)


def test_nor_does_one_that_was_stopped_between_the_look_at_the_boundary_and_the_reading() -> None:
    stage = Stage("remote")

    async def story() -> None:
        sleeper, other = await stage.agent(), await stage.agent()
        await stage.create(sleeper)
        reading = sleeper.ask(sleeper.engine.refresh)
        await asyncio.sleep(0.0001)  # the request is under way
        stage.world.stop(sleeper)
        await stage.truncate(other)
        zombie = stage.world.bucket.objects[f"log/{other.state.seq:020d}"]
        stage.world.bucket.put_if_absent(f"log/{sleeper.state.seq + 1:020d}", zombie)
        stage.world.resume(sleeper)
        await reading
        await agree(sleeper, other)

    stage.play(story)


def test_reading_on_and_starting_anew_do_not_get_in_each_others_way() -> None:
    stage = Stage("pipelined")

    async def story() -> None:
        sleeper, other = await asleep_through_truncation(stage)
        stage.world.resume(sleeper)
        answers = []
        for _ in range(12):
            answers += [stage.create(sleeper), sleeper.ask(sleeper.engine.refresh)]
            await asyncio.sleep(0.015)
        await asyncio.gather(*answers)
        assert sleeper.engine.failure is None
        await agree(sleeper, other)

    stage.play(story)


def test_what_was_under_way_when_the_log_was_truncated_is_written_after_all() -> None:
    stage = Stage("remote")

    async def story() -> None:
        sleeper, other = await asleep_through_truncation(stage)
        stage.world.resume(sleeper)
        first = stage.create(sleeper)
        await asyncio.sleep(0.15)
        second = stage.create(sleeper)  # gathered while the state is being replaced
        verdicts = await asyncio.gather(first, second)
        assert [verdict.values for verdict in verdicts] == [
            (id_,) for id_ in sorted(other.state.topics.keys() | sleeper.state.topics.keys())[-2:]
        ]
        await agree(sleeper, other)

    stage.play(story)


def test_a_request_during_which_the_machine_slept_does_not_count_as_slow() -> None:
    stage = Stage("remote")

    async def story() -> None:
        agent = await stage.agent()
        answer = stage.create(agent)
        await asyncio.sleep(0.02)
        stage.world.stop(agent)
        stage.world.jump(10 * HOUR)
        stage.world.resume(agent)
        with pytest.raises(DeliveryTimeoutError):
            await answer
        await stage.create(agent)
        assert agent.engine._io.put_seconds < 1.0

    stage.play(story)


def test_an_unanswered_snapshot_does_not_end_the_agent() -> None:
    stage = Stage("remote", delivery_timeout_seconds=2.0)

    def announcements_fail(_process: object, kind: str, name: str) -> str | None:
        saved = any(each.startswith("snap/") for each in stage.world.bucket.objects)
        return "unavailable" if saved and kind.startswith("put") and not name.startswith("snap/") else None

    async def story() -> None:
        agent = await stage.agent()
        stage.world.network.script = announcements_fail
        for _ in range(4):
            await stage.create(agent)
        await asyncio.sleep(10.0)
        assert any(each.startswith("snap/") for each in stage.world.bucket.objects)
        stage.world.network.script = lambda *_: None
        await asyncio.sleep(20.0)
        assert agent.engine.failure is None
        await stage.create(agent)

    stage.play(story)


def test_a_refusal_is_certain_where_nobody_can_have_seen_the_records() -> None:
    stage = Stage("local", inline_bytes_max=1 << 20)

    async def story() -> None:
        agent = await stage.agent()
        stage.world.network.script = lambda _p, kind, _n: "refused" if kind == "put_if_absent" else None
        with pytest.raises(StoreFullError):
            await stage.create(agent)

    stage.play(story)


def test_a_refusal_is_in_doubt_where_the_records_lie_in_the_lane() -> None:
    stage = Stage("remote")

    async def story() -> None:
        agent, other = await stage.agent(), await stage.agent()
        topic = (await stage.create(other)).values[0]
        await stage.append(agent, topic)

        def full_disk(process: object, kind: str, _name: str) -> str | None:
            return "refused" if process is agent and kind == "put_if_absent" else None

        stage.world.network.script = full_disk
        with pytest.raises(DeliveryTimeoutError, match=r"no space left.*unknown"):
            await stage.append(agent, topic)
        await other.ask(other.engine.refresh)
        await stage.append(other, topic)  # its cut takes what lies in the lane
        assert other.state.topics[topic].partitions[0].high_watermark == 3

    stage.play(story)


def test_a_refusal_is_in_doubt_after_an_attempt_without_an_answer() -> None:
    stage = Stage("local", inline_bytes_max=1 << 20)
    fates = iter(["late", "refused"])

    async def story() -> None:
        agent = await stage.agent()
        stage.world.network.script = lambda _p, kind, _n: next(fates) if kind == "put_if_absent" else None
        with pytest.raises(DeliveryTimeoutError, match=r"no space left.*unknown"):
            await stage.create(agent)

    stage.play(story)


def test_a_flush_that_waits_for_a_cut_gets_one_when_the_flush_before_it_has_landed_without() -> None:
    stage = Stage("pipelined", inline_bytes_max=1 << 20)

    async def story() -> None:
        agent = await stage.agent()
        fates = iter(["request_lost"] * 3)
        stage.world.network.script = lambda _p, _k, name: (
            next(fates, None) if name.startswith("log/") else None
        )
        first = stage.create(agent)
        await asyncio.sleep(0.001)
        agent.engine.committer.contention.lost()  # from here on by way of the lane
        second = stage.create(agent)
        await asyncio.wait_for(asyncio.gather(first, second), 10.0)

    stage.play(story)


def test_an_agent_whose_applied_flush_is_missing_stops() -> None:
    stage = Stage("remote", guards_without("boundary"))

    async def story() -> None:
        sleeper, _ = await asleep_through_truncation(stage)
        stage.world.resume(sleeper)
        await stage.create(sleeper)  # believes itself the author of commit 2
        stage.world.jump(2 * HOUR)
        with pytest.raises(StateDivergedError, match="is not in the log"):
            await sleeper.ask(sleeper.engine.refresh)
        stage.world.ledger.violations.clear()  # what the guard is for

    stage.play(story)


def test_collections_in_one_process_wait_for_each_other() -> None:
    stage = Stage("remote")

    async def story() -> None:
        agent = await stage.agent()
        await asyncio.gather(*[agent.ask(agent.engine.collect) for _ in range(3)])
        steps = [kind for kind, name in stage.calls(agent) if kind == "sweep" or name.startswith("clock/")]
        assert steps.count("sweep") == 3
        assert [kind for kind in steps if kind in ("put", "sweep")] == ["put", "sweep"] * 3

    stage.play(story)


@pytest.mark.parametrize("number", [0, 10**6])
def test_a_segment_in_front_neither_holds_back_the_boundary_nor_hides_the_slots_behind_it(
    number: int,
) -> None:
    # Its number was taken for that of a commit: boundaries stood still, or went past live slots.
    stage = Stage("remote", inline_bytes_max=1 << 20)

    async def story() -> None:
        agent = await stage.agent()
        topic = (await stage.create(agent)).values[0]
        await stage.append(agent, topic)
        await stage.create(agent)
        await stage.append(agent, topic)
        live = agent.state.seq
        partition = agent.state.topics[topic].partitions[0]
        stage.world.bucket.put(
            f"seg/{'ab' * 10}/{number:012d}", b"front" + b"".join(map(bytes, BLOCK.buffers))
        )
        stored = StoredBlock(Segment("ab" * 10, number, 5), entry_of(BLOCK, 0, 0))
        rewrite = Replace(topic, 0, 0, 1, partition.fingerprint(range(1)), (0,), 0)
        assert (await agent.propose(rewrite, [stored])).code is Code.ACCEPTED
        await stage.truncate(agent)
        assert f"log/{live - 1:020d}" not in stage.world.bucket.objects
        assert f"log/{live:020d}" in stage.world.bucket.objects

    stage.play(story)
