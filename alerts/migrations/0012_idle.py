from django.db import migrations, models

KINDS = (
    *("low_balance", "low_available", "idle", "refund_unlocked", "provider_down", "price"),
    *("price_below", "price_above", "url", "signer", "acknowledged", "verification", "removed"),
    *("note", "lock_time", "task", "deadline", "work", "report", "token", "decided"),
    *("certificate", "unpaid", "low_gas", "unsettled"),
)


class Migration(migrations.Migration):
    dependencies = [("alerts", "0011_sealed_places")]

    operations = [
        migrations.AlterField(
            model_name="rule",
            name="kind",
            field=models.CharField(choices=[(kind, kind) for kind in KINDS], max_length=20),
        ),
    ]
