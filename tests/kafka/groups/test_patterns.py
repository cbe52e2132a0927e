"""Patterns of topics' names that clients send."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamhouse.kafka.groups.patterns import Pattern, PatternError

NAMES = st.text("ab-.", min_size=1, max_size=8)
PATTERNS = st.recursive(
    st.sampled_from(["a", "b", "-", ".", r"\.", "[ab]", "[^a]"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda both: f"({both[0]}|{both[1]})"),
        st.tuples(inner, st.sampled_from("*+?")).map(lambda both: f"(?:{both[0]}){both[1]}"),
    ),
    max_leaves=6,
)


@given(PATTERNS, NAMES)
def test_they_mean_what_they_mean_elsewhere(pattern: str, name: str) -> None:
    assert Pattern(pattern).matches(name) == (re.fullmatch(pattern, name) is not None)


@pytest.mark.parametrize("pattern", ["(a+)+", "(a|a)*", "(.*)*b", "(a?){99}a{99}"])
def test_none_takes_long(pattern: str) -> None:
    assert not Pattern(pattern).matches("a" * 248 + "-")  # for ever, with Python's own engine


@pytest.mark.parametrize("pattern", ["(", "[", "*", "(?=a)", r"(a)\1", "a{2000}"])
def test_what_is_no_pattern(pattern: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PatternError):
        Pattern(pattern)
    assert capfd.readouterr().err == ""
