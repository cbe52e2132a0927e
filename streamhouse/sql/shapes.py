"""Texts of strangers that DuckDB's parser would take seconds and gigabytes for are not given to it.

The parser tries a part of a text again for each way in which what is around it may be read. Each common
table expression within another makes that five times as much, so that ninety characters can take all
memory there is, and each DESCRIBE twice; long runs of operators, of brackets and of dots are quadratic.
Nothing can end it: it holds the interpreter's lock, and knows no limit of time or memory. So the tokens of a
text are looked at first.

What is a token is for DuckDB to say, and a text where its tokens and its parser might not agree is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from streamhouse.errors import QueryRefusedError
from streamhouse.sql.mentions import SPACES, unquoted, words

_TEXT_BYTES_MAX: Final = 32 << 10
_BRACKETS_MAX: Final = 100
_TRIES_OF_TABLES: Final = 5
"""How often the parser may read what is in a common table expression."""
_TRIES_OF_DESCRIBED: Final = 2
"""How often it may read what is in brackets after DESCRIBE and the like."""
_TRIES_MAX: Final = _TRIES_OF_TABLES**4
_TOKENS_MAX: Final = 100_000
"""How many it may read, each as often as it is."""
_OPERATORS_MAX: Final = 50
_NAME_PARTS_MAX: Final = 50

_CLOSING: Final[Mapping[str, str]] = {"(": ")", "[": "]", "{": "}"}
_BEFORE_TABLES: Final = frozenset(("as", "materialized"))
_DESCRIBING: Final = frozenset(("describe", "desc", "summarize", "show"))
_OPERATOR: Final = frozenset("+-*/%^<>=~!@#&|`?:")
_PARSING: Final = frozenset(
    ("query", "json_serialize_sql", "json_serialize_plan", "json_execute_serialized_sql")
)
_PARSING_TYPES: Final = frozenset(
    ("json_transform", "json_transform_strict", "from_json", "from_json_strict")
)
_QUOTING: Final = re.compile(r"[\"'`$]|--|/\*")


def check_shape(text: str) -> None:
    """Refuse what a restricted session does not even parse.

    Args:
        text: What a stranger wrote.

    Raises:
        QueryRefusedError: It is too long, too deeply nested, or may hide a text that is.
    """
    size = len(text.encode())
    if size > _TEXT_BYTES_MAX:
        raise QueryRefusedError(
            f"the query has {size:,} bytes, and a restricted session takes up to {_TEXT_BYTES_MAX:,}; "
            "pass long lists as parameters"
        )
    if not SPACES.isdisjoint(text) and not {"$", "\\"}.isdisjoint(text):
        raise QueryRefusedError(
            "the query has spaces of another kind than the usual one, and $ or \\ beside them, which a "
            "restricted session does not take; write usual spaces"
        )
    found = _lowered(text)
    pairs = _pairs(found)
    _check_tries(found)
    _check_runs(found)
    _check_functions(found, pairs)


def _lowered(text: str) -> list[str]:
    return [word.lower() for word, _ in words(text)]


def _pairs(found: Sequence[str]) -> dict[int, int]:
    """Where each bracket that opens is closed."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for at, word in enumerate(found):
        if word in _CLOSING:
            opened.append(at)
            if len(opened) > _BRACKETS_MAX:
                raise QueryRefusedError(
                    f"a restricted session takes up to {_BRACKETS_MAX} brackets within each other"
                )
        elif word in _CLOSING.values():
            if not opened or _CLOSING[found[opened[-1]]] != word:
                raise QueryRefusedError(f"the query closes a bracket with {word} that was not opened")
            pairs[opened.pop()] = at
    if opened:
        raise QueryRefusedError(f"the query does not close a bracket that it opens with {found[opened[-1]]}")
    return pairs


def _check_tries(found: Sequence[str]) -> None:
    """Refuse what the parser reads too often: what is nested too deeply, or has too much in it."""
    tries, described = [1], [False]  # of each bracket that is open
    read = 0
    for before, word in zip(["", *found], found, strict=False):
        read += tries[-1]
        if word in _DESCRIBING:
            described[-1] = True
        elif word in _CLOSING:
            of_table = _TRIES_OF_TABLES if before in _BEFORE_TABLES else 1
            tries.append(tries[-1] * of_table * (_TRIES_OF_DESCRIBED if described[-1] else 1))
            described.append(False)
        elif word in _CLOSING.values():
            tries.pop()
            described.pop()
        if tries[-1] > _TRIES_MAX or read > _TOKENS_MAX:
            raise QueryRefusedError(
                "a restricted session takes common table expressions up to 4 within each other, DESCRIBE and "
                "the like up to 9, and less text in inner ones; write them one after another: "
                "with a as (...), b as (...)"
            )


def _check_runs(found: Sequence[str]) -> None:
    """Refuse operators and parts of names without end."""
    operators = parts = 0
    for at, word in enumerate(found):
        operators = operators + len(word) if _OPERATOR.issuperset(word) else 0
        if operators > _OPERATORS_MAX:
            raise QueryRefusedError(
                f"a restricted session takes up to {_OPERATORS_MAX} characters of operators in a row"
            )
        if word == ".":
            parts = parts + 1 if at > 1 and found[at - 2] == "." else 1
        if parts >= _NAME_PARTS_MAX:  # a dot less than parts
            raise QueryRefusedError(f"a restricted session takes names of up to {_NAME_PARTS_MAX} parts")


def _check_functions(found: Sequence[str], pairs: Mapping[int, int]) -> None:
    """Refuse functions that parse what may be computed."""
    for begin, end in pairs.items():
        name = unquoted(found[begin - 1]) if begin else ""
        if name in _PARSING:
            raise QueryRefusedError(f"a restricted session does not run {name}: write the query itself")
        if name in _PARSING_TYPES:
            _check_types(name, found[begin:end])


def _check_types(name: str, call: Sequence[str]) -> None:
    """Check the text of types at the end of a call like a query."""
    text, before = call[-1], call[-2:-1]
    if not text.startswith("'") or "\\" in text or before not in ([","], ["("]):
        raise QueryRefusedError(
            f"in a restricted session the types for {name} have to be written out, as a text without \\"
        )
    found = _lowered(_QUOTING.sub(" ", text))
    _pairs(found)
    _check_tries(found)
    _check_runs(found)
