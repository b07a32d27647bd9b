from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("finetune", "0004_log_taken"),
    ]

    operations = [
        migrations.AddField(
            model_name="draft",
            name="deleted_at",
            field=models.DateTimeField(help_text="kept for a while, for an undo", null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="put_away_at",
            field=models.DateTimeField(
                help_text="its owner took it off the list; news of it bring it back", null=True
            ),
        ),
    ]
