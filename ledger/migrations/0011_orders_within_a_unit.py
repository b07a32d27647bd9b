"""Prices in order within what they are the price of: a token, a picture, a second, training."""

from typing import Any

import chain.fields
from django.db import migrations, models
from django.db.models import Case, F, Q, Value, When
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


SMALL = {"ledger.service": "a row for each listing, which costs its provider a stake: thousands"}


class Migration(migrations.Migration):
    dependencies = [("ledger", "0010_refused_of_a_listing")]

    operations = [
        *(migrations.RemoveIndex("service", f"service_order_{name}") for name in ORDERS),
        *(
            migrations.AddIndex(
                "service",
                models.Index(
                    UNIT,
                    order,
                    "kind",
                    "provider",
                    "serving",
                    condition=LISTED,
                    name=f"service_order_of_{name}",
                ),
            )
            for name, order in ORDERS.items()
        ),
    ]
