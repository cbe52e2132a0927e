"""Queries that ask only for counts and for the first and last offset and time: they need no records.

``select max(timestamp) from orders`` is what every dashboard asks, and the log knows the answer without
reading. DuckDB wants rows to aggregate. So a partition is given to it as two rows, one with the smallest
offset and time and one with the largest; a column ``records`` has how many records the first one counts for.

That is right only for queries whose every part is the same for these two rows as for all records: aggregates
``min``, ``max`` and ``count(*)`` of one topic, with conditions on, and groups of, nothing but topic and
partition. Whether a query is one of those is read off DuckDB's own syntax tree, in which ``count(*)`` becomes
the sum of ``records``. Any part that is not known makes it an ordinary query.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from streamhouse.sql.mentions import Mentions

RECORDS: Final = "records"
"""The column that says how many records a row stands for."""

_AGGREGATES: Final = frozenset(("min", "max"))
_OF_PARTITIONS: Final = frozenset(("topic", "partition"))
_SWEEPING: Final = frozenset(("offset", "timestamp"))
_EXTREMES: Final = frozenset(("topic", "partition", "offset", "timestamp"))
_PLAIN: Final = frozenset(
    ("BETWEEN", "CASE", "CAST", "COMPARISON", "CONJUNCTION", "CONSTANT", "OPERATOR", "PARAMETER", "TYPE")
)
_UNUSED: Final = ("qualify", "sample")
_CLAUSES: Final = ("select_list", "modifiers", "group_expressions", "where_clause", "having")
_WITH_AGGREGATES: Final = frozenset(("select_list", "modifiers", "having"))


_Columns: TypeAlias = frozenset[tuple[str, ...]]
"""Columns as they may be written, in lower case: with and without the name of the relation."""


class _OtherQueryError(Exception):
    """The query needs its records."""


class _Known(NamedTuple):
    """What may appear in a clause.

    Attributes:
        plain: Columns outside of aggregates.
        aggregated: Those within; ``None``: no aggregate may.
    """

    plain: _Columns
    aggregated: _Columns | None


def asks_for_extremes(mentions: Mentions) -> bool:
    """Whether a look at the tree may be worth it."""
    if "count" in mentions.words:
        return True
    return not mentions.words.isdisjoint(_AGGREGATES) and not _SWEEPING.isdisjoint(
        map(str.lower, mentions.names)
    )


def rewritten(tree: str, topic: str, columns: list[str]) -> str | None:
    """The tree of a query over the condensed topic; ``None`` if it needs the records.

    Args:
        tree: What ``json_serialize_sql`` made of the query.
        topic: The topic.
        columns: Names of the columns of its result, which are kept.
    """
    document = msgspec.json.decode(tree)
    try:
        (statement,) = document["statements"]
        node = statement["node"]
        if not _is_plain(node, topic) or len(node["select_list"]) != len(columns):
            return None
        if not node["group_expressions"] and not any(map(_has_aggregate, node["select_list"])):
            return None
        table = node["from_table"]
        relation = table["alias"] or table["table_name"]
        for clause in _CLAUSES:
            plain = _written(_OF_PARTITIONS, relation)
            if clause == "modifiers":
                plain |= {(name.lower(),) for name in columns}
            aggregated = _written(_EXTREMES, relation) if clause in _WITH_AGGREGATES else None
            node[clause] = _rewrite(node[clause], _Known(plain, aggregated))
        for expression, name in zip(node["select_list"], columns, strict=True):
            expression["alias"] = name
    except (_OtherQueryError, KeyError, ValueError):
        return None
    return msgspec.json.encode(document).decode()


def _written(columns: Iterable[str], relation: str) -> _Columns:
    """A longer name is a field of a struct, whose own name may be that of a column."""
    return frozenset(path for column in columns for path in ((column,), (relation.lower(), column)))


def _is_plain(node: dict[str, Any], topic: str) -> bool:
    table = node["from_table"]
    return (
        node["type"] == "SELECT_NODE"
        and table["type"] == "BASE_TABLE"
        and table["qualified_name"]["path"] == [table["table_name"]]
        and table["table_name"].casefold() == topic.casefold()
        and not (table["sample"] or table["at_clause"] or table["column_name_alias"])
        and not any(node[clause] for clause in _UNUSED)
        and not node["cte_map"]["map"]
        and all(len(path) == 1 for path in node["group_sets"])
    )


def _has_aggregate(part: Any) -> bool:
    if isinstance(part, dict):
        known = {"count_star", *_AGGREGATES}
        return part.get("function_name") in known or any(map(_has_aggregate, part.values()))
    return isinstance(part, list) and any(map(_has_aggregate, part))


def _rewrite(part: Any, known: _Known) -> Any:
    """A part of the tree, with every count in it replaced."""
    if isinstance(part, list):
        return [_rewrite(child, known) for child in part]
    if not isinstance(part, dict):
        return part
    kind = part.get("class")
    if kind == "COLUMN_REF":
        _check_column(part, known.plain)
        return part
    if kind == "FUNCTION" and not part["is_operator"]:
        return _rewrite_aggregate(part, known.aggregated)
    if kind is not None and kind != "FUNCTION" and kind not in _PLAIN:
        raise _OtherQueryError
    return {name: _rewrite(child, known) for name, child in part.items()}


def _rewrite_aggregate(part: dict[str, Any], known: _Columns | None) -> dict[str, Any]:
    name, arguments = part["function_name"], part["arguments"]
    plain = part["qualified_name"]["path"] == [name] and not part["filter"] and not part["export_state"]
    if known is None or not plain or part["order_bys"]["orders"]:
        raise _OtherQueryError
    if name == "count_star" and not arguments and not part["distinct"]:
        return _sum_of_records(part)
    if name in _AGGREGATES and len(arguments) == 1 and arguments[0]["expression"]["class"] == "COLUMN_REF":
        _check_column(arguments[0]["expression"], known)
        return part
    raise _OtherQueryError


def _check_column(part: dict[str, Any], known: _Columns) -> None:
    if tuple(map(str.lower, part["column_names"])) not in known:
        raise _OtherQueryError


def _sum_of_records(count: dict[str, Any]) -> dict[str, Any]:
    """The expression ``coalesce(sum(records), 0)::bigint``."""
    here = {name: count[name] for name in ("alias", "query_location")}
    column = {"class": "COLUMN_REF", "type": "COLUMN_REF", "column_names": [RECORDS]}
    total = {
        **count,
        "alias": "",
        "function_name": "sum",
        "qualified_name": {"path": ["sum"]},
        "arguments": [{"name": "", "expression": column}],
    }
    zero = {"class": "CONSTANT", "type": "VALUE_CONSTANT", "literal": {"kind": "INTEGER", "text": "0"}}
    either = {"class": "OPERATOR", "type": "OPERATOR_COALESCE", "children": [total, zero]}
    bigint = {"class": "TYPE", "type": "TYPE", "type_name": "BIGINT", "qualified_name": {"path": ["BIGINT"]}}
    return {"class": "CAST", "type": "OPERATOR_CAST", **here, "child": either, "type_expr": bigint}
