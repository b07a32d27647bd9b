"""Calldata and log data are long hex: where the server has it, lz4 packs them at a fifth of the
work of PostgreSQL's own method. Rows that are there already stay as they are."""

from __future__ import annotations

from django.db import migrations

COLUMNS = (
    ("chain_rawtransaction", "input"),
    ("chain_rawlog", "data"),
    ("chain_rawcall", "result"),
)
_ALTER = """
DO $$ BEGIN
    ALTER TABLE {table} ALTER COLUMN {column} SET COMPRESSION {method};
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("chain", "0004_one_index_per_fact")]

    operations = [
        migrations.RunSQL(
            _ALTER.format(table=table, column=column, method="lz4"),
            _ALTER.format(table=table, column=column, method="default"),
        )
        for table, column in COLUMNS
    ]
