import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0011_tools"),
    ]

    operations = [
        migrations.CreateModel(
            name="PresetVersion",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("sealed", models.TextField(help_text="as the preset's")),
                (
                    "until",
                    models.DateTimeField(help_text="when something else took its place"),
                ),
                (
                    "preset",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="versions",
                        to="inference.ownpreset",
                    ),
                ),
            ],
        ),
    ]
