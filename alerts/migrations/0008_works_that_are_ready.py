from django.db import migrations, models

KINDS = (
    "low_balance", "low_available", "refund_unlocked", "provider_down", "price", "price_below",
    "price_above", "url", "signer", "acknowledged", "verification", "removed", "note", "lock_time",
    "task", "deadline", "work", "report", "token", "decided", "certificate", "unpaid", "low_gas",
    "unsettled",
)  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [
        ("alerts", "0007_telegram"),
    ]

    operations = [
        migrations.AlterField(
            model_name="rule",
            name="kind",
            field=models.CharField(choices=[(kind, kind) for kind in KINDS], max_length=20),
        ),
    ]
