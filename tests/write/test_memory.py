from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

import pytest

from streamhouse.write import memory as memory_module
from streamhouse.write.gate import Gate
from streamhouse.write.memory import Loan, Memory


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_takes_up_to_the_bound() -> None:
    memory = Memory(100)
    assert memory.try_take(60)
    assert memory.try_take(40)
    assert not memory.try_take(1)
    assert not memory.take(1, timeout=0)
    memory.give(40)
    assert memory.take(1, timeout=0)
    assert memory.used == 61


def test_one_larger_than_the_bound_is_let_in_alone() -> None:
    memory = Memory(100)
    assert memory.try_take(1)
    assert not memory.take(1000, timeout=0.01)
    memory.give(1)
    assert memory.try_take(1000)
    assert not memory.try_take(1)


def test_waiters_are_served_in_order_and_nobody_overtakes() -> None:
    memory = Memory(100)
    memory.try_take(80)
    served: list[int] = []

    def taker(size: int) -> None:
        assert memory.take(size)
        served.append(size)

    threads = []
    for size in (90, 10, 20):
        thread = threading.Thread(target=taker, args=(size,))
        thread.start()
        threads.append(thread)
        eventually(lambda: len(memory._line) == len(threads))
    assert not memory.try_take(1)  # there would be room, but others came first
    memory.give(80)
    eventually(lambda: len(served) == 2)
    assert sorted(served) == [10, 90]
    memory.give(90)
    for thread in threads:
        thread.join()
    assert served[2] == 20
    assert memory.used == 30


def test_giving_up_lets_the_next_one_in() -> None:
    memory = Memory(100)
    memory.try_take(50)
    large = threading.Thread(target=lambda: memory.take(100, timeout=0.05))
    large.start()
    eventually(lambda: len(memory._line) == 1)
    assert memory.take(50, timeout=10)  # comes after the large one, which gives up
    large.join()
    assert memory.used == 100


def test_a_loan_is_found_by_whoever_asks_next() -> None:
    memory = Memory(100)
    loan = Loan(memory)
    memory.try_take(60)
    loan.size = 60
    with memory._lock:  # as it is when the collector runs at a bad moment
        loan.forsake()
    loan.forsake()
    assert memory.try_take(100)
    assert memory.used == 100


def test_a_loan_that_is_forsaken_lets_in_who_waits() -> None:
    memory = Memory(100)
    loan = Loan(memory)
    memory.try_take(60)
    loan.size = 60
    thread = threading.Thread(target=memory.take, args=(100,))
    thread.start()
    eventually(lambda: len(memory._line) == 1)
    with memory._lock:
        loan.forsake()
    thread.join()
    assert memory.used == 100


def test_ctrl_c_while_waiting_leaves_the_line() -> None:
    memory = Memory(100)
    memory.try_take(100)
    main = threading.main_thread().ident
    assert main is not None

    def press() -> None:
        eventually(lambda: bool(memory._line))
        signal.pthread_kill(main, signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        memory.take(1)
    presser.join()
    memory.give(100)
    assert memory.used == 0
    assert memory.try_take(100)


def test_ctrl_c_just_after_being_served_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Gate):
        def wait(self, timeout: float | None = None) -> bool:
            raise KeyboardInterrupt

    monkeypatch.setattr(memory_module, "Gate", Interrupted)
    memory = Memory(100)
    with pytest.raises(KeyboardInterrupt):
        memory.take(60)
    assert memory.used == 0
