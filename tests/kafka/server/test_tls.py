"""Names of users, from their certificates."""

from __future__ import annotations

import pytest

from streamhouse.kafka.server.tls import distinguished_name


def name(*groups: tuple[tuple[str, str], ...]) -> str:
    return distinguished_name({"subject": groups})


def test_the_last_part_comes_first() -> None:
    parts = [(("countryName", "DE"),), (("organizationName", "Example"),), (("commonName", "ann"),)]
    assert name(*parts) == "CN=ann,O=Example,C=DE"
    assert (
        name((("commonName", "ann"), ("userId", "7")), (("domainComponent", "org"),)) == "DC=org,CN=ann+UID=7"
    )
    assert name() == ""


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a, b", r"a\, b"),
        ("#1 #2", r"\#1 \#2"),
        ("a=b+c", r"a\=b\+c"),
        ('<"a;b\\c">', r"\<\"a\;b\\c\"\>"),
        (" a b ", r"\ a b\ "),
        ("  ", r"\ \ "),
        ("größe", "größe"),
        ("a\0", r"a\00"),
        ("", ""),
    ],
)
def test_what_means_something_is_escaped_as_java_does(value: str, written: str) -> None:
    """Two subjects that differ never are one user."""
    assert name((("commonName", value),)) == f"CN={written}"
