from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("finetune", "0003_unknown_looks"),
    ]

    operations = [
        migrations.AddField(
            model_name="task",
            name="log_taken",
            field=models.BigIntegerField(
                db_default=0,
                default=0,
                help_text="bytes ever kept of it, those of before it began anew too",
            ),
        ),
    ]
