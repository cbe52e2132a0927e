"""A gateway in which asking for rights under the lock of the commits shows, every time.

Looking ACLs up takes that lock itself, but only when one has changed since the last look. Who holds it then
stands still for ever, and the log with it; who is lucky does not.
"""

from __future__ import annotations

from typing import Any, Final

from streamhouse.kafka import Gateway

_OTHERS_HOLD_IT_SECONDS: Final = 5.0


def watch_the_lock(gateway: Gateway) -> None:
    """Fail requests whose handlers ask for rights while they hold the lock."""
    services = gateway._broker._services
    assert services is not None
    authorizer, lock = services.access.authorizer, services.parts.commits.lock
    assert authorizer is not None
    allows = authorizer.allows

    def checked(*question: Any) -> bool:
        assert lock.acquire(timeout=_OTHERS_HOLD_IT_SECONDS), "asked under the lock of the commits"
        lock.release()
        return allows(*question)

    authorizer.allows = checked  # type: ignore[method-assign]
