"""Prices from the highest down: within their unit, while the units keep their places."""

from typing import Any

import chain.fields
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Case, F, OrderBy, Q, Value, When
from django.db.models.functions import Greatest

LISTED = Q(shadowed=False, removed=False)
IMAGES, SPEECH = ("text-to-image", "image-editing"), "speech-to-text"
UNIT = Case(
    When(kind="fine-tuning", then=Value(3)),
    When(service_type__in=IMAGES, then=Value(1)),
    When(service_type=SPEECH, then=Value(2)),
    default=Value(0),
    output_field=models.IntegerField(),
)
OUTPUT = Case(
    When(kind="fine-tuning", then=F("price_per_token")),
    When(service_type=SPEECH, then=Greatest("input_price", "output_price")),
    default=F("output_price"),
    output_field=chain.fields.NeuronField(),
)
PRICE = Case(
    When(kind="fine-tuning", then=F("price_per_token")),
    When(service_type__in=IMAGES, then=F("output_price")),
    When(service_type=SPEECH, then=Greatest("input_price", "output_price")),
    default=F("input_price") + F("output_price"),
    output_field=chain.fields.NeuronField(),
)
ORDERS: dict[str, Any] = {"price": PRICE, "input": F("input_price"), "output": OUTPUT}
TIES = (F("kind"), F("provider"), F("serving"))


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("ledger", "0011_orders_within_a_unit")]

    operations = [
        AddIndexConcurrently(
            "service",
            models.Index(
                UNIT,
                *(OrderBy(one, descending=True) for one in (order, *TIES)),
                condition=LISTED,
                name=f"service_down_{name}",
            ),
        )
        for name, order in ORDERS.items()
    ]
