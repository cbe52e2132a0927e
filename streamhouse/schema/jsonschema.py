"""Schemas out of `JSON schemas <https://json-schema.org>`_, as far as those say what has columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from streamhouse.errors import InvalidSchemaError
from streamhouse.schema.model import Field, Schema, Type, checked

_DEPTH_MAX: Final = 64
_JSON: Final = Type("json")


def schema_of_json_schema(schema: Mapping[str, Any]) -> Schema:
    """The schema of the objects that a JSON schema describes.

    What has no type, or several, is kept as JSON; so is an object to which ``anyOf`` and its like add
    properties. Constraints other than types are not looked at.

    Raises:
        InvalidSchemaError: It does not describe objects with properties, or is no JSON schema.
    """
    reader = _Reader(schema)
    type_, _ = reader.read("", schema, 0)
    if type_.kind != "struct":
        raise InvalidSchemaError(
            "the JSON schema does not describe an object with properties, or leaves open which those are"
        )
    return checked(type_.fields)


class _Reader:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def read(self, path: str, node: Any, depth: int) -> tuple[Type, bool]:
        """The type that a node describes, and whether it may be null."""
        if depth > _DEPTH_MAX:
            raise _wrong(path, "the JSON schema refers to itself; leave its type out there")
        if not isinstance(node, Mapping):
            return _JSON, True  # true and false are schemas too
        if "$ref" in node:
            return self.read(path, self._resolve(path, node["$ref"]), depth + 1)
        if _is_open(node):
            choices = _list(path, node, "anyOf") or _list(path, node, "oneOf")
            if choices:
                return self._one_of(path, choices, depth)
            parts = _list(path, node, "allOf")
            if len(parts) == 1:
                return self.read(path, parts[0], depth + 1)
        names, optional = _type_names(path, node)
        if len(names) != 1:
            return _JSON, True
        return self._type(path, names[0], node, depth), optional

    def _type(self, path: str, name: str, node: Mapping[str, Any], depth: int) -> Type:
        if name == "string":
            if node.get("contentEncoding") == "base64":
                return Type("blob")
            format_ = node.get("format", "")
            if not isinstance(format_, str):
                raise _wrong(path, f"a format is text, not {format_!r}")
            return Type(_FORMATS.get(format_, "varchar"))
        if name == "array":
            if "items" not in node:
                return Type("list", fields=(Field("item", _JSON, True),))
            item, optional = self.read(f"{path}.item", node["items"], depth + 1)
            return Type("list", fields=(Field("item", item, optional),))
        if name == "object":
            return self._object(path, node, depth)
        if name not in _PLAIN:
            raise _wrong(path, f"unknown type {name!r} in the JSON schema")
        return _PLAIN[name]

    def _object(self, path: str, node: Mapping[str, Any], depth: int) -> Type:
        properties = node.get("properties", {})
        if not isinstance(properties, Mapping):
            raise _wrong(path, f"properties are an object, not {properties!r}")
        if properties:
            if _adds_properties(path, node):
                return _JSON
            required = _list(path, node, "required")
            fields = []
            for name, inner in properties.items():
                type_, null = self.read(f"{path}.{name}" if path else name, inner, depth + 1)
                fields.append(Field(name, type_, null or name not in required))
            return Type("struct", fields=tuple(fields))
        if isinstance(node.get("additionalProperties"), Mapping):
            value, null = self.read(f"{path}.value", node["additionalProperties"], depth + 1)
            fields = [Field("key", Type("varchar"), False), Field("value", value, null)]
            return Type("map", fields=tuple(fields))
        return _JSON

    def _one_of(self, path: str, choices: Any, depth: int) -> tuple[Type, bool]:
        read = [self.read(path, each, depth + 1) for each in choices if not _is_null(each)]
        if len(read) != 1:
            return _JSON, True
        return read[0][0], read[0][1] or len(choices) > 1

    def _resolve(self, path: str, reference: Any) -> Any:
        node: Any = self._root
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise _wrong(path, f"only references such as '#/$defs/name' work, not {reference!r}")
        for step in reference.split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if not isinstance(node, Mapping) or name not in node:
                raise _wrong(path, f"the JSON schema has no {reference}")
            node = node[name]
        return node


def _is_open(node: Mapping[str, Any]) -> bool:
    """Whether a node says nothing of its type, so that ``anyOf`` and its like do."""
    if "type" not in node:
        return "properties" not in node
    return node["type"] == "object" and not node.keys() & {"properties", "additionalProperties"}


def _adds_properties(path: str, node: Mapping[str, Any]) -> bool:
    """Whether objects may have properties besides those of their node, as alternatives or additions say."""
    branches = [branch for name in _COMBINATORS for branch in _list(path, node, name)]
    parts = [node.get("then"), node.get("else")]
    for branch in branches:
        if isinstance(branch, Mapping):
            parts += [branch, branch.get("then"), branch.get("else")]
    known = node["properties"]
    return any("$ref" in part or _names(part) - known.keys() for part in parts if isinstance(part, Mapping))


def _names(node: Mapping[str, Any]) -> frozenset[Any]:
    properties = node.get("properties")
    return frozenset(properties) if isinstance(properties, Mapping) else frozenset()


def _type_names(path: str, node: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The types of a node without null, and whether that is among them."""
    kinds = node.get("type", [])
    names = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise _wrong(path, f"a type is text or a list of texts, not {kinds!r}")
    optional = "null" in names or bool(node.get("nullable"))
    names = [name for name in names if name != "null"]
    if not names and ("enum" in node or "const" in node):
        values = _list(path, node, "enum") if "enum" in node else [node["const"]]
        optional |= None in values
        names = list({_type_name(value) for value in values if value is not None})
    if not names and "properties" in node:
        names = ["object"]
    return ["number"] if sorted(names) == ["integer", "number"] else names, optional


def _list(path: str, node: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = node.get(name, ())
    if not isinstance(found, list | tuple):
        raise _wrong(path, f"{name} is a list, not {found!r}")
    return found


def _wrong(path: str, text: str) -> InvalidSchemaError:
    return InvalidSchemaError(f"field {path}: {text}" if path else text)


def _is_null(node: Any) -> bool:
    return isinstance(node, Mapping) and node.get("type") == "null"


def _type_name(value: Any) -> str:
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string")):
        if isinstance(value, kind):
            return name
    return "object"


_COMBINATORS: Final = ("anyOf", "oneOf", "allOf")
_PLAIN: Final = {"integer": Type("bigint"), "number": Type("double"), "boolean": Type("boolean")}
_FORMATS: Final = {"date-time": "timestamptz", "date": "date", "time": "time", "uuid": "uuid"}
