from __future__ import annotations

import signal
import subprocess
import sys
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

    def press() -> None:
        while not gate._waiters:
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGINT)  # perhaps just before the wait begins

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        gate.wait()
    presser.join()
    gate.open()
    assert gate.wait(0)


_POLARS = """
import signal, threading, time
import polars
from streamhouse.write.gate import Gate

gate = Gate()

def press():
    while not gate._waiters:
        time.sleep(0.001)
    time.sleep(0.2)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

threading.Thread(target=press).start()
try:
    gate.wait()
except KeyboardInterrupt:
    print("ended")
"""


def test_ctrl_c_ends_a_wait_where_polars_is_imported() -> None:
    """It lets the kernel go on with what a signal has interrupted."""
    run = subprocess.run(
        [sys.executable, "-c", _POLARS], capture_output=True, text=True, timeout=50, check=True
    )
    assert run.stdout == "ended\n"
