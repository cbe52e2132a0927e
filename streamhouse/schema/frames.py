"""DataFrames and Arrow data as typed columns, by way of DuckDB: nothing here looks at single records.

DuckDB reads pandas, Polars, PyArrow and whatever speaks the Arrow PyCapsule protocol, casts each column to
the type of its field, and hands Arrow arrays back, whose buffers are those that a block stores.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from operator import not_
from typing import Any, Final, NamedTuple

import msgspec

from streamhouse.errors import InvalidRecordError, nearest
from streamhouse.format.arrays import cut_array
from streamhouse.format.columns import ArrowColumn, BinaryColumn, Bound
from streamhouse.format.integers import bitmap
from streamhouse.schema import database
from streamhouse.schema.casts import FRACTIONAL, TEXTS, ZONED, cut, fits, hint
from streamhouse.schema.incoming import (
    RANGED,
    check_range,
    check_required,
    check_text,
    column_of,
    ranged_within,
)
from streamhouse.schema.model import INTEGERS, Field, Schema, Type, quoted
from streamhouse.schema.objectcolumns import is_pandas, without_objects
from streamhouse.schema.shred import NUMBER, VALUE, known_bounds

_FRAME: Final = "frame"
_STREAM: Final = "stream"
_CHUNK: Final = "chunk"
_SHOWN_MAX: Final = 80
_KEY: Final = "k"
_TIME: Final = "t"


class Chunk(NamedTuple):
    """Some records of a frame.

    Attributes:
        value: A struct, with bounds; null for tombstones.
        key: The column of keys, where there is one.
        timestamps: int64 milliseconds, where there is a column of them.
    """

    value: ArrowColumn
    key: BinaryColumn | None
    timestamps: bytes | None


def is_frame(values: Any) -> bool:
    """Whether this is data in columns: a DataFrame, something Arrow, or a capsule of that."""
    return (
        hasattr(values, "__arrow_c_stream__")
        or hasattr(values, "__arrow_c_array__")
        or type(values).__name__ == "PyCapsule"
        or is_pandas(values)
    )


def is_stream(frame: Any) -> bool:
    """Whether a frame can be read only once."""
    return not hasattr(frame, "__len__")


def chunks_of(
    schema: Schema, frame: Any, key: str | None = None, timestamp: str | None = None
) -> list[Chunk]:
    """The records of a frame.

    Args:
        schema: Of the topic. Columns are matched by name; optional fields may be missing.
        frame: See :func:`is_frame`.
        key: The column that has the keys, text or bytes. It need not be a field.
        timestamp: Likewise the timestamps, as times or milliseconds since 1970.

    Raises:
        InvalidRecordError: A column is missing, unknown, of a wrong type, or has a value that does not fit.
    """
    import duckdb

    told = _told_types(frame)
    if type(frame).__name__ == "DuckDBPyRelation":
        frame = _Streamed(frame)  # a relation of another database, which would be refused as such
    ready: Mapping[str, ArrowColumn] = {}
    if is_pandas(frame):
        frame, ready = without_objects(schema, frame, key, timestamp)
    present = _present(frame)
    once = is_stream(frame)

    def converted(*, alone: bool) -> list[Chunk]:
        with database.cursor(alone=alone) as connection:
            connection.register(_STREAM if once else _FRAME, frame)
            if once:
                connection.execute(f"create temp table {_FRAME} as from {_STREAM}")
                connection.unregister(_STREAM)
            return _Frame(connection, schema, told, ready, present, key, timestamp).chunks()

    try:
        with suppress(database.DatabaseLostError):
            return converted(alone=once)
        return converted(alone=True)
    except duckdb.Error as error:
        raise InvalidRecordError(f"the frame cannot be read: {_plain(error)}") from error


class _Frame:
    """What a connection has under the name of ``_FRAME``.

    Args:
        connection: To DuckDB.
        schema: Of the topic.
        told: See :func:`_told_types`.
        ready: Fields that need not be converted any more.
        present: A flag for each record, 0 for tombstones; ``None``: there are none of these.
        key: The column of keys, if there is one.
        timestamp: Likewise of timestamps.
    """

    def __init__(
        self,
        connection: Any,
        schema: Schema,
        told: Mapping[str, str],
        ready: Mapping[str, ArrowColumn],
        present: bytes | None,
        key: str | None,
        timestamp: str | None,
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._ready = ready
        self._present = present
        self._key = key
        self._timestamp = timestamp
        described = connection.execute(f"describe {_FRAME}").fetchall()
        self._types = {row[0]: row[1] for row in described} | dict(told)

    def chunks(self) -> list[Chunk]:
        """All records."""
        self._check_names()
        selected = [f"{self._cast(field)} as f{index}" for index, field in enumerate(self._schema.fields)]
        if self._key is not None:
            selected.append(f"{self._key_cast(self._key)} as {_KEY}")
        if self._timestamp is not None:
            selected.append(f"{self._time_cast(self._timestamp)} as {_TIME}")
        self._check_whole_numbers()
        self._check_texts()
        return list(self._read(selected))

    def _read(self, selected: Sequence[str]) -> Iterator[Chunk]:
        import duckdb
        from nanoarrow.c_array_stream import c_array_stream

        query = f"select {', '.join(selected)} from {_FRAME}"  # noqa: S608 - names are quoted
        try:
            arrays = list(c_array_stream(self._connection.sql(query)))
        except (duckdb.Error, RuntimeError) as error:
            raise self._culprit(error) from None
        start = 0
        for array in arrays:
            yield self._chunk(array, start)
            start += array.length

    def _culprit(self, error: Exception) -> InvalidRecordError:
        """The error with the name of the field, found by casting one column after the other."""
        import duckdb

        if not database.is_alive(self._connection):
            return InvalidRecordError(f"the frame cannot be read: {_plain(error)}")
        for field in self._schema.fields:
            try:
                self._connection.execute(f"select max({self._cast(field)}) from {_FRAME}").fetchall()  # noqa: S608
            except duckdb.Error as found:
                return InvalidRecordError(f"field {field.name}: {_plain(found)}")
        return InvalidRecordError(f"the frame does not fit the schema: {_plain(error)}")

    # --- what goes where ---------------------------------------------------------------------------

    def _check_names(self) -> None:
        names = [field.name for field in self._schema.fields]
        for name in self._types:
            if name not in names and name not in (self._key, self._timestamp):
                raise InvalidRecordError(
                    f"the frame has a column {name!r} that is no field of the schema{nearest(name, names)}"
                )
        for field in self._schema.fields:
            if field.name not in self._types and field.name not in self._ready and not field.optional:
                raise InvalidRecordError(
                    f"field {field.name}: the frame has no such column, and it is required"
                )
        for what, name in (("keys", self._key), ("timestamps", self._timestamp)):
            if name is not None and name not in self._types:
                raise InvalidRecordError(
                    f"{what}={name!r} is no column of the frame{nearest(name, self._types)}"
                )

    def _cast(self, field: Field) -> str:
        source = self._types.get(field.name)
        if source is None or field.name in self._ready:
            return f"null::{field.type.sql}"
        name = quoted(field.name)
        if field.type.kind == "json" and source != "JSON" and not _UNTOLD.search(source):
            return f"to_json({name})"
        looked_at = self._may_have_fractions(field) or self._is_text_of_time(field)
        if not (looked_at or fits(field.name, source, field.type)):
            raise InvalidRecordError(
                f"field {field.name}: a column of {source} does not become {field.type}"
                f"{hint(source, field.type)}"
            )
        return f"({cut(name, source, field.type)})::{field.type.sql}"

    def _key_cast(self, name: str) -> str:
        source = self._types[name]
        if source == "BLOB":
            return quoted(name)
        if source == "VARCHAR" or source.startswith("ENUM"):
            return f"encode({quoted(name)}::varchar)"
        raise InvalidRecordError(f"keys={name!r} is a column of {source}: keys are text or bytes")

    def _time_cast(self, name: str) -> str:
        source = self._types[name]
        if source in ZONED:
            us = f"epoch_us({cut(quoted(name), source, Type('timestamptz'))})"
            return f"({us} - ({us} % 1000 + 1000) % 1000) // 1000"  # cut, also before 1970
        if source == "BIGINT":
            return quoted(name)
        raise InvalidRecordError(
            f"timestamps={name!r} is a column of {source}: use times with a time zone, or BIGINT milliseconds"
        )

    def _check_whole_numbers(self) -> None:
        """See that no fraction is lost without a word; with nulls, integers of pandas are floats."""
        doubtful = list(filter(self._may_have_fractions, self._schema.fields))
        if not doubtful:
            return
        tests = [f"bool_or({quoted(f.name)} != trunc({quoted(f.name)}))" for f in doubtful]
        (found,) = self._connection.execute(f"select {', '.join(tests)} from {_FRAME}").fetchall()  # noqa: S608
        for field, fraction in zip(doubtful, found, strict=True):
            if fraction:
                raise InvalidRecordError(f"field {field.name}: the column has numbers that are not whole")

    def _check_texts(self) -> None:
        """See that text which is cast to dates and times says neither less nor more than these do."""
        fields = list(filter(self._is_text_of_time, self._schema.fields))
        if not fields:
            return
        others = [
            f"min({name}) filter (not regexp_full_match({name}, '{TEXTS[field.type.kind].pattern}'))"
            for field, name in [(field, quoted(field.name)) for field in fields]
        ]
        (found,) = self._connection.execute(f"select {', '.join(others)} from {_FRAME}").fetchall()  # noqa: S608
        for field, text in zip(fields, found, strict=True):
            if text is not None:
                raise InvalidRecordError(
                    f"field {field.name}: the column has {text[:_SHOWN_MAX]!r}, which is no "
                    f"{TEXTS[field.type.kind].meaning}"
                )

    def _is_text_of_time(self, field: Field) -> bool:
        is_text = self._types.get(field.name) == "VARCHAR" and field.name not in self._ready
        return is_text and field.type.kind in TEXTS

    def _may_have_fractions(self, field: Field) -> bool:
        source = self._types.get(field.name, "").split("(", maxsplit=1)[0]
        return field.type.kind in INTEGERS and source in FRACTIONAL and field.name not in self._ready

    # --- Arrow arrays to columns ---------------------------------------------------------------------

    def _chunk(self, array: Any, start: int) -> Chunk:
        fields = self._schema.fields
        columns = [
            cut_array(self._ready[field.name], start, start + array.length)
            if field.name in self._ready
            else column_of(field.name, field.type, array.child(index))
            for index, field in enumerate(fields)
        ]
        validity = None
        if self._present is not None:
            validity = bitmap(self._present[start : start + array.length])
        for field, column in zip(fields, columns, strict=True):
            check_required(field.name, field, column, validity)
            check_text(field.name, field.type, column)
            for ranged in ranged_within(field.name, field.type, column):
                self._extremes([ranged])
        bounds = self._bounds(columns)
        children = tuple(
            msgspec.structs.replace(column, bounds=bounds.get(index)) for index, column in enumerate(columns)
        )
        key = timestamps = None
        rest = len(fields)
        if self._key is not None:
            column = column_of(_KEY, Type("blob"), array.child(rest))
            key = column.entries(column.validity)
            rest += 1
        if self._timestamp is not None:
            column = column_of(_TIME, Type("bigint"), array.child(rest))
            if column.validity is not None:
                raise InvalidRecordError(f"timestamps={self._timestamp!r} has a null")
            (timestamps,) = column.buffers
        return Chunk(ArrowColumn(VALUE, "+s", array.length, validity, (), children), key, timestamps)

    def _bounds(self, columns: Sequence[ArrowColumn]) -> dict[int, tuple[Bound, Bound]]:
        fields = self._schema.fields
        ordered = [index for index, field in enumerate(fields) if _ordered(field.type)]
        found = self._extremes(
            [(fields[index].name, fields[index].type, columns[index]) for index in ordered]
        )
        known = [None if low is None else known_bounds(low, high) for low, high in found]
        return {index: bounds for index, bounds in zip(ordered, known, strict=True) if bounds is not None}

    def _extremes(self, columns: Sequence[tuple[str, Type, ArrowColumn]]) -> list[tuple[Any, Any]]:
        """The smallest and the largest value of columns, as what is stored of them, and whether they fit.

        Args:
            columns: Paths, types, and the columns, which are equally long.
        """
        from streamhouse.schema.arrow import arrow_array, struct_type

        if not columns:
            return []
        fields = [
            Field(f"f{index}", _STORED.get(type_.kind, type_), True)
            for index, (_, type_, _) in enumerate(columns)
        ]
        count = columns[0][2].count
        struct = ArrowColumn(_CHUNK, "+s", count, None, (), tuple(column for _, _, column in columns))
        self._connection.register(_CHUNK, arrow_array(struct, struct_type(fields), 0, count))
        wanted = [
            f"{function}({field.name})" + ("::hugeint" if field.type.kind == "decimal" else "")
            for field in fields
            for function in ("min", "max")
        ]
        (found,) = self._connection.execute(f"select {', '.join(wanted)} from {_CHUNK}").fetchall()  # noqa: S608
        self._connection.unregister(_CHUNK)
        extremes = list(zip(found[::2], found[1::2], strict=True))
        for (path, type_, _), (low, high) in zip(columns, extremes, strict=True):
            if type_.kind in RANGED and low is not None:
                check_range(path, type_, low, high)
        return extremes


class _Streamed:
    """Something whose Arrow stream is all that is wanted of it."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._source.__arrow_c_stream__(requested_schema)


def _told_types(frame: Any) -> dict[str, str]:
    """Types of a DuckDB relation or of a result of which their Arrow streams say something else.

    JSON is text there. The others are to be refused: large UHUGEINT become negative, times lose their zone,
    and bits are bytes.
    """
    types = getattr(frame, "types", None)
    if not isinstance(types, list):
        return {}
    named = zip(frame.columns, map(str, types), strict=True)
    return {name: type_ for name, type_ in named if type_ == "JSON" or _UNTOLD.search(type_)}


def _present(frame: Any) -> bytes | None:
    """Which of the structs of an array are there, as flags; ``None``: all, or it is a table.

    DuckDB takes the fields of a struct for columns, null where the struct is, and does not tell where.
    """
    if hasattr(frame, "columns") or not hasattr(frame, "is_null"):  # those of PyArrow and Polars have that
        return None
    nulls = frame.is_null()
    flags = bytes(map(not_, nulls.to_pylist() if hasattr(nulls, "to_pylist") else nulls.to_list()))
    return flags if 0 in flags else None


def _ordered(type_: Type) -> bool:
    return type_.kind in INTEGERS or type_.kind in {"float", "double", "decimal", "varchar", *NUMBER}


def _plain(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


_UNTOLD: Final = re.compile(r"\b(UHUGEINT|BIT|TIME WITH TIME ZONE)\b")
_STORED: Final = {  # what DuckDB compares as numbers or bytes, without a look at what they mean
    "varchar": Type("blob"),
    "date": Type("integer"),
    "decimal": Type("decimal", 38),
    **dict.fromkeys(NUMBER.keys() - {"date"}, Type("bigint")),
}
