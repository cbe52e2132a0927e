"""Random queries over the topics ``a`` and ``b``, in an SQL that a log and a plain DuckDB both understand.

Everything is deterministic: rows come in an order that is total, or are sorted by whoever compares; there are
no sums of floating-point numbers, whose last digit depends on the order of addition.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.sql.conftest import BEGIN_MS

SPAN_MS = 100_000
OFFSETS = 60
TEXTS = ("x", "k1", "k2", "k3", "", "ü", "no JSON", r"\xFF")


class Queries:
    """A stream of queries that depends on nothing but its seed."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def query(self) -> str:
        """The next one."""
        shapes: list[Callable[[], str]] = [
            *3 * [self._rows],
            *2 * [self._aggregate],
            *2 * [self._groups],
            *2 * [self._join],
            self._extremes,
            self._page,
            self._window,
            self._sets,
            self._subquery,
            self._expression,
            self._asof,
        ]
        return self._dice.choice(shapes)()

    # --- shapes ----------------------------------------------------------------------------------------

    def _rows(self) -> str:
        columns = self._columns()
        distinct = self._dice.choice(["", "", "distinct "])
        return f"select {distinct}{columns} from {self._topic()} t where {self._condition('t')}"

    def _aggregate(self) -> str:
        several = ", ".join(self._aggregated("t") for _ in range(self._dice.randint(1, 4)))
        return f"select {several} from {self._topic()} t where {self._condition('t')}"

    def _groups(self) -> str:
        keys = self._dice.sample(
            ['t."partition"', "t.key", "field(t.value, 's')", "t.topic", 't."offset" % 5', "t.value is null"],
            2,
        )
        having = self._dice.choice(["", "", " having count(*) > 2", ' having max(t."offset") > 20'])
        several = ", ".join([*keys, self._aggregated("t"), self._aggregated("t")])
        where = self._dice.choice(["", f" where {self._condition('t')}"])
        return f"select {several} from {self._topic()} t{where} group by {', '.join(keys)}{having}"

    def _extremes(self) -> str:
        several = ", ".join(
            self._dice.choice(
                ["count(*)", 'min(t."offset")', 'max(t."offset")', "min(t.timestamp)", "max(t.timestamp)"]
            )
            for _ in range(3)
        )
        where = self._dice.choice(["", ' where t."partition" in (0, 2)', f" where {self._condition('t')}"])
        grouped = self._dice.choice(["", 't."partition"'])
        columns = f"{grouped}, {several}" if grouped else several
        return f"select {columns} from {self._topic()} t{where}" + (f" group by {grouped}" if grouped else "")

    def _join(self) -> str:
        kind = self._dice.choice(["join", "left join", "full join", "semi join", "anti join"])
        on = self._dice.choice(
            [
                "l.key = r.key",
                'l."offset" = r."offset" and l."partition" = r."partition"',
                "field(l.value, 's') = r.key",
                'l."offset" = r."offset" + 1',
                "l.timestamp = r.timestamp",
                "l.key is not distinct from r.key",
            ]
        )
        columns = 'l."partition", l."offset"'
        if "semi" not in kind and "anti" not in kind:
            columns += ', r."partition", r."offset", r.value'
        left = f"(select * from {self._topic()} x where {self._condition('x')})"
        where = "" if kind in {"semi join", "anti join"} else f" where {self._condition('r')} or true"
        return f"select {columns} from {left} l {kind} {self._topic()} r on {on}{where}"

    def _page(self) -> str:
        order = self._dice.choice(['"offset" desc, "partition"', 'timestamp, "partition", "offset"'])
        return (
            f"select {self._columns()} from {self._topic()} t where {self._condition('t')}"
            f" order by {order} limit {self._dice.randint(0, 20)} offset {self._dice.choice([0, 0, 3])}"
        )

    def _window(self) -> str:
        function = self._dice.choice(
            ["row_number()", 'sum(t."offset")', "lag(t.key)", "count(t.value)", "max(t.timestamp)"]
        )
        over = 'partition by t."partition" order by t."offset"'
        return (
            f'select t."partition", t."offset", {function} over ({over})'
            f" from {self._topic()} t where {self._condition('t')}"
        )

    def _sets(self) -> str:
        operator = self._dice.choice(["union", "union all", "except", "intersect"])
        sides = [
            f"select key, value is null as n from {self._topic()} t where {self._condition('t')}"
            for _ in "lr"
        ]
        return f"{sides[0]} {operator} {sides[1]}"

    def _subquery(self) -> str:
        inner = self._topic()
        condition = self._dice.choice(
            [
                f"t.key in (select key from {inner} i where {self._condition('i')})",
                f"exists (select 1 from {inner} i where i.key = t.key and {self._condition('i')})",
                f't."offset" > (select avg("offset") from {inner} i where {self._condition("i")})',
                f't."offset" = (select max("offset") from {inner} i where i."partition" = t."partition")',
            ]
        )
        return f'select t."partition", t."offset" from {self._topic()} t where {condition}'

    def _expression(self) -> str:
        numbers = f"select *, field(value, 'n')::int as n from {self._topic()} t where {self._condition('t')}"
        return (
            f"with w as ({numbers})"
            f' select key, sum(n), count(n), list(n order by n, "offset") from w group by key'
        )

    def _asof(self) -> str:
        left = f"(select * from {self._topic()} x where {self._condition('x')})"
        latest = f"(select timestamp, max(key) as key from {self._topic()} group by timestamp)"
        columns = 'l."partition", l."offset", r.key'
        return f"select {columns} from {left} l asof join {latest} r on l.timestamp >= r.timestamp"

    # --- parts -----------------------------------------------------------------------------------------

    def _topic(self) -> str:
        return self._dice.choice(["a", "a", "b"])

    def _columns(self) -> str:
        every = [
            *("topic", '"partition"', '"offset"', "timestamp", "key", "value", "headers"),
            *(
                "field(value, 'n')",
                "field(value, 's')",
                "length(value)",
                "headers[1].value",
                "epoch_ms(timestamp)",
            ),
        ]
        return ", ".join(self._dice.sample(every, self._dice.randint(1, 5)))

    def _aggregated(self, table: str) -> str:
        expression = self._dice.choice(
            [
                "count(*)",
                "count({t}.key)",
                "count(distinct {t}.value)",
                'min({t}."offset")',
                'max({t}."offset")',
                'sum({t}."offset")',
                "min({t}.timestamp)",
                "max({t}.timestamp)",
                'max({t}."partition")',
                "min({t}.key)",
                "max({t}.value)",
                "sum(field({t}.value, 'n')::int)",
                "sum(field({t}.value, 'f')::decimal(18, 4))",
                "sum(len({t}.headers))",
                'arg_max({t}.key, {t}."offset" * 10 + {t}."partition")',
                "count(*) filter ({t}.key is null)",
            ]
        )
        return expression.format(t=table)

    def _condition(self, table: str, depth: int = 0) -> str:
        dice = self._dice
        if depth == 0 and dice.random() < 0.5:  # what a log takes over
            return " and ".join(
                dice.choice([self._on_numbers, self._on_times])(table) for _ in range(dice.randint(1, 2))
            )
        if depth < 3 and dice.random() < 0.45:
            parts = [self._condition(table, depth + 1) for _ in range(2)]
            return dice.choice(["({} and {})", "({} or {})", "not ({} and {})"]).format(*parts)
        return dice.choice([self._on_numbers, self._on_times, self._on_texts, self._on_fields])(table)

    def _on_numbers(self, table: str) -> str:
        dice = self._dice
        column, top = dice.choice([('"offset"', OFFSETS), ('"offset"', OFFSETS), ('"partition"', 3)])
        value = dice.randint(-1, top)
        return f"{table}.{column} " + dice.choice(
            [
                *2 * [f"{dice.choice(['=', '<>', '<', '<=', '>', '>='])} {value}"],
                f"between {value} and {value + dice.randint(-1, 20)}",
                f"in ({value}, {dice.randint(0, top)}, {dice.randint(0, top)})",
                f"not in ({value}, {dice.randint(0, top)})",
                "is null",
                "is not null",
                f"% {dice.randint(2, 5)} = 1",
                f"= {value} + 0.5",
                f"is distinct from {value}",
            ]
        )

    def _on_times(self, table: str) -> str:
        dice = self._dice
        second = BEGIN_MS + dice.randint(-1, SPAN_MS // 1000) * 1000
        micros = second * 1000 + dice.choice([0, 0, 0, 1, 999, 7000])
        other = micros + dice.randint(-1000, 30_000_000)
        return f"{table}.timestamp " + dice.choice(
            [
                *2 * [f"{dice.choice(['=', '<>', '<', '<=', '>', '>='])} make_timestamptz({micros})"],
                f"between make_timestamptz({micros}) and make_timestamptz({other})",
                f"in (make_timestamptz({micros}), make_timestamptz({BEGIN_MS * 1000}))",
                "is not null",
                f">= make_timestamptz({micros}) - interval 3 second",
            ]
        )

    def _on_texts(self, table: str) -> str:
        dice = self._dice
        column = dice.choice(["key", "key", "value", "topic"])
        text = dice.choice(["a", "b"]) if column == "topic" else dice.choice(TEXTS)
        return f"{table}.{column} " + dice.choice(
            [
                f"{dice.choice(['=', '<>', '<', '>='])} '{text}'",
                f"in ('{text}', 'k1')",
                f"like '{text}%'",
                "is null",
                "is not null",
                f"is distinct from '{text}'",
                f"|| '' = '{text}'",
            ]
        )

    def _on_fields(self, table: str) -> str:
        dice = self._dice
        return dice.choice(
            [
                f"field({table}.value, 'n')::int {dice.choice(['=', '<', '>='])} {dice.randint(-1, 10)}",
                f"field({table}.value, 's') = '{dice.choice(TEXTS)}'",
                f"field({table}.value, 'n') is null",
                f"coalesce(field({table}.value, 's'), 'x') = 'x'",
                f"len({table}.headers) > {dice.randint(0, 2)}",
                f"length({table}.value) > {dice.randint(0, 20)}",
            ]
        )
