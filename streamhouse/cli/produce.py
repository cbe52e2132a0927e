"""``streamctl produce``: send records from arguments, standard input or a file."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from streamhouse.cli.inputs import InputFormat, Item, Rules, format_of, read_items
from streamhouse.cli.options import Json, LogUrl, StorageOptions, open_log
from streamhouse.cli.output import print_json, print_text, wants_json
from streamhouse.errors import InvalidInputError
from streamhouse.producer import Delivery, Producer
from streamhouse.records import Header

_UNCONFIRMED_MAX: Final = 20_000  # deliveries to remember; older ones are waited for


def produce(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Where to.")],
    log: LogUrl,
    values: Annotated[list[str] | None, typer.Argument(metavar="VALUE", help="Values to send.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="PATH", help="A file to read, also .gz; - is stdin."),
    ] = None,
    input_format: Annotated[
        InputFormat | None,
        typer.Option("--input", help="By default what the file's name says, else lines."),
    ] = None,
    key: Annotated[str | None, typer.Option("--key", "-k", help="Key of every record.")] = None,
    key_field: Annotated[
        str | None, typer.Option(metavar="NAME", help="Field of the object or row that is the key.")
    ] = None,
    key_delimiter: Annotated[
        str | None, typer.Option("--key-delimiter", "-K", help="Separates key and value in a line.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="NAME=VALUE", help="Repeatable.")
    ] = None,
    partition: Annotated[
        int | None, typer.Option("--partition", "-p", help="By default the key decides.")
    ] = None,
    tombstone: Annotated[
        bool, typer.Option("--tombstone", help="Send the key with no value at all.")
    ] = False,
    storage_option: StorageOptions = None,
    json: Json = False,
) -> None:
    """Send records: the VALUEs, the lines of a file, or the lines of standard input.

    JSON lines are stored as they stand. A CSV row becomes a JSON object of strings. If a line is
    bad, those before it have been sent and the message says how many.
    """
    rules = _make_rules(key, key_field, key_delimiter)
    headers = [_parse_header(text) for text in header or ()]
    sources = [bool(values), file is not None, tombstone]
    if sum(sources) > 1:
        raise typer.BadParameter("VALUEs, --file and --tombstone exclude each other")
    with open_log(log, storage_option) as handle:
        handle.topic(topic)  # a misspelt name is told before any input is read
        with handle.producer() as producer:
            sender = _Sender(producer, topic, partition, headers)
            if tombstone:
                sender.send(rules.key, None)
            elif values:
                sender.send_items(Item(rules.key, value.encode()) for value in values)
            else:
                with _open_input(file) as (stream, name):
                    form = input_format or format_of(Path(name))
                    _check_rules(rules, form)
                    sender.send_items(read_items(stream, name, form, rules))
            sender.finish()
    if wants_json(json):
        print_json({"topic": topic, "records": sender.records, "bytes": sender.bytes})
    else:
        plural = "" if sender.records == 1 else "s"
        print_text(f"{sender.records:,} record{plural} ({sender.bytes:,} bytes) to {topic}")


class _Sender:
    """Sends one record after another, remembering a bounded number of deliveries."""

    def __init__(self, producer: Producer, topic: str, partition: int | None, headers: list[Header]) -> None:
        self.records = 0
        self.bytes = 0
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._headers = headers
        self._unconfirmed: deque[Delivery] = deque()

    def send_items(self, items: Iterator[Item]) -> None:
        """Send them all; a bad one is reported after those before it are safe."""
        try:
            for key, value in items:
                self.send(key, value)
        except InvalidInputError as error:
            self.finish()
            written = f"; the {self.records:,} records before it were written"
            raise type(error)(f"{error}{written if self.records else ''}") from None

    def send(self, key: bytes | None, value: bytes | None) -> None:
        """Send one record; raises if one of those before it failed."""
        if len(self._unconfirmed) >= _UNCONFIRMED_MAX:
            self._unconfirmed.popleft().result()
        delivery = self._producer.send(
            self._topic, value, key=key, headers=self._headers, partition=self._partition
        )
        self._unconfirmed.append(delivery)
        self.records += 1
        self.bytes += len(key or b"") + len(value or b"")

    def finish(self) -> None:
        """Wait until every record is durable."""
        self._producer.flush()
        while self._unconfirmed:
            self._unconfirmed.popleft().result()


@contextmanager
def _open_input(path: Path | None) -> Iterator[tuple[BinaryIO, str]]:
    if path is None or str(path) == "-":
        if sys.stdin.isatty():
            sys.stderr.write("one record a line; Ctrl-D ends\n")
        yield sys.stdin.buffer, "standard input"
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import open as open_with_progress

        console = Console(stderr=True)
        with open_with_progress(path, "rb", console=console, description=path.name) as stream:
            yield stream, str(path)
    else:
        with path.open("rb") as stream:
            yield stream, str(path)


def _make_rules(key: str | None, key_field: str | None, key_delimiter: str | None) -> Rules:
    if sum(option is not None for option in (key, key_field, key_delimiter)) > 1:
        raise typer.BadParameter("--key, --key-field and --key-delimiter exclude each other")
    if key_delimiter == "":
        raise typer.BadParameter("--key-delimiter is empty")
    return Rules(
        None if key is None else key.encode(),
        key_field,
        None if key_delimiter is None else key_delimiter.encode(),
    )


def _check_rules(rules: Rules, form: InputFormat) -> None:
    if rules.key_field is not None and form is InputFormat.LINES:
        raise typer.BadParameter("--key-field needs --input jsonl or csv: a plain line has no fields")
    if rules.key_delimiter is not None and form is not InputFormat.LINES:
        raise typer.BadParameter(f"--key-delimiter is for lines, not for {form}; see --key-field")


def _parse_header(text: str) -> Header:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"--header takes NAME=VALUE, not {text!r}")
    return name, value.encode()
