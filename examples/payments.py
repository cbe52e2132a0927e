"""Exactly once, in spite of crashes: payments become entries in a ledger, and not a cent is lost or doubled.

Each payment is to become two entries, a debit and a credit. Three processes share the work as members of one
group; ``log.process`` writes the entries and the group's offsets in one transaction. All of them die in
the middle of their work, some more than once, and are started again under the same name. Meanwhile an
auditor adds up the ledger again and again: since a payment's entries become visible together, the sum is
always zero. In the end the ledger is compared with the payments, one by one.

The function that makes the entries is called again for payments whose transaction was cut short. Only what
it returns takes effect once, so the calls are counted outside of the log, in a file.

    python examples/payments.py                    # a fresh temporary directory
    python examples/payments.py --log ./data       # a directory that stays; run it again to add more
    python examples/payments.py --log s3://bucket/prefix --payments 5000 --json
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import msgspec

import streamhouse

PAYMENTS, LEDGER, GROUP = "payments", "ledger", "bookkeeping"
PARTITIONS = 6
WORKERS = 3
ACCOUNTS = 50
BATCH = 250  # payments that are sent at once
CRASHES = ((937, 518), (1_311,), (1_749,))  # per worker: after how many calls each of its lives ends
PATIENCE_SECONDS = 90.0

spawn = multiprocessing.get_context("spawn")


class Payment(msgspec.Struct):
    """What is asked for."""

    id: str
    payer: str
    payee: str
    cents: int


class Entry(msgspec.Struct):
    """One line of the ledger."""

    payment: str
    account: str
    cents: int


class Report(msgspec.Struct):
    """What is printed."""

    log: str
    payments: int
    entries: int
    crashes: int
    calls: int
    audits: int
    seconds: float


def main() -> None:
    """Run, and print the report."""
    parser = argparse.ArgumentParser(description="Payments to a ledger, exactly once, with crashes.")
    parser.add_argument("--log", metavar="URL", help="default: a fresh temporary directory")
    parser.add_argument("--payments", type=int, default=10_000, help="how many to make")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args()
    if (options.log or "").startswith("memory:"):
        parser.error("a log in memory cannot be shared by processes")
    report = run(options.log or tempfile.mkdtemp(prefix="streamhouse-"), options.payments)
    if options.json:
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    else:
        show(report)


def run(url: str, count: int) -> Report:
    """Make payments, have them booked by processes that crash, and compare."""
    started = time.monotonic()
    audits = 0
    with streamhouse.Log(url) as log, tempfile.TemporaryDirectory() as folder:
        log.create_topic(PAYMENTS, partitions=PARTITIONS, exist_ok=True)
        log.create_topic(LEDGER, partitions=PARTITIONS, exist_ok=True)
        team = Team(url, Path(folder) / "calls")
        try:
            with log.producer() as producer:
                for batch in batches(count):
                    keys = [payment.payer for payment in batch]
                    producer.send_many(PAYMENTS, batch, keys=keys).result()
                    team.restart_the_fallen()
            while unbooked(log):
                if time.monotonic() - started > PATIENCE_SECONDS + count / 100:
                    raise TimeoutError(f"{unbooked(log)} payments were not booked in time")
                team.restart_the_fallen()
                audit(log)
                audits += 1
                time.sleep(0.05)
        finally:
            team.stop()
        payments, entries = compare(log)
        return Report(
            log=url,
            payments=payments,
            entries=entries,
            crashes=team.crashes,
            calls=team.calls,
            audits=audits,
            seconds=round(time.monotonic() - started, 3),
        )


# --- the work ----------------------------------------------------------------------------------------


def work(url: str, name: str, calls: Path, crash_after: int | None, stop: Event) -> None:
    """A worker process."""
    file = os.open(calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    left = crash_after

    def book(record: streamhouse.Record[bytes, Payment]) -> list[streamhouse.Output]:
        nonlocal left
        os.write(file, b".")
        if left is not None:
            left -= 1
            if left == 0:
                os._exit(1)  # as kill -9: nothing is flushed, nobody is told
        payment = record.value
        debit = Entry(payment.id, payment.payer, -payment.cents)
        credit = Entry(payment.id, payment.payee, payment.cents)
        return [streamhouse.Output(LEDGER, entry, entry.account) for entry in (debit, credit)]

    with (
        streamhouse.Log(url) as log,
        # As a static member it has its partitions again at once when it is started anew.
        log.consumer(PAYMENTS, group=GROUP, value=Payment, instance_id=name, session_timeout=5) as consumer,
        # The same name again: what its last life left unfinished cannot take effect any more.
        log.producer(transactional_id=f"{GROUP}-{name}") as producer,
    ):
        log.process(consumer, producer, book, batch_records=200, stop=stop)


class Team:
    """Starts the workers, and starts them again when they fall."""

    def __init__(self, url: str, calls: Path) -> None:
        self.crashes = 0
        self._url = url
        self._calls = calls
        self._stop = spawn.Event()
        self._lives = {f"worker-{n}": iter(ends) for n, ends in enumerate(CRASHES)}
        self._workers = {name: self._start(name) for name in self._lives}

    @property
    def calls(self) -> int:
        """How often the function was called in all lives."""
        return self._calls.stat().st_size

    def restart_the_fallen(self) -> None:
        """Whoever is dead gets another life, the last of which does not end before its time."""
        for name, worker in self._workers.items():
            if not worker.is_alive():
                worker.join()
                self.crashes += 1
                self._workers[name] = self._start(name)

    def stop(self) -> None:
        """Let them finish the transaction they are at."""
        self._stop.set()
        for worker in self._workers.values():
            worker.join()

    def _start(self, name: str) -> BaseProcess:
        crash_after = next(self._lives[name], None)
        worker = spawn.Process(target=work, args=(self._url, name, self._calls, crash_after, self._stop))
        worker.start()
        return worker


def batches(count: int) -> Iterator[list[Payment]]:
    """Payments between random accounts."""
    run_id = f"{time.time_ns():x}"
    for start in range(0, count, BATCH):
        batch = []
        for number in range(start, min(start + BATCH, count)):
            payer, payee = random.sample(range(ACCOUNTS), 2)
            batch.append(
                Payment(f"{run_id}-{number}", f"a-{payer}", f"a-{payee}", random.randrange(1, 100_000))
            )
        yield batch


# --- the truth ---------------------------------------------------------------------------------------


def unbooked(log: streamhouse.Log) -> int:
    """Payments whose entries are not in the ledger yet."""
    if GROUP not in log.groups:
        return sum(partition.high_watermark for partition in log.topic(PAYMENTS).partitions)
    return sum(log.groups[GROUP].lag.values())


def audit(log: streamhouse.Log) -> None:
    """Add up the ledger as it is at this moment: debits and credits are always equal."""
    [(balance,)] = log.sql("select coalesce(sum((value->>'cents')::bigint), 0) from ledger").fetchall()
    if balance != 0:
        raise AssertionError(f"the ledger is out of balance by {balance} cents")


def compare(log: streamhouse.Log) -> tuple[int, int]:
    """See that each payment has its two entries, once; how many of both there are."""
    due = Counter[tuple[str, str, int]]()
    payments = 0
    for record in log.read(PAYMENTS, value=Payment):
        payment = record.value
        due[payment.id, payment.payer, -payment.cents] += 1
        due[payment.id, payment.payee, payment.cents] += 1
        payments += 1
    booked = Counter(
        (record.value.payment, record.value.account, record.value.cents)
        for record in log.read(LEDGER, value=Entry)
    )
    missing, doubled = due - booked, booked - due
    if missing or doubled:
        raise AssertionError(f"{missing.total()} entries are missing, {doubled.total()} are too many")
    return payments, booked.total()


def show(report: Report) -> None:
    """Print the report for people."""
    again = report.calls - report.payments
    print(f"log            {report.log}")
    print(f"payments       {report.payments:,}")
    print(f"crashes        {report.crashes} processes died in the middle of their work")
    print(f"calls          {report.calls:,}", end="")
    print(f" ({again:,} more than payments: cut short and done again)" if again > 0 else "")
    print(f"entries        {report.entries:,}: two for each payment, none missing, none twice")
    print(f"audits         {report.audits}, the sum was 0 each time")
    print(f"seconds        {report.seconds:.1f}")


if __name__ == "__main__":
    main()
