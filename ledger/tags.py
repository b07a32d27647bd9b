"""What a whole table says now, in one short value: for ETags, and for what is kept until something
changes."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet, Sum, TextField, Value
from django.db.models.functions import Cast, Extract, JSONObject


def within(rows: QuerySet[Any, Any], /, **counted: Any) -> QuerySet[Any, Any]:
    """Aggregates of `rows` as one value, for a statement that reads more."""
    return rows.order_by().values(all=Value(1)).values(said=JSONObject(**counted)).values("said")


def moments(field: str) -> Cast:
    """Changes with every row's moment. The newest alone would not: of two writers the one with the
    earlier moment may commit last. As text, since JSON's readers round."""
    return Cast(Sum(Extract(field, "epoch")), TextField())
