"""Random queries over the typed topic ``c``, whose fields are columns.

Its blocks lie apart in ``n``, ``at`` and ``day``, so that their bounds rule many of them out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

DAYS = 12
TEXTS = ("k0", "k1", "k2", "k3", "", "ü", "zz")


class TypedQueries:
    """A stream of queries that depends on nothing but its seed.

    Args:
        seed: For the dice.
        fields: Names of all fields, also of those that come later.
    """

    def __init__(self, seed: int, fields: Iterable[str]) -> None:
        self._dice = random.Random(seed)
        self._fields = [f'"{name}"' for name in fields]

    def query(self) -> str:
        """The next one."""
        shapes: list[Callable[[], str]] = [
            *3 * [self._rows],
            *3 * [self._aggregate],
            self._groups,
            self._self_join,
            self._join,
            self._twice,
            *2 * [self._left_out],
            self._subquery,
            self._page,
        ]
        return self._dice.choice(shapes)()

    # --- shapes ----------------------------------------------------------------------------------------

    def _rows(self) -> str:
        every = [
            '"offset"',
            '"partition"',
            "key",
            "value",
            *self._fields,
            "place.x",
            "tags[1]",
            "d * 2",
            "m['k1']",
            "j->>'x'",
        ]
        columns = ", ".join(self._dice.sample(every, self._dice.randint(1, 5)))
        return f"select {columns} from c t where {self._condition('t')}"

    def _aggregate(self) -> str:
        several = ", ".join(self._aggregated("t") for _ in range(self._dice.randint(1, 3)))
        return f"select {several} from c t where {self._condition('t')}"

    def _groups(self) -> str:
        key = self._dice.choice(["t.s", "t.day", "t.ok", "t.n % 5", 't."partition"'])
        where = self._dice.choice(["", f" where {self._condition('t')}"])
        having = self._dice.choice(["", " having count(*) > 2", " having max(t.n) > 400"])
        return f"select {key}, {self._aggregated('t')} from c t{where} group by 1{having}"

    def _self_join(self) -> str:
        kind = self._dice.choice(["join", "left join", "full join"])
        on = self._dice.choice(["l.n = r.n + 1", "l.s = r.s and l.day = r.day", 'l."at" = r."at"'])
        where = self._dice.choice([self._condition("l"), self._condition("r"), "true"])
        also = self._dice.choice(["", f" and {self._condition('r')}"])
        return f"select l.n, r.n, r.s from c l {kind} c r on {on}{also} where {where}"

    def _join(self) -> str:
        kind = self._dice.choice(["join", "left join", "right join", "semi join", "anti join"])
        also = self._dice.choice(["", f" and {self._condition('l')}"])
        return f"select l.n, l.d from c l {kind} a r on l.s = r.key{also}" + self._dice.choice(
            ["", f" where {self._condition('l')}"]
        )

    def _twice(self) -> str:
        one, other = self._condition("t"), self._condition("t")
        return self._dice.choice(
            [
                f"select n, s from c t where {one} union all select n, s from c t where {other}",
                f"select n from c t where {one} except select n from c t where {other}",
                f"with w as (from c t where {one}) select x.n from w x join w t using (n) where {other}",
                f"with w as (from c) select count(*) from w t where {one}",
                f"with w as (from c) select max(n) from w t where n < (select max(n) from w t where {one})",
                f"select (select max(n) from c t where {one}), (select min(n) from c t where {other})",
            ]
        )

    def _left_out(self) -> str:
        """One of two scans is of no use, which DuckDB finds out after it has moved the conditions there."""
        one, other = f"(from c t where {self._condition('t')})", f"(from c t where {self._condition('t')})"
        rest = f"select n from {other}"
        useless = self._dice.choice(["join", "semi join", "left join", "asof join", "cross join"])
        on = {"asof join": " on l.n >= e.n", "cross join": ""}.get(useless, " on l.n = e.n")
        return self._dice.choice(
            [
                f"select l.n, l.s from {one} l left join (select distinct n from {other}) r on r.n = l.n",
                f"select l.n from c l left join (select s, max(n) from {one} group by s) r on r.s = l.s",
                f"select distinct l.n from c l left join {one} r on r.day = l.day",
                f"select l.n from {one} l {useless} (select 1 as n limit 0) e{on} union all {rest}",
                f"select n from {one} where n in (select 1 limit 0) union all {rest}",
                f"(select n from {one} intersect select 1 where false) union all {rest}",
            ]
        )

    def _subquery(self) -> str:
        inner = self._condition("i")
        condition = self._dice.choice(
            [
                f"t.n in (select n from c i where {inner})",
                f"not exists (select 1 from c i where i.s = t.s and {inner})",
                f"t.n > (select avg(n) from c i where {inner})",
                f"t.n = (select max(n) from c i where i.day = t.day and {inner})",
            ]
        )
        return f"select t.n, t.day from c t where {condition}"

    def _page(self) -> str:
        order = 'n desc, "offset", "partition"'
        limit = self._dice.randint(0, 20)
        return f"select n, f from c t where {self._condition('t')} order by {order} limit {limit}"

    # --- parts -----------------------------------------------------------------------------------------

    def _aggregated(self, table: str) -> str:
        expression = self._dice.choice(
            [
                *("count(*)", "count({t}.s)", "sum({t}.n)", "sum({t}.d)", "min({t}.f)", "max({t}.f)"),
                *('min({t}."at")', "max({t}.z)", "max({t}.s)", "min({t}.day)", "count(distinct {t}.u)"),
                *("sum({t}.ularge)", "max({t}.r)", "min({t}.wide)", "max({t}.clock)", "min({t}.seconds)"),
                *("max({t}.millis)", "max({t}.raw)", "count({t}.j)", "sum(cardinality({t}.m))"),
                *("bool_or({t}.ok)", "sum(len({t}.tags))", "max({t}.place.x)", "count({t}.late)"),
                *("count(*) filter ({t}.n > 300)", 'arg_max({t}.s, {t}.n * 100 + {t}."offset")'),
            ]
        )
        return expression.format(t=table)

    def _condition(self, table: str, depth: int = 0) -> str:
        dice = self._dice
        if depth < 2 and dice.random() < 0.4:
            parts = [self._condition(table, depth + 1) for _ in range(2)]
            return dice.choice(["({} and {})", "({} or {})", "not ({} and {})", "not ({} or {})"]).format(
                *parts
            )
        column, values = dice.choice(
            [
                *3 * [("{t}.n", self._numbers)],
                *2 * [("{t}.s", self._texts)],
                *2 * [("{t}.f", self._floats)],
                *2 * [("{t}.d", self._decimals)],
                *2 * [('{t}."at"', self._moments)],
                *2 * [("{t}.day", self._days)],
                *2 * [("{t}.z", self._instants)],
                ('{t}."offset"', self._numbers),
                ("{t}.late", self._texts),
                ("{t}.u", self._ids),
                ("{t}.ok", self._truths),
                ("{t}.tags[1]", self._texts),
                ("{t}.tags", lambda: f"[{self._texts()}]"),
                ("{t}.place.x", self._floats),
                ("{t}.tiny", lambda: self._near(-6)),
                ("{t}.small", lambda: self._near(-DAYS, 32767)),
                ("{t}.large", lambda: self._near(0, 2**63 - 1, -(2**63))),
                ("{t}.utiny", lambda: self._near(255 - DAYS)),
                ("{t}.usmall", lambda: self._near(65535 - DAYS)),
                ("{t}.uint", lambda: self._near(2**32 - 1 - DAYS)),
                ("{t}.ularge", lambda: self._near(2**64 - 1 - DAYS)),
                ("{t}.r", self._singles),
                ("{t}.wide", self._wide),
                ("{t}.clock", self._clocks),
                ("{t}.seconds", self._moments),
                ("{t}.millis", self._moments),
                ("{t}.raw", self._bytes),
                ("({t}.j->>'x')", lambda: f"'{dice.randrange(DAYS)}'"),
                ("{t}.m['k1']", self._numbers),
            ]
        )
        return f"{column.format(t=table)} " + dice.choice(
            [
                *3 * [f"{dice.choice(['=', '<>', '<', '<=', '>', '>='])} {values()}"],
                f"between {values()} and {values()}",
                f"in ({values()}, {values()}, {values()})",
                f"not in ({values()}, {values()})",
                f"is distinct from {values()}",
                dice.choice(["is null", "is not null"]),
            ]
        )

    def _numbers(self) -> str:
        if self._dice.random() < 0.2:
            return "edge()"
        if self._dice.random() < 0.1:
            return self._dice.choice(["5000000000", "17.5"])
        return str(self._dice.randrange(-5, DAYS * 50))

    def _texts(self) -> str:
        return f"'{self._dice.choice(TEXTS)}'"

    def _floats(self) -> str:
        return self._dice.choice(
            ["0.5", "3", f"{self._dice.randrange(DAYS)}.25::double", "'nan'::double", "'inf'::double", "-0.0"]
        )

    def _decimals(self) -> str:
        return f"{self._dice.randrange(DAYS * 50)}.{self._dice.choice(['25', '5', '000', '255'])}"

    def _days(self) -> str:
        return f"date '2024-05-{self._dice.randrange(1, DAYS + 3):02}'"

    def _moments(self) -> str:
        time = self._dice.choice(["00:00:00", "12:00:00", "12:00:00.000001", "12:00:00.001"])
        infinite = ["timestamp 'infinity'"] if self._dice.random() < 0.1 else []
        return self._dice.choice(
            [f"timestamp '2024-05-{self._dice.randrange(1, DAYS + 3):02} {time}'", *infinite]
        )

    def _instants(self) -> str:
        return f"timestamptz '2024-05-{self._dice.randrange(1, DAYS + 3):02} 06:30:00+02'"

    def _near(self, *numbers: int) -> str:
        return str(self._dice.choice(numbers) + self._dice.randrange(-1, DAYS + 2))

    def _truths(self) -> str:
        return self._dice.choice(["true", "false"])

    def _singles(self) -> str:
        """Decimals, doubles and floats: what is compared is not the same number in each."""
        number = f"{self._dice.randrange(DAYS)}.1"
        return self._dice.choice([number, f"{number}::double", f"{number}::float", "0.1", "'inf'::float"])

    def _wide(self) -> str:
        return f"{10**27 + self._dice.randrange(DAYS)}.{self._dice.choice(['0', '0000000001', '0000000002'])}"

    def _clocks(self) -> str:
        return f"time '{self._dice.randrange(DAYS + 1):02}:00:00{self._dice.choice(['', '.000001'])}'"

    def _bytes(self) -> str:
        more = self._dice.choice(["", "A", "\\xFF"])
        return f"'\\x{self._dice.randrange(DAYS):02X}{more}'::blob"

    def _ids(self) -> str:
        return f"uuid '00000000-0000-0000-0000-0000000000{self._dice.randrange(100):02}'"
