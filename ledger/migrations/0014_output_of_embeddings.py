"""Embeddings have no output price to be ordered by: they answer with no token."""

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
OUTPUT: Any = Case(
    When(kind="fine-tuning", then=F("price_per_token")),
    When(service_type=SPEECH, then=Greatest("input_price", "output_price")),
    When(service_type=EMBEDDING, then=Value(0, output_field=chain.fields.NeuronField())),
    default=F("output_price"),
    output_field=chain.fields.NeuronField(),
)
TIES = ("kind", "provider", "serving")
DOWN = tuple(OrderBy(one, descending=True) for one in (OUTPUT, *map(F, TIES)))
INDEXES = (
    models.Index(UNIT, OUTPUT, *TIES, condition=LISTED, name="service_order_of_output"),
    models.Index(UNIT, *DOWN, condition=LISTED, name="service_down_output"),
)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("ledger", "0013_price_of_embeddings")]

    operations = [
        *(RemoveIndexConcurrently("service", index.name) for index in INDEXES),
        *(AddIndexConcurrently("service", index) for index in INDEXES),
    ]
