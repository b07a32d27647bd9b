"""What is forced into the ledger contract in a block that is not final yet is no drift either."""

import chain.fields
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("ledger", "0015_sums_of_any_claims")]

    operations = [
        migrations.AddField(
            "projection",
            "pending_surplus",
            chain.fields.NeuronField(db_default=0, help_text="the same at the pending block"),
        )
    ]
