from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("finetune", "0005_put_away_and_undo"),
    ]

    operations = [
        migrations.AddField(
            model_name="place",
            name="nonce_floor",
            field=models.BigIntegerField(
                help_text="sender's next nonce when the wallet was asked; null: its end is known",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="place",
            name="unsure",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="the wallet may have sent it without a word",
            ),
        ),
    ]
