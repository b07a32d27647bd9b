from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0009_user_language"),
    ]

    operations = [
        migrations.AddField(
            model_name="signin",
            name="network",
            field=models.CharField(blank=True, db_default="", default="", max_length=45),
        ),
    ]
