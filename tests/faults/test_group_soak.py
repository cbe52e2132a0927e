"""Consumer groups in real processes that are killed, stopped and replaced: nothing skipped, no two owners.

``python -m tests.soak groups`` is the long version.
"""

from __future__ import annotations

import pytest

from tests.soak import groups


@pytest.mark.parametrize(("kind", "seconds"), [("dir", 4.0), ("fake", 3.0)])
def test_members_that_are_killed_stopped_and_replaced_skip_nothing(kind: str, seconds: float) -> None:
    verdict = groups.Verdict()
    groups.run(kind, seconds, 3, verdict)
    assert verdict.clean, verdict.wrong
    assert verdict.counts["delivered"] > 0
    assert verdict.counts["commits"] > 0
    assert verdict.happened
