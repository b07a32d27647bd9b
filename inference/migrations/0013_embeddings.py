"""Embeddings are a medium. The column stays as it is: only Django's list of words changes."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inference", "0012_preset_versions")]

    operations = [
        migrations.AlterField(
            model_name="chat",
            name="medium",
            field=models.CharField(
                choices=[
                    ("chat", "Chat"),
                    ("images", "Images"),
                    ("speech", "Speech"),
                    ("embed", "Embeddings"),
                    ("relay", "Relay"),
                ],
                default="chat",
                max_length=6,
            ),
        ),
    ]
