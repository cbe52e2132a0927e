from __future__ import annotations

import threading

import pytest

from streamhouse.format.codecs import pack_bytes
from streamhouse.write import pool as pool_module
from streamhouse.write.pool import Pool


def test_compresses_what_it_is_given() -> None:
    pool = Pool()
    raws = [bytes([i]) * 100_000 for i in range(20)]
    jobs = [pool.compress(raw) for raw in raws]
    for raw, job in zip(raws, jobs, strict=True):
        assert job is not None
        assert job.result() == pack_bytes(raw)
        assert job.done
    pool.close()


def test_closing_does_what_is_queued_and_ends_the_threads() -> None:
    before = set(threading.enumerate())
    pool = Pool()
    jobs = [pool.compress(bytes(1_000_000)) for _ in range(10)]
    assert set(threading.enumerate()) > before
    pool.close()
    assert all(job is not None and job.done for job in jobs)
    assert set(threading.enumerate()) == before
    assert pool.compress(b"") is None
    pool.close()


def test_an_error_goes_to_whoever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(raw: bytes) -> None:
        raise MemoryError("full")

    monkeypatch.setattr(pool_module, "pack_bytes", fail)
    pool = Pool()
    job = pool.compress(b"x")
    assert job is not None
    with pytest.raises(MemoryError, match="full"):
        job.result()
    monkeypatch.undo()
    after = pool.compress(b"x")
    assert after is not None
    assert after.result() == pack_bytes(b"x")
    pool.close()
