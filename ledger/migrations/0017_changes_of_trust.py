"""Changes that trust hangs on are found past all the prices that a provider ever had."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("ledger", "0016_surplus_while_pending")]

    operations = [
        AddIndexConcurrently(
            "servicechange",
            models.Index(
                fields=["provider", "serving", "change", "-block"],
                name="change_of_trust",
                condition=models.Q(change__in=("url", "acknowledged", "signer")),
            ),
        ),
    ]
