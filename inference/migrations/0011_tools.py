from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inference", "0010_shares")]

    operations = [
        migrations.AddField(
            model_name="turn",
            name="calls_sealed",
            field=models.BinaryField(
                db_default=b"", default=b"", help_text="functions the answer calls"
            ),
        ),
        migrations.AddField(
            model_name="turn",
            name="results_sealed",
            field=models.BinaryField(
                db_default=b"", default=b"", help_text="of the calls of the turn before, as given"
            ),
        ),
    ]
