"""How a consumer takes part in a group: checked arguments, frozen."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from streamhouse import limits
from streamhouse.assignors import ASSIGNORS
from streamhouse.catalog.offsets import check_encodable, check_group_name
from streamhouse.errors import InvalidInputError, nearest
from streamhouse.read.cursor import Reset
from streamhouse.records import TopicPartition

Assignor = Literal["cooperative-sticky", "sticky", "range", "round-robin"]
OnChange = Callable[[list[TopicPartition]], object]
"""Told which partitions come or go; runs on the thread that polls."""

_SESSION_SECONDS: Final = (0.5, 86_400.0)
_RESETS: Final = ("earliest", "latest", "error")


class GroupOptions(msgspec.Struct, frozen=True, kw_only=True):
    """See :meth:`streamhouse.Log.consumer`."""

    group: str
    assignor: str = "cooperative-sticky"
    auto_commit: bool = True
    auto_commit_interval: float = 5.0
    session_timeout: float = 30.0
    max_poll_interval: float | None = None
    instance_id: str | None = None
    on_assign: OnChange | None = None
    on_revoke: OnChange | None = None
    on_lost: OnChange | None = None


def make_group_options(group: str | None, values: dict[str, Any]) -> GroupOptions | None:
    """Check what a consumer was told about its group; ``None`` when there is none.

    Raises:
        InvalidInputError: A value cannot be right, or makes no sense without a group.
    """
    defaults = GroupOptions(group="-")
    if group is None:
        for name, value in values.items():
            if value is not getattr(defaults, name) and value != getattr(defaults, name):
                raise InvalidInputError(f"{name}={value!r} needs a group; pass group='name' as well")
        return None
    check_group_name(group)
    _check_assignor(values["assignor"])
    _check_text("instance_id", values["instance_id"])
    _check_seconds("auto_commit_interval", values["auto_commit_interval"], 0.01)
    _check_seconds("session_timeout", values["session_timeout"], *_SESSION_SECONDS)
    if values["max_poll_interval"] is not None:
        _check_seconds("max_poll_interval", values["max_poll_interval"], 0.01)
    for name in ("on_assign", "on_revoke", "on_lost"):
        if values[name] is not None and not callable(values[name]):
            raise InvalidInputError(f"{name} must be a function of partitions, not {values[name]!r}")
    if not isinstance(values["auto_commit"], bool):
        raise InvalidInputError(f"auto_commit must be True or False, not {values['auto_commit']!r}")
    return GroupOptions(group=group, **values)


def check_reset(reset: object) -> Reset | None:
    """What to do where a position fell below the log start, if anything was said.

    Raises:
        InvalidInputError: It is none of the three words.
    """
    if reset is not None and reset not in _RESETS:
        known = ", ".join(map(repr, _RESETS))
        raise InvalidInputError(f"reset must be one of {known}, not {reset!r}{nearest(str(reset), _RESETS)}")
    return reset


def check_topics(topics: Sequence[object], *, group: bool) -> None:
    """Refuse what is neither a name nor a pattern.

    Raises:
        InvalidInputError: There is something else, or a pattern without a group.
    """
    for topic in topics:
        if isinstance(topic, re.Pattern):
            if not isinstance(topic.pattern, str):
                raise InvalidInputError(f"a pattern of topics is a regular expression of text, not {topic!r}")
            if not group:
                raise InvalidInputError(
                    f"{topic!r} subscribes to topics that come and go, which needs a group; pass"
                    " group='name', or name the topics"
                )
        elif not isinstance(topic, str):
            raise InvalidInputError(f"a topic is a name or a compiled pattern, not {topic!r}")


def _check_assignor(assignor: object) -> None:
    if assignor not in ASSIGNORS:
        raise InvalidInputError(
            f"unknown assignor {assignor!r}{nearest(str(assignor), ASSIGNORS)}; known are"
            f" {', '.join(ASSIGNORS)}"
        )


def _check_text(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str) or not 1 <= len(value) <= limits.GROUP_NAME_CHARS_MAX:
        raise InvalidInputError(
            f"{name} must be text of 1 to {limits.GROUP_NAME_CHARS_MAX} characters, not {value!r}"
        )
    check_encodable(name, value)


def _check_seconds(name: str, value: object, low: float, high: float = 31_536_000.0) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidInputError(f"{name} must be {low:g} to {high:g} seconds, not {value!r}")
