"""`in_part` counts a result that was settled by its penalty, too: its provider asked for more."""

from importlib import import_module

from django.db import migrations, models

first = import_module("ledger.migrations.0005_search_and_totals")
sums = import_module("ledger.migrations.0006_orders_and_sums")

BEFORE, AFTER = "status = 'partial'", "status IN ('partial', 'penalty')"
EXISTING = """
-- small: only the indexer writes this table, and waits for one reading of it
LOCK TABLE ledger_settlement IN SHARE ROW EXCLUSIVE MODE;
UPDATE ledger_servicetotal AS t SET in_part = t.in_part {sign} found.items FROM (
    SELECT serving, {provider} AS provider, COUNT(*) AS items FROM ledger_settlement
    WHERE status = 'penalty' GROUP BY {groups}
) AS found WHERE t.serving = found.serving AND t.provider = found.provider
"""


def _function(counted: str) -> str:
    return sums.REPLACE.format(
        table="ledger_settlement",
        sums=first.SETTLEMENTS.replace(BEFORE, counted),
        **sums.WITH_CONTRACTS,
    )


class Migration(migrations.Migration):
    dependencies = [("ledger", "0018_accounts_by_first_digits")]

    operations = [
        migrations.RunSQL(
            EXISTING.format(sign="+", **sums.WITH_CONTRACTS),
            EXISTING.format(sign="-", **sums.WITH_CONTRACTS),
        ),
        migrations.RunSQL(_function(AFTER), _function(BEFORE)),
        migrations.AlterField(
            "servicetotal",
            "in_part",
            models.BigIntegerField(default=0, help_text="of a status in IN_PART"),
        ),
    ]
