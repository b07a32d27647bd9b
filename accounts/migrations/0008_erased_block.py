from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_personal_data"),
    ]

    operations = [
        migrations.AddField(
            model_name="erasure",
            name="blocked",
            field=models.BooleanField(
                default=False, db_default=False, help_text="might not sign in as it began"
            ),
        ),
    ]
