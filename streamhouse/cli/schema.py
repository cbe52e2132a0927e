"""``--schema``: the fields of a typed topic, as JSON or in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import typer

SchemaText: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar="JSON",
        help='The fields of the values: \'{"amount": "DECIMAL(18,2)"}\', a JSON schema, or a file with one of'
        " these.",
    ),
]


def parse_schema(text: str | None) -> dict[str, Any] | None:
    """What was said of a schema, as the library takes it.

    Raises:
        typer.BadParameter: It is neither JSON nor a file of JSON.
    """
    if text is None:
        return None
    source = "--schema"
    if not text.lstrip().startswith("{"):
        source = f"--schema {text}"
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{source} is neither JSON nor a file: {error}") from None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise typer.BadParameter(f"{source} is no JSON object: {error}") from None
