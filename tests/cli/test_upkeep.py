"""``streamctl upkeep``."""

from __future__ import annotations

from streamhouse.cli import upkeep


def test_the_report_of_what_was_done(orders, monkeypatch) -> None:
    assert orders("topic", "alter", "orders", "--retention-ms", "0").code == 0
    for _ in range(3):
        assert orders("produce", "orders", "a", "b", "-p", "1").code == 0
    (report,) = orders("upkeep").rows
    assert (report["trimmed"], report["skipped"]) == (6, [])
    assert set(report["collected"]) == {"boundary", "lanes_sealed", "objects_deleted", "bytes_deleted"}
    (partition,) = [row for row in orders("topic", "describe", "orders").rows if row.get("partition") == 1]
    assert (partition["log_start"], partition["records"]) == (6, 0)
    monkeypatch.setattr(upkeep, "wants_json", lambda _: False)
    text = orders("upkeep")
    assert (text.code, text.err) == (0, "")
    assert b"retention: 0 offsets went\n" in text.out


def test_without_a_log_there_is_nothing_to_keep_up(cli, folder) -> None:
    result = cli("upkeep")
    assert (result.code, result.out) == (4, b"")
    assert not folder.exists()
