"""The public names: a name that appears or vanishes is a decision, not an accident."""

from __future__ import annotations

import importlib
import inspect

import pytest

import streamhouse
from streamhouse.sql.result import Result
from streamhouse.sql.session import SqlSession

PUBLIC = {
    "Consumer",
    "Group",
    "GroupDescription",
    "GroupMember",
    "Log",
    "OffsetAndMetadata",
    "Output",
    "Partition",
    "Producer",
    "Record",
    "RecordBatch",
    "RecordMetadata",
    "Settings",
    "Topic",
    "TopicPartition",
    "TopicSettings",
    "UpkeepReport",
    "Transaction",
    "__version__",
    "aio",
    "errors",
}


def test_all_names_exactly_the_public_ones() -> None:
    assert set(streamhouse.__all__) == PUBLIC
    assert set(dir(streamhouse)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_can_be_used(name: str) -> None:
    assert getattr(streamhouse, name) is getattr(importlib.import_module("streamhouse"), name)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Prodocer"):
        _ = streamhouse.Prodocer


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__", "aio", "errors"}))
def test_every_public_method_is_documented(name: str) -> None:
    cls = getattr(streamhouse, name)
    assert inspect.getdoc(cls)
    bare = [
        method
        for method, value in vars(cls).items()
        if not method.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod))
        and not inspect.getdoc(getattr(cls, method))
    ]
    assert bare == []


def test_every_error_says_what_it_means_and_is_in_the_tree() -> None:
    tree = streamhouse.errors.__doc__
    for name, value in vars(streamhouse.errors).items():
        if inspect.isclass(value) and issubclass(value, Exception):
            assert value.__doc__, name
            assert f"─ {name}" in tree or name == "StreamhouseError", name


NOT_IN_AIO = {
    "Topic": {"plot", "live"},  # of aio.Topic.blocking
    # The figures of a group are in what describe() gives; each of them would be a call of its own.
    "Group": {"state", "assignor", "generation", "members", "offsets", "lag", "plot"},
}


@pytest.mark.parametrize("name", ["Log", "Topic", "Producer", "Transaction", "Consumer", "Group"])
def test_asyncio_has_the_same_names(name: str) -> None:
    def public(cls: type) -> set[str]:
        return {member for member in dir(cls) if not member.startswith("_")}

    missing = public(getattr(streamhouse, name)) - public(getattr(streamhouse.aio, name))
    assert missing == NOT_IN_AIO.get(name, set())


def test_results_have_the_same_names_in_asyncio() -> None:
    for name, of_sql in (("Result", Result), ("SqlSession", SqlSession)):
        missing = {
            member
            for member in dir(of_sql)
            if not member.startswith("_") and not hasattr(getattr(streamhouse.aio, name), member)
        }
        # a task is cancelled there; the others are for what is within the package
        assert missing == ({"run"} if name == "SqlSession" else {"interrupt", "open_stream"})
