"""The command line, ``streamctl``.

This module needs nothing but the standard library: without the extra ``cli`` the command still
starts, and says what to install.
"""

from __future__ import annotations

import importlib.util
import signal
import sys
import threading
from types import FrameType

from streamhouse.errors import MissingExtraError

EXIT_MISSING_EXTRA = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


_terminated = threading.Event()


def main() -> None:
    """Run ``streamctl`` with the arguments of this process, and exit."""
    try:
        require_extra()
    except MissingExtraError as error:
        sys.stderr.write(f"streamctl: {error}\n")
        sys.exit(EXIT_MISSING_EXTRA)
    from streamhouse.cli.app import run

    def terminate(_number: int, _frame: FrameType | None) -> None:
        """Supervisors send SIGTERM: what was begun is brought to an end, as after Ctrl-C."""
        _terminated.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    code = run(sys.argv[1:])
    sys.exit(EXIT_TERMINATED if was_terminated() and code == EXIT_INTERRUPTED else code)


def was_terminated() -> bool:
    """Whether somebody wants this process to end, and not just what it is doing."""
    return _terminated.is_set()


def require_extra() -> None:
    """Check that what the extra ``cli`` brings is installed.

    Raises:
        MissingExtraError: It is not; the message has the pip line.
    """
    missing = [name for name in ("rich", "typer") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"{' and '.join(missing)} not installed; run: pip install 'streamhouse[cli]'")
