"""Sums that hold what strangers claim: nine refused items of 2^256 - 1 are more than 78 digits."""

import chain.fields
from django.db import migrations

COLUMNS = {
    "settled": "of accepted items, neuron",
    "unsettled": "of accepted items, neuron",
    "refused_amount": "`unsettled` of refused items, neuron",
}
SMALL = {"ledger.servicetotal": "a row for each provider that ever settled or was listed"}


class Migration(migrations.Migration):
    dependencies = [("ledger", "0014_output_of_embeddings")]

    operations = [
        migrations.AlterField(
            "servicetotal", name, chain.fields.SumField(default=0, help_text=said)
        )
        for name, said in COLUMNS.items()
    ]
