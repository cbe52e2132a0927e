"""Configs of a topic and its settings: what is set, what becomes of a change, what is shown.

A config that is a setting of the log is read from it, so that whoever alters a topic by another way is
believed. The texts of a client are kept as well where the setting does not tell them: ``delete,compact``
for ``compact,delete``, or a value that is the default but was set all the same. Tools that compare what they
find with what they have set find no difference then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from enum import IntEnum
from typing import Any, Final

import msgspec

from streamhouse.config import TopicSettings
from streamhouse.errors import InvalidSettingError
from streamhouse.kafka.configs.kinds import ConfigType, Field, find_config, split_list
from streamhouse.kafka.configs.topics import TOPIC_CONFIGS

_NEW: Final = TopicSettings()


class Change(IntEnum):
    """What an incremental alteration does to a config; the numbers are Kafka's."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


class Alteration(msgspec.Struct, frozen=True):
    """One config to be changed.

    Attributes:
        name: Its name.
        change: How.
        value: What to; ``None`` where it is deleted.
    """

    name: str
    change: Change
    value: str | None


def values_set(settings: TopicSettings) -> dict[str, str]:
    """The configs of a topic that somebody has set, by name."""
    kept = dict(settings.kafka_configs)
    found = {}
    for name, config in TOPIC_CONFIGS.items():
        text = kept.get(name)
        if config.field is not None:
            text = _text_of(config.field, settings, text)
        if text is not None:
            found[name] = text
    return found


def with_values(settings: TopicSettings, values: Mapping[str, str | None]) -> TopicSettings:
    """Settings with other configs.

    Args:
        settings: The settings.
        values: The configs that change; ``None`` takes one back to its default.

    Raises:
        InvalidSettingError: A name that is none, or a value that is none for it.
    """
    fields: dict[str, Any] = {}
    kept = dict(settings.kafka_configs)
    for name, value in values.items():
        config = find_config(TOPIC_CONFIGS, name)
        text = None if value is None else config.checked(value)
        if config.field is not None:
            parsed = getattr(_NEW, config.field.name) if text is None else config.field.parse(text)
            fields[config.field.name] = parsed
            if text is not None and _tells(config.field, parsed, text):
                text = None
        if text is None:
            kept.pop(name, None)
        else:
            kept[name] = text
    return msgspec.structs.replace(settings, **fields, kafka_configs=tuple(sorted(kept.items())))


def with_only(settings: TopicSettings, values: Mapping[str, str]) -> TopicSettings:
    """Settings with these configs and no others, as the older way of altering has it.

    Raises:
        InvalidSettingError: As in :func:`with_values`.
    """
    others: dict[str, str | None] = dict.fromkeys(values_set(settings), None)
    return with_values(settings, {**others, **values})


def altered(settings: TopicSettings, alterations: Iterable[Alteration]) -> TopicSettings:
    """Settings with configs changed one by one.

    Raises:
        InvalidSettingError: As in :func:`with_values`, or a config is no list.
    """
    present = values_set(settings)
    return with_values(settings, {each.name: _outcome(each, present) for each in alterations})


def _outcome(alteration: Alteration, present: Mapping[str, str]) -> str | None:
    config = find_config(TOPIC_CONFIGS, alteration.name)
    if alteration.change is Change.DELETE or alteration.value is None:
        return None
    if alteration.change is Change.SET:
        return alteration.value
    if config.type is not ConfigType.LIST:
        raise InvalidSettingError(
            f"config {config.name} is no list: it can be set, but nothing added or taken out"
        )
    before = split_list(present.get(config.name, config.default))
    given = split_list(alteration.value)
    if alteration.change is Change.APPEND:
        return ",".join([*before, *given])
    return _without(before, given)


def _without(entries: Sequence[str], gone: Sequence[str]) -> str:
    return ",".join(entry for entry in entries if entry not in gone)


def _text_of(field: Field, settings: TopicSettings, kept: str | None) -> str | None:
    value = getattr(settings, field.name)
    with suppress(ValueError, KeyError):  # another version's, perhaps
        if kept is not None and field.parse(kept) == value:
            return kept
    return None if value == getattr(_NEW, field.name) else field.show(value)


def _tells(field: Field, value: Any, text: str) -> bool:
    """Whether the setting alone tells that it was set, and to what text."""
    return bool(value != getattr(_NEW, field.name) and field.show(value) == text)
