from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inference", "0016_turns_that_ended")]

    operations = [
        migrations.AddField(
            model_name="turn",
            name="arrivals_sealed",
            field=models.BinaryField(
                db_default=b"", default=b"", help_text="when its first pieces came, packed"
            ),
        ),
    ]
