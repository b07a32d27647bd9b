"""What a whole table says now, in one short value: for ETags, and for what is kept until something
changes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from django.db import connections
from django.db.models import DateTimeField, QuerySet, Sum, TextField, Value
from django.db.models.functions import Cast, Extract, JSONObject


def within(rows: QuerySet[Any, Any], /, **counted: Any) -> QuerySet[Any, Any]:
    """Aggregates of `rows` as one value, for a statement that reads more."""
    return rows.order_by().values(all=Value(1)).values(said=JSONObject(**counted)).values("said")


def moments(field: str) -> Cast:
    """Changes with every row's moment. The newest alone would not: of two writers the one with the
    earlier moment may commit last. As text, since JSON's readers round."""
    return Cast(Sum(Extract(field, "epoch")), TextField())


class Later(Value):
    """A moment of a statement that is written once: what `value` makes of the time it is run."""

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", [self]


NOW = Later(lambda now: now, output_field=DateTimeField())
Moment = dt.datetime | Later


def made_of(now: Moment, make: Callable[[dt.datetime], dt.datetime]) -> Value:
    """A moment that is no difference to `now`."""
    if isinstance(now, Later):
        return Later(lambda at: make(now.value(at)), output_field=DateTimeField())
    return Value(make(now))


@lru_cache(maxsize=64)
def _written(
    rows: Callable[..., QuerySet[Any, Any]], using: str, *given: Any
) -> tuple[str, Sequence[Any]]:
    sql, values = rows(*given).query.get_compiler(using).as_sql()
    if any(isinstance(value, dt.datetime) for value in values):
        raise TypeError(f"{rows.__name__} names a moment that is not {NOW!r}")
    return sql, values


def first(
    rows: Callable[..., QuerySet[Any, Any]], using: str, now: dt.datetime, *given: Any
) -> tuple[Any, ...] | None:
    """The first row of `rows(*given)` as the database says it, whose moments are made of `NOW` (1
    query). To write such a statement takes longer than to run it, so that is done once."""
    sql, values = _written(rows, using, *given)
    with connections[using].cursor() as cursor:
        cursor.execute(sql, [v.value(now) if isinstance(v, Later) else v for v in values])
        found: tuple[Any, ...] | None = cursor.fetchone()
    return found
