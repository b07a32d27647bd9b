"""Embeddings in order of their input price alone: they answer with no token."""

from typing import Any

import chain.fields
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models import Case, F, OrderBy, Q, Value, When
from django.db.models.functions import Greatest

LISTED = Q(shadowed=False, removed=False)
IMAGES, SPEECH, EMBEDDING = ("text-to-image", "image-editing"), "speech-to-text", "embedding"
UNIT = Case(
    When(kind="fine-tuning", then=Value(3)),
    When(service_type__in=IMAGES, then=Value(1)),
    When(service_type=SPEECH, then=Value(2)),
    default=Value(0),
    output_field=models.IntegerField(),
)
PRICE: Any = Case(
    When(kind="fine-tuning", then=F("price_per_token")),
    When(service_type__in=IMAGES, then=F("output_price")),
    When(service_type=SPEECH, then=Greatest("input_price", "output_price")),
    When(service_type=EMBEDDING, then=F("input_price")),
    default=F("input_price") + F("output_price"),
    output_field=chain.fields.NeuronField(),
)
TIES = ("kind", "provider", "serving")
DOWN = tuple(OrderBy(one, descending=True) for one in (PRICE, *map(F, TIES)))
INDEXES = (
    models.Index(UNIT, PRICE, *TIES, condition=LISTED, name="service_order_of_price"),
    models.Index(UNIT, *DOWN, condition=LISTED, name="service_down_price"),
)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("ledger", "0012_prices_downwards")]

    operations = [
        *(RemoveIndexConcurrently("service", index.name) for index in INDEXES),
        *(AddIndexConcurrently("service", index) for index in INDEXES),
    ]
