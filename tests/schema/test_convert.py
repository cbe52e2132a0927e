"""Typed values as instances of classes."""

from __future__ import annotations

import dataclasses
from typing import Any, NotRequired, TypedDict

import msgspec
import pytest

import streamhouse
from streamhouse.schema.convert import Converter


class Item(msgspec.Struct):
    name: str
    qty: int = 1
    note: str | None = "none"


class Tagged(msgspec.Struct, tag="tagged", omit_defaults=True):
    size: int = 3


class Extra(TypedDict):
    a: str
    b: NotRequired[int]


class Loose(TypedDict, total=False):
    a: str
    b: int | None


@dataclasses.dataclass
class Order:
    items: list[Item]
    named: dict[str, Item] = dataclasses.field(default_factory=dict)
    first: Item = dataclasses.field(default_factory=lambda: Item("first"))
    maybe: Item | None = None
    extra: Extra | None = None
    loose: list[Loose] = dataclasses.field(default_factory=list)
    tagged: Tagged = dataclasses.field(default_factory=Tagged)
    tags: set[str] = dataclasses.field(default_factory=set)
    deep: list[dict[str, list[Item]]] = dataclasses.field(default_factory=list)


class Event(msgspec.Struct):
    raw: msgspec.Raw
    other: msgspec.Raw = msgspec.Raw(b"1")
    several: list[msgspec.Raw] = []


def sent_and_read(cls: type, value: Any) -> Any:
    with streamhouse.Log("memory://") as log:
        log.create_topic("topic", schema=cls)
        with log.producer() as producer:
            producer.send("topic", value).result()
        ((record),) = log.read("topic", value=cls)
        return record.value


def test_defaults_of_classes_within_classes() -> None:
    item = {"name": "x"}
    value = {
        "items": [item, item | {"qty": 2}],
        "named": {"k": item},
        "first": item,
        "maybe": item,
        "extra": {"a": "x"},
        "loose": [{}, {"a": "y"}],
        "tagged": {},
        "deep": [{"k": [item]}],
    }
    plain = Item("x", 1, None)
    assert sent_and_read(Order, value) == Order(
        [plain, Item("x", 2, None)],
        {"k": plain},
        plain,
        plain,
        {"a": "x"},
        [{"b": None}, {"a": "y", "b": None}],
        Tagged(3),
        set(),
        [{"k": [plain]}],
    )
    assert sent_and_read(Order, {"items": []}) == Order([])
    assert sent_and_read(Order, Order([Item("y")])) == Order([Item("y")])


def test_the_tag_of_a_class_need_not_be_there() -> None:
    for value in ({"size": 4}, {"size": 4, "type": "tagged"}, Tagged(4)):
        assert sent_and_read(Tagged, value) == Tagged(4)
    with pytest.raises(msgspec.ValidationError, match="Invalid value 'other'"):
        Converter(Tagged)({"size": 4, "type": "other"})


def test_json_that_is_left_encoded() -> None:
    def read(value: Any) -> tuple[bytes, bytes, list[bytes]]:
        event = sent_and_read(Event, value)
        return bytes(event.raw), bytes(event.other), list(map(bytes, event.several))

    sent = Event(msgspec.Raw(b'{"a": [1, null]}'), msgspec.Raw(b"[]"), [msgspec.Raw(b"2")])
    assert read(sent) == (b'{"a":[1,null]}', b"[]", [b"2"])
    assert read({"raw": None, "other": None, "several": None}) == (b"null", b"1", [])
