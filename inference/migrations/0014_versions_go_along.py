"""Code of before `PresetVersion` deletes presets, and people with all that is theirs, and knows of
no versions: while a site is updated, or went back, PostgreSQL deletes these along."""

from django.db import migrations

NAME = "inference_presetvers_preset_id_8bd6545c_fk_inference"
KEY = "FOREIGN KEY (preset_id) REFERENCES inference_ownpreset (id) {} DEFERRABLE INITIALLY DEFERRED"
TABLE = "inference_presetversion"
CHANGE = f"ALTER TABLE {TABLE} DROP CONSTRAINT IF EXISTS {NAME}, ADD CONSTRAINT {NAME} {KEY}"


class Migration(migrations.Migration):
    dependencies = [("inference", "0013_embeddings")]

    operations = [
        migrations.RunSQL(
            "-- small: of each preset, 40 a person, the newest 20 versions\n"
            + CHANGE.format("ON DELETE CASCADE"),
            CHANGE.format(""),
        )
    ]
