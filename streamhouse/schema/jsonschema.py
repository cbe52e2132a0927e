"""Schemas out of `JSON schemas <https://json-schema.org>`_, as far as those say what has columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from streamhouse.errors import InvalidSchemaError
from streamhouse.schema.model import Field, Schema, Type, checked

_DEPTH_MAX: Final = 64
_JSON: Final = Type("json")


def schema_of_json_schema(schema: Mapping[str, Any]) -> Schema:
    """The schema of the objects that a JSON schema describes.

    What has no type, or several, is kept as JSON. Constraints other than types are not looked at.

    Raises:
        InvalidSchemaError: It does not describe objects with properties.
    """
    reader = _Reader(schema)
    type_, _ = reader.read("", schema, 0)
    if type_.kind != "struct":
        raise InvalidSchemaError("the JSON schema does not describe an object with properties")
    return checked(type_.fields)


class _Reader:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def read(self, path: str, node: Any, depth: int) -> tuple[Type, bool]:
        """The type that a node describes, and whether it may be null."""
        if depth > _DEPTH_MAX:
            raise InvalidSchemaError(
                f"field {path}: the JSON schema refers to itself; leave its type out there"
            )
        if not isinstance(node, Mapping):
            return _JSON, True  # true and false are schemas too
        if "$ref" in node:
            return self.read(path, self._resolve(path, node["$ref"]), depth + 1)
        choices = node.get("anyOf") or node.get("oneOf")
        if choices:
            return self._one_of(path, choices, depth)
        if len(node.get("allOf", ())) == 1:
            return self.read(path, node["allOf"][0], depth + 1)
        kinds = node.get("type")
        names = [kinds] if isinstance(kinds, str) else list(kinds or ())
        optional = "null" in names or bool(node.get("nullable"))
        names = [name for name in names if name != "null"]
        if not names and ("enum" in node or "const" in node):
            values = node.get("enum", [node.get("const")])
            optional |= None in values
            names = list({_type_name(value) for value in values if value is not None})
        if not names and "properties" in node:
            names = ["object"]
        if sorted(names) == ["integer", "number"]:
            names = ["number"]
        if len(names) != 1:
            return _JSON, True
        return self._type(path, names[0], node, depth), optional

    def _type(self, path: str, name: str, node: Mapping[str, Any], depth: int) -> Type:
        if name == "string":
            if node.get("contentEncoding") == "base64":
                return Type("blob")
            return Type(_FORMATS.get(node.get("format", ""), "varchar"))
        if name == "array":
            if "items" not in node:
                return Type("list", fields=(Field("item", _JSON, True),))
            item, optional = self.read(f"{path}.item", node["items"], depth + 1)
            return Type("list", fields=(Field("item", item, optional),))
        if name == "object":
            return self._object(path, node, depth)
        if name not in _PLAIN:
            raise InvalidSchemaError(f"field {path}: unknown type {name!r} in the JSON schema")
        return _PLAIN[name]

    def _object(self, path: str, node: Mapping[str, Any], depth: int) -> Type:
        properties = node.get("properties")
        if properties:
            required = frozenset(node.get("required", ()))
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
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise InvalidSchemaError(
                f"field {path}: only references within the JSON schema work, not {reference!r}"
            )
        for step in reference[1:].split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, Mapping) or name not in node:
                raise InvalidSchemaError(f"field {path}: the JSON schema has no {reference}")
            node = node[name]
        return node


def _is_null(node: Any) -> bool:
    return isinstance(node, Mapping) and node.get("type") == "null"


def _type_name(value: Any) -> str:
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string")):
        if isinstance(value, kind):
            return name
    return "object"


_PLAIN: Final = {"integer": Type("bigint"), "number": Type("double"), "boolean": Type("boolean")}
_FORMATS: Final = {"date-time": "timestamptz", "date": "date", "time": "time", "uuid": "uuid"}
