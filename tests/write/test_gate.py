from __future__ import annotations

import signal
import threading
import time

import pytest

from streamhouse.write.gate import Gate


def test_waiting_ends_when_it_opens() -> None:
    gate = Gate()
    assert not gate.wait(0)
    assert not gate.wait(0.01)
    passed: list[bool] = []
    threads = [threading.Thread(target=lambda: passed.append(gate.wait())) for _ in range(5)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(gate._waiters) < 5:
        assert time.monotonic() < deadline
    gate.open()
    for thread in threads:
        thread.join()
    assert passed == [True] * 5
    assert gate.opened
    assert gate.wait(0)
    gate.open()


def test_those_who_gave_up_are_forgotten() -> None:
    gate = Gate()
    for _ in range(100):
        gate.wait(-1)
    assert gate._waiters == []


def test_ctrl_c_ends_a_wait_and_leaves_no_lock_behind() -> None:
    gate = Gate()
    main = threading.main_thread().ident
    assert main is not None
    over = threading.Event()

    def press() -> None:
        while not gate._waiters:
            time.sleep(0.001)
        for delay in (0.05, 10):  # Python loses a signal that comes just before a wait begins
            if not over.wait(delay):
                signal.pthread_kill(main, signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        gate.wait()
    over.set()
    presser.join()
    gate.open()
    assert gate.wait(0)
