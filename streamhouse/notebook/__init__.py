"""Pictures of a log for notebooks. The modules in here need the extra ``notebook``."""

from __future__ import annotations

import importlib.util

from streamhouse.errors import MissingExtraError


def require_extra(*modules: str) -> None:
    """Check that what the extra ``notebook`` brings is installed.

    Raises:
        MissingExtraError: It is not; the message has the pip line.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{' and '.join(missing)} not installed; run: pip install 'streamhouse[notebook]'"
        )
