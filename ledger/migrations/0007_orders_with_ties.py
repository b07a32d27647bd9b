"""Indexes of the catalogue's orders hold what breaks ties too: stakes are often all the same."""

import chain.fields
from django.db import migrations, models
from django.db.models import Case, F, Q, When
from django.db.models.functions import Left

LISTED = Q(shadowed=False, removed=False)
PRICE = Case(
    When(kind="fine-tuning", then=F("price_per_token")),
    default=F("input_price") + F("output_price"),
    output_field=chain.fields.NeuronField(),
)
ORDERS = {
    "price": PRICE,
    "input": F("input_price"),
    "output": F("output_price"),
    "stake": F("stake"),
    "change": F("updated_at_unix"),
    "creation": F("created_block"),
    "type": Left("service_type", 100),
}


class Migration(migrations.Migration):
    dependencies = [("ledger", "0006_orders_and_sums")]

    operations = [
        *(migrations.RemoveIndex("service", f"service_by_{name}") for name in ORDERS),
        *(
            migrations.AddIndex(
                "service",
                models.Index(
                    order,
                    "kind",
                    "provider",
                    "serving",
                    condition=LISTED,
                    name=f"service_order_{name}",
                ),
            )
            for name, order in ORDERS.items()
        ),
    ]
