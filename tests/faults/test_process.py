"""What happens to processes: fork, exit, interruption, a stop of hours, a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import streamhouse
from tests.soak import runner


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_forked_handle_refuses_and_the_parent_goes_on(tmp_path: Path) -> None:
    code = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of fork with threads; so do we
import streamhouse
from streamhouse.errors import ForkedError
log = streamhouse.Log(sys.argv[1]); log.create_topic("t"); producer = log.producer()
consumer = log.consumer("t")
producer.send("t", b"before").result()
topic = log.topics["t"]
with log.consumer("t", group="g") as member: member.poll(timeout=0)
group = log.groups["g"]
child = os.fork()
if child == 0:
    refused = 0
    uses = (lambda: producer.send("t", b"x"), consumer.poll, lambda: log.topics, lambda: log.read("t"),
        lambda: topic.partitions[0].high_watermark, lambda: group.describe(), group.delete,
        lambda: group.reset("earliest"))
    for use in uses:
        try:
            use()
        except ForkedError as error:
            refused += "again" in str(error) or "fork" in str(error)
    with streamhouse.Log(sys.argv[1]) as own, own.producer() as mine:
        mine.send("t", b"child").result()
    os._exit(refused)
_, status = os.waitpid(child, 0)
producer.send("t", b"after").result()
print(os.waitstatus_to_exitcode(status), [r.value for r in log.read("t")])
consumer.close(); producer.close(); log.close()
"""
    done = run(code, str(tmp_path / "log"))
    assert done.stdout.strip() == "8 [b'before', b'child', b'after']", done.stderr


def test_a_forked_child_goes_on_with_no_read_and_ends_quietly(tmp_path: Path) -> None:
    code = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import streamhouse
from streamhouse.errors import ForkedError
with streamhouse.Log(sys.argv[1]) as log, log.producer() as producer:
    log.create_topic("t", partitions=2)
    for partition in range(2):
        producer.send("t", str(partition), partition=partition).result()
    reads = [iter(log.read("t")), iter(log.read("t"))]
    next(reads[0])
    consumer = log.consumer("t")
    consumer.poll(timeout=0)
    if (child := os.fork()) == 0:
        for read in reads:
            try:
                print("read", [record.value for record in read])
            except ForkedError:
                print("refused")
        sys.exit()
    os.waitpid(child, 0)
    print([len(list(read)) for read in reads])
    consumer.close()
"""
    done = run(code, str(tmp_path / "log"))
    assert (done.stdout, done.stderr) == ("refused\nrefused\n[1, 2]\n", "")


def test_interpreter_exit_with_batches_in_flight_neither_hangs_nor_lies(tmp_path: Path) -> None:
    code = """
import sys, streamhouse
log = streamhouse.Log(sys.argv[1]); log.create_topic("t"); producer = log.producer()
deliveries = [producer.send("t", b"%d" % n) for n in range(5000)]
deliveries[99].result()
print("acknowledged")
"""
    done = run(code, str(tmp_path / "log"))
    assert done.stdout == "acknowledged\n", done.stderr
    with streamhouse.Log(tmp_path / "log") as log:
        values = [record.value for record in log.read("t")]
    assert values == [b"%d" % number for number in range(len(values))]
    assert len(values) >= 100


def test_a_forgotten_close_warns(tmp_path: Path) -> None:
    log = streamhouse.Log(tmp_path / "log")
    with pytest.warns(ResourceWarning, match="never closed"):
        log.__del__()
    log.close()


def test_ctrl_c_ends_an_endless_iteration_at_once(tmp_path: Path) -> None:
    code = """
import sys, time, streamhouse
with streamhouse.Log(sys.argv[1]) as log:
    log.create_topic("t")
    with log.consumer("t") as consumer:
        print("waiting", flush=True)
        try:
            for record in consumer:
                pass
        except KeyboardInterrupt:
            print(time.time(), flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.3)
    sent = time.time()
    process.send_signal(signal.SIGINT)
    ended = float(process.stdout.readline())
    process.communicate(timeout=30)
    assert ended - sent < 5.0  # the wanted 0.2 s would be a timed assertion; hanging is the failure


def test_a_stopped_process_does_not_hold_up_the_others(tmp_path: Path) -> None:
    code = """
import sys, streamhouse
with streamhouse.Log(sys.argv[1]) as log:
    log.create_topic("t", exist_ok=True)
    with log.producer() as producer:
        n = 0
        while True:
            producer.send("t", b"%d" % n).result(); n += 1
            if n == 1: print("writing", flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        with streamhouse.Log(tmp_path / "log") as log, log.producer() as producer:
            for _ in range(10):  # stop it at ten different moments
                time.sleep(0.01)
                process.send_signal(signal.SIGSTOP)
                producer.send("t", b"ours").result(timeout=30)
                process.send_signal(signal.SIGCONT)
            values = [r.value for r in log.read("t") if r.value != b"ours"]
            assert values == [b"%d" % number for number in range(len(values))]
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


# Not on ministack: it stores what it got of a body when its client dies in the middle, as S3 never does.
@pytest.mark.parametrize(("kind", "runs"), [("dir", 12), ("fake", 6)])
def test_killed_processes_lose_and_double_nothing(kind: str, runs: int) -> None:
    verdict = runner.kill(kind, runs)
    assert verdict.clean, [str(a) for a in verdict.anomalies] or verdict.damage
    assert verdict.acknowledged.total() > 0


@pytest.mark.parametrize(("kind", "seconds"), [("dir", 5.0), ("ministack", 8.0)])
def test_eight_processes_at_once(kind: str, seconds: float) -> None:
    verdict = runner.many(kind, 8, seconds)
    assert verdict.clean, [str(a) for a in verdict.anomalies] or verdict.damage
    assert len(verdict.acknowledged) == 8


def test_threads_are_gone_after_close(tmp_path: Path) -> None:
    code = """
import sys, threading, streamhouse
with streamhouse.Log(sys.argv[1]) as log:
    log.create_topic("t")
    with log.producer() as producer, log.consumer("t") as consumer:
        producer.send("t", b"1").result(); consumer.poll(timeout=1.0)
print([t.name for t in threading.enumerate()])
"""
    assert run(code, str(tmp_path / "log")).stdout == "['MainThread']\n"
