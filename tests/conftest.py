"""What holds for all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# No test judges by the clock: a busy machine is no bug.
settings.register_profile("streamhouse", deadline=None, print_blob=True)
settings.load_profile("streamhouse")

# Shells start what runs in the background with Ctrl-C ignored, and processes inherit that: tests that
# press it would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
