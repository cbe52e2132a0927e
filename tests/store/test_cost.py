import pytest

from streamhouse.store.cost import RequestCounts, dollars_per_month


@pytest.mark.parametrize(
    ("counts", "dollars"),
    [
        # One request per second for a month, as in S3's price list.
        (RequestCounts(puts=1), 13.14),
        (RequestCounts(lists=1), 13.14),
        (RequestCounts(gets=1), 1.0512),
        (RequestCounts(heads=1), 1.0512),
        (RequestCounts(deletes=1), 0.0),
        (RequestCounts(bytes_read=10**9, bytes_written=10**9), 0.0),
        (RequestCounts(puts=2, gets=10), 36.792),
    ],
)
def test_list_prices(counts: RequestCounts, dollars: float) -> None:
    assert dollars_per_month(counts, 1.0) == pytest.approx(dollars)
    assert dollars_per_month(counts, 10.0) == pytest.approx(dollars / 10)


def test_no_time_has_no_rate() -> None:
    assert dollars_per_month(RequestCounts(puts=5), 0.0) == 0.0


def test_difference() -> None:
    before = RequestCounts(puts=1, bytes_read=10)
    after = RequestCounts(puts=4, gets=2, bytes_read=30)
    assert after.since(before) == RequestCounts(puts=3, gets=2, bytes_read=20)
    assert after.requests == 6
