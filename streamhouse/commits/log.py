"""The commit engine on a thread of its own: the face that the rest of the package sees."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from streamhouse.commits.collector import CollectReport
from streamhouse.commits.committer import CommitterOptions
from streamhouse.commits.engine import Engine, EngineOptions
from streamhouse.commits.history import History
from streamhouse.commits.io import StoreIO
from streamhouse.commits.proposal import AppendListener, Block, PartBlocks, Proposal, append_operation
from streamhouse.commits.segments import Uploaders
from streamhouse.commits.state import State
from streamhouse.commits.tail import Listener
from streamhouse.commits.verdicts import Verdict
from streamhouse.config import Settings
from streamhouse.errors import LOG_CLOSED, ClosedError, ForkedError, InvalidInputError, StreamhouseError
from streamhouse.format import names
from streamhouse.format.commit import Commit, decode_commit
from streamhouse.format.operations import Append, Operation
from streamhouse.format.readback import read_back
from streamhouse.runtime import Runtime, process_id
from streamhouse.store.base import ObjectStore

T = TypeVar("T")

_log: Final = logging.getLogger("streamhouse")

_LINGER_LOCAL_SECONDS = 0.005
_LINGER_REMOTE_SECONDS = 0.25
_POLL_LOCAL_SECONDS = (0.002, 0.05)
_POLL_REMOTE_SECONDS = (0.05, 1.0)
_PIPELINE_REMOTE = 4


class CommitLog:
    """The ordered log of everything that changes: proposals in, verdicts out.

    All methods may be called from any thread.
    """

    def __init__(self, store: ObjectStore, settings: Settings, runtime: Runtime, log_id: str) -> None:
        self._store = store
        self._settings = settings
        self._runtime = runtime
        self._log_id = log_id
        self._remote = store.capabilities.remote
        self._executor = (
            ThreadPoolExecutor(settings.request_concurrency, "streamhouse-commit-io")
            if self._remote
            else None
        )
        self.on_append: AppendListener | None = None
        self.uploaders = Uploaders(store, runtime)
        self._closed = False
        self._process = process_id()
        self._loop = asyncio.new_event_loop()
        self._inbox: list[Proposal] = []
        self._inbox_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run_loop, name="streamhouse-commits", daemon=True)
        self._thread.start()
        try:
            self._engine = self._call(self._start())
        except BaseException:
            self._stop()
            raise

    # --- writing -----------------------------------------------------------------------------------

    def append(
        self,
        topic_id: int,
        producer_id: int,
        epoch: int,
        parts: Sequence[PartBlocks],
        answered: Callable[[Future[list[int]]], object] | None = None,
    ) -> Future[list[int]]:
        """Propose records for partitions of one topic, all of them or none. Does not block.

        Args:
            topic_id: The topic.
            producer_id: Identity for the sequence check, or -1 for none.
            epoch: Incarnation of that producer; lower ones are fenced.
            parts: Per partition, each at most once.
            answered: Called with the future when it is done, on the commit thread. Added afterwards by a
                thread that Ctrl-C can reach, it might leave the future locked, and the commit thread
                waiting for it for ever.

        Returns:
            A future of the base offset per part. It raises TopicNotFoundError, PartitionNotFoundError,
            SequenceError or ProducerFencedError when the fold refused the records, StoreError when the store
            did, DeliveryTimeoutError when the outcome is unknown.
        """
        operation, blocks = append_operation(topic_id, producer_id, epoch, parts)
        return self._propose(operation, blocks, self.on_append, answered)

    def submit(
        self,
        operation: Operation,
        blocks: Sequence[Block] = (),
        answered: Callable[[Future[Any]], object] | None = None,
    ) -> Future[Any]:
        """Propose any operation. Does not block; :meth:`urge` when somebody waits.

        Args:
            operation: What to do.
            blocks: Those it refers to.
            answered: As for :meth:`append`.

        Returns:
            A future of the base offsets of all parts, for a transaction, or of the verdict. It raises what
            :meth:`append` says, TransactionError and StaleMemberError for a transaction.

        Raises:
            InvalidInputError: Something in it cannot be stored. Nothing was proposed; as for the others here.
        """
        return self._propose(operation, blocks, self.on_append, answered)

    def prepare(
        self,
        operation: Operation,
        blocks: Sequence[Block],
        answered: Callable[[Future[Any]], object],
    ) -> Proposal:
        """Make a proposal to be handed in with :meth:`enter`.

        Args:
            operation: What to propose.
            blocks: What it refers to.
            answered: As for :meth:`append`.
        """
        return self._proposal(operation, blocks, self.on_append, answered)

    def enter(self, proposal: Proposal) -> None:
        """Propose what was prepared. Does not block; to be repeated when Ctrl-C cut it short."""
        self._check_process()
        with self._inbox_lock:
            # Called first, for Ctrl-C may come in between: a proposal in the inbox that nobody was called
            # for would block all later ones. The lock keeps the caller out until it is in.
            if not self._inbox:
                self._send(self._drain_inbox)
            self._inbox.append(proposal)

    def propose(self, operation: Operation, blocks: Sequence[Block] = ()) -> Verdict:
        """Propose an operation other than an append or a transaction, and wait for the verdict."""
        self.check_may_wait()
        future: Future[Verdict] = self._propose(operation, blocks)
        self.urge()
        return _wait(future)

    def urge(self) -> None:
        """Somebody waits: commit what is pending without lingering."""
        self._send(self._engine.committer.urge)

    def default_linger(self) -> float:
        """Seconds that records wait for company, as set or as fits the store."""
        if self._settings.linger_seconds is not None:
            return self._settings.linger_seconds
        if not self._remote:
            return _LINGER_LOCAL_SECONDS
        # A bucket bills per request: the more agents share it, the longer each gathers.
        others = len(self._engine.committer.contention.live(""))
        return min(1.0, _LINGER_REMOTE_SECONDS * max(1, others - 1))

    @property
    def urged_by_waiters(self) -> bool:
        """Whether somebody waiting for one delivery should cut the linger short."""
        return not self._remote or self._settings.linger_seconds == 0

    # --- reading -----------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What the log amounts to; hold :attr:`lock` while looking into it."""
        return self._engine.state

    @property
    def lock(self) -> threading.Lock:
        """Held while the state changes."""
        return self._engine.tail.lock

    @property
    def log_id(self) -> str:
        """The random name of this log."""
        return self._log_id

    @property
    def failure(self) -> Exception | None:
        """Why this process can go on no more, if so."""
        return self._engine.failure

    def refresh(self) -> None:
        """Read the log up to its present end; nothing where that cannot be waited for."""
        if self.may_wait:
            self._call(self._engine.refresh())

    @property
    def may_wait(self) -> bool:
        """Whether this thread may wait for the log: all but its own, which runs callbacks of deliveries."""
        return threading.current_thread() is not self._thread

    def check_may_wait(self) -> None:
        """Refuse to wait on the thread that would bring the answer: it would be for ever.

        Raises:
            InvalidInputError: This is that thread.
        """
        if not self.may_wait:
            raise InvalidInputError(
                "this would wait for the log, and runs on the thread that commits, as callbacks of deliveries"
                " do; hand it to another thread"
            )

    @property
    def recent_commits(self) -> tuple[tuple[int, Commit], ...]:
        """The last commits that this process has read, by number."""
        return tuple(
            (seq, decode_commit(rolled.index, names.commit(seq)))
            for seq, rolled in self._engine.tail.recent.copy().items()
        )

    def state_at(self, when: int | dt.datetime) -> State:
        """The state as of an earlier commit or time, for the caller alone.

        Raises:
            InvalidPositionError: There is no such commit yet, or the time has no zone.
            HistoryGoneError: It cannot be had any more.
        """
        self.refresh()
        io = StoreIO(self._store, self._runtime, None)
        history = History(io, self._runtime, self._log_id, self.state.seq)

        async def find() -> State:
            seq = await history.seq_at(when) if isinstance(when, dt.datetime) else when
            return await history.state_at(seq)

        # On a thread of its own: the caller's may run an event loop, and ours has commits to write.
        with ThreadPoolExecutor(1, "streamhouse-history") as thread:
            return thread.submit(asyncio.run, find()).result()

    def listen(self, listener: Listener) -> None:
        """Be called, on the commit thread, after each commit that was folded."""
        self._engine.tail.listeners.append(listener)

    def follow(self, change: int) -> None:
        """Count (+1) or discount (-1) a reader who wants to hear of other processes' commits."""
        if change > 0 or not self._closed:
            self._send(self._engine.follow, change)

    # --- upkeep ------------------------------------------------------------------------------------

    def save_snapshot(self) -> None:
        """Save the state now."""
        self._call(self._engine.save_snapshot())

    def collect(self) -> CollectReport:
        """Remove what nothing refers to any more."""
        return self._call(self._engine.collect())

    def close(self, timeout_seconds: float) -> bool:
        """Write what is pending and stop; whether all of it was written. Closing twice is fine."""
        if self._closed:
            return True
        self.check_may_wait()
        self._closed = True
        try:
            self._drain_inbox()
            return self._call(self._engine.close(timeout_seconds), closing=True)
        finally:
            self._stop()

    # --- the thread --------------------------------------------------------------------------------

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _start(self) -> Engine:
        io = StoreIO(self._store, self._runtime, self._executor)
        engine = Engine(io, self._runtime, self._log_id, self._options())
        await engine.open()
        return engine

    def _options(self) -> EngineOptions:
        s = self._settings
        poll = _POLL_REMOTE_SECONDS if self._remote else _POLL_LOCAL_SECONDS
        linger = s.linger_seconds
        if linger is None:
            linger = _LINGER_REMOTE_SECONDS if self._remote else 0.0
        return EngineOptions(
            committer=CommitterOptions(
                linger_seconds=linger if self._remote else 0.0,
                inline_bytes_max=s.inline_bytes_max,
                pipeline_depth=(s.pipeline_depth or _PIPELINE_REMOTE) if self._remote else 1,
                delivery_timeout_seconds=s.delivery_timeout_seconds,
                lanes=self._remote,
            ),
            poll_seconds_min=s.poll_seconds_min or min(poll[0], s.poll_seconds_max or poll[0]),
            poll_seconds_max=s.poll_seconds_max or max(poll[1], s.poll_seconds_min or poll[1]),
            snapshot_commits=s.snapshot_commits,
        )

    def _propose(
        self,
        operation: Operation,
        blocks: Sequence[Block],
        on_append: AppendListener | None = None,
        answered: Callable[[Future[Any]], object] | None = None,
    ) -> Future[Any]:
        proposal = self._proposal(operation, blocks, on_append, answered)
        self.enter(proposal)
        return proposal.future

    def _proposal(
        self,
        operation: Operation,
        blocks: Sequence[Block],
        on_append: AppendListener | None,
        answered: Callable[[Future[Any]], object] | None,
    ) -> Proposal:
        if not isinstance(operation, Append):  # those are ours, of plain numbers, and many
            operation = read_back(operation)
        deadline = self._runtime.monotonic() + self._settings.delivery_timeout_seconds
        proposal = Proposal(operation, blocks, deadline, on_append)
        if answered is not None:
            proposal.future.add_done_callback(partial(_tell, answered))
        return proposal

    def _drain_inbox(self) -> None:
        with self._inbox_lock:
            proposals, self._inbox = self._inbox, []
        for proposal in proposals:
            if not proposal.entered:
                proposal.entered = True
                self._engine.submit(proposal)

    def _send(self, function: Any, *args: Any) -> None:
        self._check_process()
        if self._closed:
            raise ClosedError(LOG_CLOSED)
        self._loop.call_soon_threadsafe(function, *args)

    def _call(self, work: Coroutine[Any, Any, T], *, closing: bool = False) -> T:
        if self._closed and not closing:
            work.close()
            raise ClosedError(LOG_CLOSED)
        try:
            self._check_process()
            self.check_may_wait()
        except StreamhouseError:
            work.close()
            raise
        return _wait(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _check_process(self) -> None:
        """Refuse in a forked child, where nobody would ever answer: the thread is in the parent."""
        if self._process != process_id():
            raise ForkedError("this belongs to a log that was opened before fork; open the log again here")

    def _stop(self) -> None:
        self._closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)


def _tell(answered: Callable[[Future[Any]], object], future: Future[Any]) -> None:
    """Let somebody know; whatever comes of it, the commit thread goes on."""
    try:
        answered(future)
    except BaseException:  # noqa: BLE001 - users' callbacks run in there, and some raise SystemExit
        _log.exception("a callback failed")


def _wait(future: Future[T]) -> T:
    """The result; in slices, so that Ctrl-C gets through on every platform."""
    while True:
        try:
            return future.result(timeout=0.1)
        except TimeoutError:
            if future.done():
                return future.result()
