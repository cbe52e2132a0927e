"""Where a COPY statement writes, if that is a URL, found among DuckDB's own tokens. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from streamhouse.sql.mentions import tokens
from streamhouse.sql.parameters import Values
from streamhouse.sql.script import literal
from streamhouse.store.outside import protocol_of

_OPENING: Final = frozenset(("(", "[", "{"))
_CLOSING: Final = frozenset((")", "]", "}"))
_NO: Final = frozenset(("false", "0", "'false'"))


class Target(NamedTuple):
    """Where a COPY statement writes.

    Attributes:
        url: The URL.
        before: The statement up to it.
        after: What follows.
        options: The options that are switched on, in small letters.
        parameter: The name or index of the parameter that is the URL, if it is one.
    """

    url: str
    before: str
    after: str
    options: frozenset[str]
    parameter: str | int | None

    def redirected(self, path: str) -> str:
        """The statement with a file in the place of the URL."""
        return f"{self.before}{'' if self.parameter is not None else literal(path)} {self.after}"

    def filled(self, values: Values, path: str) -> Values:
        """The parameters with a file in the place of the URL."""
        if self.parameter is None or values is None:
            return values
        changed: Any = dict(values) if isinstance(values, Mapping) else list(values)
        changed[self.parameter] = path
        return cast(Values, changed)


def find_target(statement: str, values: Any, evaluate: Callable[[str], Any]) -> Target | None:
    """The target of a statement, if it is a COPY to a URL.

    Args:
        statement: The text of one statement.
        values: Its parameters, by name or in order.
        evaluate: Computes an expression.
    """
    pieces = list(tokens(statement))
    words = [text.strip().lower() if kind != "comment" else "" for text, kind in pieces]
    at = _after_to(words)
    if at is None or next(filter(None, words)) != "copy":
        return None
    end = _end_of_operand(words, at)
    operand = "".join(text for text, _ in pieces[at:end]).strip()
    parameter = None
    url: Any = None
    if operand[:1] == '"':
        url = operand[1:-1].replace('""', '"')
    elif operand[:1] in {"?", "$"} and operand[:2] != "$$":
        parameter = words[:at].count("?") if operand == "?" else operand[1:]
        parameter, url = _value_of(parameter, values)
    elif operand[:1] in {"'", "(", "$", "e", "E"}:
        url = evaluate(operand)
    if not isinstance(url, str) or not protocol_of(url):
        return None
    whole = end if parameter is not None else at
    before = "".join(text for text, _ in pieces[:whole])
    after = "".join(text for text, _ in pieces[end:])
    return Target(url, before, after, frozenset(_options(words[end:])), parameter)


def _value_of(parameter: str | int, values: Any) -> tuple[str | int, Any]:
    """Where a parameter is among the values, and what it is."""
    if isinstance(values, Mapping):
        name = str(parameter)
        return name, values.get(name)
    index = parameter if isinstance(parameter, int) else int(parameter) - 1 if parameter.isdigit() else -1
    return index, values[index] if values and 0 <= index < len(values) else None


def _after_to(words: Sequence[str]) -> int | None:
    """Where the operand of TO begins, outside of all parentheses."""
    depth = 0
    for index, word in enumerate(words):
        depth += (word == "(") - (word == ")")
        if word == "to" and depth == 0:
            return next((later for later in range(index + 1, len(words)) if words[later]), None)
    return None


def _end_of_operand(words: Sequence[str], at: int) -> int:
    if words[at] == "$":
        return min(at + 2, len(words))
    depth = 0
    for index in range(at, len(words)):
        depth += (words[index] == "(") - (words[index] == ")")
        if depth == 0:
            return index + 1
    return len(words)


def _options(words: Sequence[str]) -> Iterable[str]:
    """The options in parentheses, but for those that are switched off."""
    depth, name = 0, ""
    values: list[str] = []
    for word in (*words, ","):
        depth += (word in _OPENING) - (word in _CLOSING)
        if word == "," and depth <= 1:
            if name and not (values and values[0] in _NO):
                yield name
            name, values = "", []
        elif depth == 1 and word not in {"(", ")", "=", ""}:
            if name:
                values.append(word)
            else:
                name = word
