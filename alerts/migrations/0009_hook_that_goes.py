"""Code of before `rule.hook` deletes webhooks and knows of no rule that names one: while a site is
updated, or went back, PostgreSQL takes the name out of the rule."""

from django.db import migrations

NAME = "alerts_rule_hook_id_4605b549_fk_alerts_hook_id"
KEY = "FOREIGN KEY (hook_id) REFERENCES alerts_hook (id) {} DEFERRABLE INITIALLY DEFERRED"
CHANGE = f"ALTER TABLE alerts_rule DROP CONSTRAINT IF EXISTS {NAME}, ADD CONSTRAINT {NAME} {KEY}"


class Migration(migrations.Migration):
    dependencies = [("alerts", "0008_works_that_are_ready")]

    operations = [
        migrations.RunSQL(
            "-- small: read under the lock are one person's rules, for each who is told by webhook\n"
            + CHANGE.format("ON DELETE SET NULL"),
            CHANGE.format(""),
        )
    ]
