"""What is proposed is what everybody will read, and somebody can.

A commit is encoded on the commit thread, together with what others propose at that moment, and decoded
strictly by every process from then on. A text with half a surrogate pair would fail the records of others
there, and a number that is a float would make the log unreadable for good. So an operation is written and
read back first, on the thread of whoever proposes it.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from streamhouse.errors import InvalidInputError
from streamhouse.format.operations import Operation
from streamhouse.records import whole_number

_PATH: Final = re.compile(r"\$\[(\d+)\]")  # in what msgspec says; the tag comes first


def read_back(operation: Operation) -> Operation:
    """The operation as every process will read it: of plain numbers and text, whatever subclasses it came in.

    Raises:
        InvalidInputError: It cannot be written, or nobody could read it; the message names the field.
    """
    try:
        written = _encode(operation)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _refused(operation, _unwritable(operation), error) from None
    try:
        return _decode(written)
    except msgspec.ValidationError as error:
        found = _PATH.search(str(error))
        fields = operation.__struct_fields__
        raise _refused(operation, fields[int(found[1]) - 1] if found else "it", error) from None


def _plain(value: Any) -> str | int:
    """What a subclass stands for, as those of NumPy do."""
    return str.__str__(value) if isinstance(value, str) else whole_number(value)


_encode: Final = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_decode: Final = msgspec.msgpack.Decoder(Operation).decode


def _unwritable(operation: Operation) -> str:
    """The first field that cannot be written."""
    for field in operation.__struct_fields__:
        try:
            _encode(getattr(operation, field))
        except (TypeError, ValueError, OverflowError, RecursionError):
            return field
    return "it"


def _refused(operation: Operation, field: str, error: Exception) -> InvalidInputError:
    what = type(operation).__name__
    return InvalidInputError(
        f"{field} of {what} cannot be stored: {error}; pass plain numbers and valid text"
    )
