"""An index for every order of the catalogue; sums over all listings of a contract (provider '')."""

from importlib import import_module

import chain.fields
from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.functions import Left

before = import_module("ledger.migrations.0005_search_and_totals")

LISTED = Q(shadowed=False, removed=False)
ORDERS = {
    "input": F("input_price"),
    "output": F("output_price"),
    "stake": F("stake"),
    "creation": F("created_block"),
    "type": Left("service_type", 100),
}

#: What 0005 wrote, and the rows of whole contracts beside it.
REPLACE = """
CREATE OR REPLACE FUNCTION ledger_total_{table}() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    sign integer := CASE TG_OP WHEN 'DELETE' THEN -1 ELSE 1 END;
BEGIN
    INSERT INTO ledger_servicetotal AS t (serving, provider, changes, items, in_part, refused,
        settled, unsettled, refused_amount)
    SELECT serving, {provider}, {sums} FROM touched GROUP BY {groups}
    ON CONFLICT (provider, serving) DO UPDATE SET changes = t.changes + EXCLUDED.changes,
        items = t.items + EXCLUDED.items, in_part = t.in_part + EXCLUDED.in_part,
        refused = t.refused + EXCLUDED.refused, settled = t.settled + EXCLUDED.settled,
        unsettled = t.unsettled + EXCLUDED.unsettled,
        refused_amount = t.refused_amount + EXCLUDED.refused_amount;
    RETURN NULL;
END $body$
"""
WITH_CONTRACTS = {
    "provider": "COALESCE(provider, '')",
    "groups": "GROUPING SETS ((serving, provider), (serving))",
}
WITHOUT = {"provider": "provider", "groups": "serving, provider"}
EXISTING = """
INSERT INTO ledger_servicetotal (serving, provider, changes, items, in_part, refused, settled,
    unsettled, refused_amount)
SELECT serving, '', SUM(changes), SUM(items), SUM(in_part), SUM(refused), SUM(settled),
    SUM(unsettled), SUM(refused_amount) FROM ledger_servicetotal GROUP BY serving
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0005_search_and_totals")]

    operations = [
        *(
            migrations.AddIndex(
                "service", models.Index(order, condition=LISTED, name=f"service_by_{name}")
            )
            for name, order in ORDERS.items()
        ),
        migrations.AlterField(
            "servicetotal", "provider", chain.fields.AddressField(default="")
        ),
        migrations.RunSQL(EXISTING, "DELETE FROM ledger_servicetotal WHERE provider = ''"),
        *(
            migrations.RunSQL(
                REPLACE.format(table=table, sums=sums, **WITH_CONTRACTS),
                REPLACE.format(table=table, sums=sums, **WITHOUT),
            )
            for table, sums in before.TABLES.items()
        ),
    ]
