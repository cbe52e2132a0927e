"""Patterns that names of topics may match, in the syntax of RE2, as with Kafka's brokers.

They come from clients. RE2 takes time in proportion to the name, where Python's own engine takes as long as
somebody who means harm wants it to.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import re2


class PatternError(ValueError):
    """It is no pattern."""


class Pattern:
    """A pattern.

    Args:
        text: In RE2's syntax.

    Attributes:
        text: As it was said.

    Raises:
        PatternError: It is not.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._compiled = re2.compile(text, options=_options())
        except re2.error as error:
            (why,) = error.args
            raise PatternError(f"{text!r}: {why.decode()}") from None

    def matches(self, name: str) -> bool:
        """Whether it is the whole of a name."""
        return self._compiled.fullmatch(name) is not None


@cache
def _options() -> Any:
    options = re2.Options()
    options.log_errors = False  # to standard error, that is
    return options
