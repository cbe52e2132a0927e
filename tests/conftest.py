"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# No test judges by the clock: a busy machine is no bug.
settings.register_profile("streamhouse", deadline=None, print_blob=True)
settings.load_profile("streamhouse")
