"""What an idle group asks of a store: 8 members in 4 processes, requests a second counted at the server."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import streamhouse
from streamhouse.store.cost import RequestCounts, dollars_per_month
from streamhouse.testing.s3server import FakeS3Server
from tests.bench.data import row

_PROCESSES = 4
_MEMBERS_EACH = 2
_SECONDS = 60.0

_WORKER = """
import json, sys, threading
import streamhouse

with streamhouse.Log(sys.argv[1], storage_options=json.loads(sys.argv[2]), upkeep=False) as log:
    stop = threading.Event()

    def poll():
        with log.consumer("t", group="g") as consumer:
            while not stop.is_set():
                consumer.poll(timeout=1.0)

    threads = [threading.Thread(target=poll) for _ in range(int(sys.argv[3]))]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
"""


def run() -> None:
    """Wait until the group has settled, then count."""
    with FakeS3Server() as server:
        url, options = f"{server.url}-group", server.storage_options
        with streamhouse.Log(url, storage_options=options, upkeep=False) as log:
            log.create_topic("t", partitions=16)
            command = [sys.executable, "-c", _WORKER, url, json.dumps(options), str(_MEMBERS_EACH)]
            workers = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(_PROCESSES)]
            while not _settled(log):
                time.sleep(1.0)
            time.sleep(10.0)  # until the first commits are over
            before = server.requests.copy()
            began = time.perf_counter()
            time.sleep(_SECONDS)
            took = time.perf_counter() - began
            requests = server.requests - before
            for worker in workers:
                worker.stdin.close()
            for worker in workers:
                worker.wait()
    puts, gets = requests["PUT"], requests["GET"] + requests["HEAD"]
    month = dollars_per_month(RequestCounts(puts=puts, gets=gets, lists=requests["LIST"]), took)
    row(
        f"{_PROCESSES * _MEMBERS_EACH} idle members in {_PROCESSES} processes",
        f"{puts / took:.2f} PUT/s",
        f"{gets / took:.2f} GET/s, {month:.2f} dollars a month",
    )
    row("  all operations", "", ", ".join(f"{name} {n / took:.2f}/s" for name, n in requests.items()))


def _settled(log: streamhouse.Log) -> bool:
    if "g" not in log.groups:
        return False
    found = log.groups["g"].describe()
    return len(found.members) == _PROCESSES * _MEMBERS_EACH and found.state == "stable"
