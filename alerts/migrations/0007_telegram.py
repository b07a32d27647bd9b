from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("alerts", "0006_rule_of_one_hook"),
    ]

    operations = [
        migrations.AlterField(
            model_name="hook",
            name="format",
            field=models.CharField(
                choices=[
                    ("signed", "Signed JSON, for a program of yours"),
                    ("slack", "A message in Slack"),
                    ("discord", "A message in Discord"),
                    ("telegram", "A message of this site’s bot on Telegram"),
                ],
                db_default="signed",
                default="signed",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="hook",
            name="sealed_secret",
            field=models.TextField(
                help_text="`whsec_…`, of Telegram the chat’s number: encrypted with FIELD_KEYS"
            ),
        ),
    ]
