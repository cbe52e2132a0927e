"""What a config is, and which values it takes.

Values are texts, as in Kafka. What a client sends is brought into one form: no blanks around it, ``true``
instead of ``True``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, Final

import msgspec

from streamhouse.errors import InvalidSettingError, nearest

INT_MAX: Final = 2**31 - 1
LONG_MAX: Final = 2**63 - 1
_TEXT_CHARS_MAX: Final = 32_768
_SHOWN_CHARS_MAX: Final = 100


class ConfigType(IntEnum):
    """What kind of value; the numbers are Kafka's."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8


class Source(IntEnum):
    """Where a value comes from; the numbers are Kafka's."""

    TOPIC = 1
    STATIC_BROKER = 4
    DEFAULT = 5


class Field(msgspec.Struct, frozen=True):
    """Which setting of a topic a config is.

    Attributes:
        name: Of the setting.
        parse: From the config's text to the setting's value.
        show: The way back.
    """

    name: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """One config.

    Attributes:
        name: Its name.
        type: What kind of value it has.
        default: The value that it has while nobody has set it.
        text: What it does here, for people.
        low: Smallest number that it may be ...
        high: ... and the largest.
        choices: The only texts that it may be, or that may be in its list.
        pattern: What texts that it may be, or those in its list, look like.
        field: The setting of a topic that it is; ``None``: it is none.
        obeyed: Whether the gateway does what it says, though it is no setting.
        broker: What the config of brokers is called that topics take it from.
    """

    name: str
    type: ConfigType
    default: str
    text: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    pattern: str | None = None
    field: Field | None = None
    obeyed: bool = False
    broker: str | None = None

    @property
    def effective(self) -> bool:
        """Whether anything depends on it."""
        return self.obeyed or self.field is not None

    def checked(self, value: str) -> str:
        """A value in its one form.

        Raises:
            InvalidSettingError: It is none for this config.
        """
        value = value.strip()
        if len(value) > _TEXT_CHARS_MAX:
            raise self._invalid(value, f"{len(value):,} characters; {_TEXT_CHARS_MAX:,} are allowed")
        if self.type is ConfigType.BOOLEAN:
            if value.lower() not in {"true", "false"}:
                raise self._invalid(value, "it is true or false")
            return value.lower()
        if self.type in _NUMBERS:
            return self._number(value)
        if self.type is ConfigType.LIST:
            entries = split_list(value)
            for entry in entries:
                self._check_text(entry)
            if self.choices and not entries:
                raise self._invalid(value, f"it is at least one of {', '.join(self.choices)}")
            return ",".join(entries)
        self._check_text(value)
        return value

    def _number(self, value: str) -> str:
        convert, low, high = _NUMBERS[self.type]
        low, high = max(low, self.low), min(high, self.high)
        if not _NUMBER.fullmatch(value):
            raise self._invalid(value, f"it is a number of type {self.type.name}")
        try:
            number = convert(value)
        except ValueError:
            raise self._invalid(value, f"it is a number of type {self.type.name}") from None
        if not low <= number <= high:
            raise self._invalid(value, f"it is from {low} to {high}")
        return str(number)

    def _check_text(self, value: str) -> None:
        if self.choices and value not in self.choices:
            near = nearest(value, self.choices)
            raise self._invalid(value, f"it is one of {', '.join(self.choices)}{near}")
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            raise self._invalid(value, f"it looks like {self.pattern}")

    def _invalid(self, value: str, why: str) -> InvalidSettingError:
        shown = repr(value) if len(value) <= _SHOWN_CHARS_MAX else f"{value[:_SHOWN_CHARS_MAX]!r}..."
        return InvalidSettingError(f"invalid value {shown} for config {self.name}: {why}")


def split_list(value: str) -> list[str]:
    """The entries of a list, each once."""
    return list(dict.fromkeys(entry for part in value.split(",") if (entry := part.strip())))


def find_config(configs: Mapping[str, Config], name: str) -> Config:
    """The config of that name.

    Raises:
        InvalidSettingError: There is none; the message has the nearest.
    """
    found = configs.get(name)
    if found is None:
        raise InvalidSettingError(f"unknown config {name!r}{nearest(name, configs)}")
    return found


_NUMBER: Final = re.compile(r"[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?")
_NUMBERS: Final[dict[ConfigType, tuple[Callable[[str], float], float, float]]] = {
    ConfigType.INT: (int, -INT_MAX - 1, INT_MAX),
    ConfigType.LONG: (int, -LONG_MAX - 1, LONG_MAX),
    ConfigType.DOUBLE: (float, -math.inf, math.inf),
}
