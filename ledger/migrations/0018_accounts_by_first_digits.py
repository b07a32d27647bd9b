"""Whoever looks for an account by the first digits of its address reads no others."""

from django.contrib.postgres.indexes import OpClass
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models.functions import Upper


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("ledger", "0017_changes_of_trust")]

    operations = [
        AddIndexConcurrently(
            "ledger",
            models.Index(OpClass(Upper("user"), name="text_pattern_ops"), name="ledger_by_user"),
        ),
    ]
