"""What strangers are told of an error: not where the log and the process are, and no advice for others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from streamhouse.errors import (
    ObjectNotFoundError,
    QueryError,
    StoreAccessError,
    StoreError,
    StoreUnavailableError,
    StreamhouseError,
)

_OF_STORES: Final[Mapping[type[StoreError], str]] = {
    ObjectNotFoundError: "an object of the log is gone from its store",
    StoreAccessError: "the store of the log denies access",
    StoreUnavailableError: "the store of the log cannot be reached; try again later",
    StoreError: "the store of the log fails",
}
_OUT_OF_MEMORY: Final = "Out of Memory Error"
_ADVICE: Final = re.compile(r'(\s*Please try installing| Use "SET ).*', re.DOTALL)
_PLACE: Final = re.compile(r'Cannot access (file|directory) "(.*?)"')


@contextmanager
def discreetly(query: str | None) -> Iterator[None]:
    """While this is held, what is raised tells strangers no more than they may know.

    Args:
        query: What one of them asked; ``None``: nobody is a stranger.
    """
    try:
        yield
    except StreamhouseError as error:
        told = error if query is None else told_of(error, query)
        if told is error:
            raise
        raise told from error


def told_of(error: Exception, query: str) -> Exception:
    """The error as a stranger may see it.

    Args:
        error: The error.
        query: What was asked: the names of files in it are known already.
    """
    said = str(error)
    if isinstance(error, StoreError):
        said = next(text for kind, text in _OF_STORES.items() if isinstance(error, kind))
    elif isinstance(error, QueryError):
        said = _ADVICE.sub("", _PLACE.sub(lambda found: _place(found, query), said))
        if said.startswith(_OUT_OF_MEMORY):
            said = said.partition("\n")[0]
    return error if said == str(error) else type(error)(said)


def _place(found: re.Match[str], query: str) -> str:
    kind, name = found.groups()
    return found.group() if name and name in query else f"Cannot access a {kind}"
