import json
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from streamhouse.runtime import SystemRuntime
from streamhouse.store.filelock import file_lock

Worker = Callable[..., "subprocess.Popen[str]"]
RUNTIME = SystemRuntime()


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    with (
        file_lock(str(tmp_path), 1.0, RUNTIME) as first,
        file_lock(str(tmp_path), 0.02, RUNTIME) as second,
    ):
        assert (first, second) == (True, False)
    with file_lock(str(tmp_path), 0.02, RUNTIME) as again:
        assert again


def test_it_is_released_after_an_error(tmp_path: Path) -> None:
    try:
        with file_lock(str(tmp_path), 1.0, RUNTIME):
            raise KeyError
    except KeyError:
        pass
    with file_lock(str(tmp_path), 0.02, RUNTIME) as again:
        assert again


def test_threads_exclude_each_other(tmp_path: Path) -> None:
    inside = most = total = 0

    def work() -> None:
        nonlocal inside, most, total
        for _ in range(50):
            with file_lock(str(tmp_path), 30.0, RUNTIME) as locked:
                assert locked
                inside += 1
                most = max(most, inside)
                total += 1
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, total) == (1, 200)


def test_there_is_none_in_a_missing_folder(tmp_path: Path) -> None:
    with file_lock(str(tmp_path / "nowhere"), 0.02, RUNTIME) as locked:
        assert not locked


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with file_lock(str(tmp_path), 1.0, RUNTIME), file_lock(str(tmp_path), 0.01, RUNTIME):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_stopped_holder_costs_only_the_time_out(tmp_path: Path, worker: Worker) -> None:
    holder = worker("hold_lock", tmp_path, "{}", 0, 0)
    assert json.loads(holder.stdout.readline()) is True
    holder.send_signal(signal.SIGSTOP)
    for _ in range(2):
        with file_lock(str(tmp_path), 0.05, RUNTIME) as locked:
            assert not locked
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with file_lock(str(tmp_path), 5.0, RUNTIME) as locked:
        assert locked


def test_no_process_starves(tmp_path: Path, worker: Worker) -> None:
    workers = [worker("take_turns", tmp_path, "{}", number, 1500) for number in range(8)]
    for process in workers:
        assert process.stdout.readline() == "ready\n"
    for process in workers:
        process.stdin.write("go\n")
        process.stdin.flush()
    turns = [json.loads(process.stdout.readline()) for process in workers]
    assert [missed for _, missed in turns] == [0] * 8
    shares = [had for had, _ in turns]
    assert min(shares) >= 0.5 * sum(shares) / 8, shares
