"""What other processes do in these tests: `worker.py <job> <url> <storage options> …`."""

import hashlib
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from streamhouse.config import Settings
from streamhouse.runtime import SystemRuntime
from streamhouse.store.base import ObjectStore, PutOutcome
from streamhouse.store.open import open_store


def content(writer: int, number: int, size: int) -> bytes:
    body = (b"%d-%d " % (writer, number)) * (size // 8)
    return hashlib.sha256(body).digest() + body


def race(store: ObjectStore, writer: int, rounds: int) -> None:
    """Try to create every slot; print the ones that were won."""
    store.list("log/", limit=1)  # connect
    print("ready", flush=True)
    sys.stdin.readline()
    won = [
        number
        for number in range(rounds)
        if store.put_if_absent(f"log/{number:03d}", [content(writer, number, 4000)]) is PutOutcome.CREATED
    ]
    print(json.dumps(won), flush=True)


def write_for_ever(store: ObjectStore, writer: int, first: int) -> None:
    """Create large objects; print each one that was acknowledged."""
    number = first
    while True:
        data = content(writer, number, 300_000)
        if store.put_if_absent(f"log/{number:06d}", [data[:1000], data[1000:]]) is PutOutcome.CREATED:
            print(number, flush=True)
        number += 1


def take_turns(store: ObjectStore, _writer: int, milliseconds: int) -> None:
    """Hold the lock as often as possible; print how often and how many waits were in vain."""
    print("ready", flush=True)
    sys.stdin.readline()
    had = missed = 0
    deadline = time.monotonic() + milliseconds / 1000
    while time.monotonic() < deadline:
        with store.commit_lock(5.0) as locked:
            if locked:
                had += 1
                time.sleep(0.0005)
            else:
                missed += 1
    print(json.dumps([had, missed]), flush=True)


def hold_lock(store: ObjectStore, _writer: int, _: int) -> None:
    with store.commit_lock(5.0) as locked:
        print(json.dumps(locked), flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    job, url, options, writer, number = sys.argv[1:]
    store = open_store(url, json.loads(options), Settings(), SystemRuntime())
    globals()[job](store, int(writer), int(number))
    store.close()
