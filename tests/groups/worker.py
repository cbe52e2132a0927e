"""A member of a group in a process of its own, which does what it is told on stdin and tells what happens.

    python worker.py <folder> <options as JSON>

Commands, one a line: ``hold`` (poll no more), ``go`` (poll), ``commit``, ``close``, ``exit`` (without closing
anything). What it tells is JSON, one object a line: ``{"what": ..., ...}``.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

import streamhouse
from streamhouse.errors import StreamhouseError

_POLL_SECONDS = 0.05
OPEN: list[Any] = []  # as the globals of a script: there until the interpreter ends


def tell(what: str, **fields: Any) -> None:
    """Write down what happened."""
    print(json.dumps({"what": what, **fields}), flush=True)


def noting(what: str) -> Callable[[list[streamhouse.TopicPartition]], None]:
    """A callback that tells of itself."""
    return lambda places: tell(what, partitions=[place.partition for place in places])


def main(folder: str, options: dict[str, Any]) -> None:
    """Poll until told otherwise."""
    commands: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=lambda: [commands.put(line.strip()) for line in sys.stdin], daemon=True).start()
    log = streamhouse.Log(folder, durability="os", upkeep=False)
    callbacks = {f"on_{what}": noting(what) for what in ("assign", "revoke", "lost")}
    consumer = log.consumer("orders", group="g", **callbacks, **options)
    OPEN.extend([log, consumer])
    polling = True
    while True:
        command = "" if polling and commands.empty() else commands.get()
        if command == "close":
            break
        if command == "exit":
            return
        if command in {"hold", "go"}:
            polling = command == "go"
            tell(command)
        elif command == "commit":
            try:
                consumer.commit()
                tell("committed")
            except StreamhouseError as error:
                tell("refused", error=type(error).__name__, message=str(error))
        if polling:
            for record in consumer.poll(timeout=_POLL_SECONDS):
                tell("record", partition=record.partition, offset=record.offset)
    consumer.close()
    log.close()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
