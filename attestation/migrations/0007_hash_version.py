from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("attestation", "0006_verdict_changes"),
    ]

    operations = [
        migrations.AddField(
            model_name="verification",
            name="hash_version",
            field=models.PositiveSmallIntegerField(
                default=1, db_default=1, help_text="of `content_hash`"
            ),
        ),
        migrations.AlterField(
            model_name="verification",
            name="content_hash",
            field=models.CharField(
                default="", help_text="SHA-256 of all that is published: `published`", max_length=64
            ),
        ),
    ]
