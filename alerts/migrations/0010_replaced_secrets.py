from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts", "0009_hook_that_goes")]

    operations = [
        migrations.AddField(
            model_name="hook",
            name="sealed_replaced",
            field=models.TextField(
                blank=True,
                db_default="",
                default="",
                help_text="secrets of before, a space between: they sign as well until "
                "`replaced_until`",
            ),
        ),
        migrations.AddField(
            model_name="hook",
            name="replaced_until",
            field=models.DateTimeField(null=True),
        ),
    ]
