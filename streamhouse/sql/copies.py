"""COPY to any URL that fsspec knows: DuckDB writes into a private folder, and what it wrote is uploaded.

DuckDB's own way to S3 is an extension that has to be downloaded and has credentials of its own. Besides, a
query that fails while it writes must not leave half a file where others look. So a target such as
``s3://bucket/x.parquet`` is replaced by a file of the same name in a temporary folder, the statement is run,
and the finished file is put where it belongs: whole, or not at all. With ``partition_by`` and the like the
target is a folder of files, for which DuckDB's rules hold: it has to be empty unless ``overwrite``,
``overwrite_or_ignore`` or ``append`` is among the options.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from streamhouse.errors import QueryError, StoreError
from streamhouse.sql.database import quoted
from streamhouse.sql.parameters import Values
from streamhouse.sql.script import Script, literal
from streamhouse.sql.targets import Target, find_target
from streamhouse.store.open import without_credentials
from streamhouse.store.outside import Outside, Place

_AT_ONCE: Final = 4
_COPYING: Final = frozenset(("COPY", "MULTI"))  # the latter with a PIVOT: DuckDB makes several of it
_FOLDER_OPTIONS: Final = frozenset(
    ("partition_by", "per_thread_output", "file_size_bytes", "hive_partition_by")
)

_NO_ROOM: Final = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class Copies:
    """A script on its way to DuckDB, whose COPY statements write into files of ours.

    Attributes:
        text: The script.
        values: Its parameters.
    """

    def __init__(self, text: str, values: Values) -> None:
        self.text = text
        self.values = values
        self._deliveries: list[_Delivery] = []

    def add(self, delivery: _Delivery) -> None:
        """What one of the statements writes."""
        self._deliveries.append(delivery)

    def deliver(self, relation: Any) -> Any:
        """Upload what was written; the result of the script, which may name files, with URLs in their place.

        Raises:
            StoreError: The store fails. Of that target nothing is there that was not there before, except
                that files which it had may be overwritten.
        """
        for delivery in self._deliveries:
            delivery.deliver()
        projection = _projection(relation, self._deliveries[-1]) if self._deliveries else None
        return relation if projection is None else relation.project(projection)

    def renamed(self, text: str) -> str:
        """What DuckDB says of its files, with URLs in their place; or that there is no room for them here."""
        reason = next((reason for reason in _NO_ROOM if reason in text), None)
        for delivery in self._deliveries:
            if reason is not None and delivery.folder in text:
                return _no_room(delivery.shown, reason)
            text = text.replace(delivery.local, delivery.shown)
        return text


@contextlib.contextmanager
def redirected(
    script: Script, values: Values, outside: Outside, evaluate: Callable[[str], Any]
) -> Iterator[Copies]:
    """A script with files in the place of URLs that it copies to. They are removed in the end.

    Args:
        script: The script.
        values: Its parameters.
        outside: Opens places.
        evaluate: Computes an expression.

    Raises:
        QueryError: A target is a folder that is not empty, and no option says what then.
        StoreError: It cannot be reached.
        InvalidUrlError: The URL cannot be understood.
    """
    copies = Copies(script.text, values)
    targets = [
        find_target(text, copies.values, evaluate) if kind in _COPYING else None
        for kind, text in script.statements
    ]
    if not any(targets):
        yield copies
        return
    folder = tempfile.mkdtemp(prefix="streamhouse-copy-")
    try:
        texts = []
        for number, (target, (_, text)) in enumerate(zip(targets, script.statements, strict=True)):
            if target is None:
                texts.append(text)
                continue
            own = Path(folder, str(number))
            own.mkdir()
            delivery = _Delivery(outside, target, own)
            delivery.check()
            copies.add(delivery)
            copies.values = target.filled(copies.values, delivery.local)
            texts.append(target.redirected(delivery.local))
        copies.text = "\n".join(texts)
        try:
            yield copies
        except QueryError as error:
            raise type(error)(copies.renamed(str(error))) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Delivery:
    """What one statement writes, and where it belongs."""

    def __init__(self, outside: Outside, target: Target, folder: Path) -> None:
        self._outside = outside
        self._options = target.options
        self._url = target.url.rstrip("/") if self._options & _FOLDER_OPTIONS else target.url
        self.folder = str(folder) + os.sep
        self.local = str(folder / (self._url.rpartition("/")[2] or "data"))
        self.shown = without_credentials(self._url)

    def check(self) -> None:
        if self._options & _FOLDER_OPTIONS:
            with self._folder() as place:
                self._refuse_overwriting(place)
        else:
            self._outside.open_file(self._url)[0].close()  # what is wrong with the URL is told now

    def deliver(self) -> None:
        if not os.path.isdir(self.local):  # noqa: PTH112
            place, name = self._outside.open_file(self._url)
            with contextlib.closing(place):
                place.upload(name, self.local)
            return
        with self._folder() as place:
            existing = self._refuse_overwriting(place)
            files = self._files()
            upload_all(place, files, taken_back={name for name, _ in files} - existing)
            if "overwrite" in self._options:
                place.delete_many(sorted(existing - {name for name, _ in files}))

    def _folder(self) -> contextlib.closing[Place]:
        return contextlib.closing(self._outside.open(self._url))

    def _refuse_overwriting(self, place: Place) -> set[str]:
        """What is there already, where that does no harm."""
        careless = self._options & {"overwrite", "overwrite_or_ignore", "append"}
        existing = {info.name for info in place.list("", limit=None if careless else 1)}
        if existing and not careless:
            raise QueryError(
                f'IO Error: Directory "{self.shown}" is not empty! Enable OVERWRITE option to overwrite files'
            )
        return existing

    def _files(self) -> list[tuple[str, str]]:
        """Names there and paths here. With ``append`` DuckDB takes names that nobody else will."""
        files = sorted(path for path in Path(self.local).rglob("*") if path.is_file())
        return [(path.relative_to(self.local).as_posix(), str(path)) for path in files]


def upload_all(
    place: Place, files: Sequence[tuple[str, str]], *, taken_back: Collection[str] = frozenset()
) -> None:
    """Upload files beside each other.

    Args:
        place: Where to.
        files: Names there and paths here.
        taken_back: Those of the names that are removed again if one upload fails.

    Raises:
        StoreError: The store fails.
    """
    with ThreadPoolExecutor(_AT_ONCE, "streamhouse-upload") as threads:
        uploads = {name: threads.submit(place.upload, name, path) for name, path in files}
        try:
            for upload in uploads.values():
                upload.result()
        except BaseException:
            threads.shutdown(wait=True, cancel_futures=True)
            done = [name for name, upload in uploads.items() if not upload.cancelled()]
            with contextlib.suppress(StoreError):
                place.delete_many([name for name in done if name in taken_back])
            raise


def _no_room(url: str, reason: str) -> str:
    return (
        f"the temporary folder {tempfile.gettempdir()} has no room for what is to be uploaded to {url}: "
        f"{reason}; set TMPDIR to one that has"
    )


def _projection(relation: Any, delivery: _Delivery) -> str | None:
    """The columns of a result with URLs in the place of files; ``None``: there are no files in it."""
    local, shown = literal(delivery.local), literal(delivery.shown)
    changed = {
        "VARCHAR": f"replace({{0}}, {local}, {shown})",
        "VARCHAR[]": f"list_transform({{0}}, lambda file: replace(file, {local}, {shown}))",
    }
    types = list(map(str, relation.types))
    if not changed.keys() & set(types):
        return None
    columns = zip(map(quoted, relation.columns), types, strict=True)
    return ", ".join(f"{changed.get(type_, '{0}').format(name)} as {name}" for name, type_ in columns)
