"""Gas is only in receipts, and most transactions are proven without one (chain.proof)."""

from typing import ClassVar

from django.db import migrations
from django.db.migrations.operations.base import Operation


class Migration(migrations.Migration):
    dependencies: ClassVar[list[tuple[str, str]]] = [("chain", "0002_node_states_and_rates")]

    operations: ClassVar[list[Operation]] = [
        migrations.RemoveField(model_name="rawtransaction", name="gas_used"),
        migrations.RemoveField(model_name="rawtransaction", name="gas_price"),
    ]
