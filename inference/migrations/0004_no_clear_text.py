from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("inference", "0003_seal_rows")]

    operations = [
        migrations.RemoveField(model_name="chat", name="title"),
        migrations.RemoveField(model_name="turn", name="answer"),
        migrations.RemoveField(model_name="turn", name="failure_detail"),
        migrations.RemoveField(model_name="turn", name="question"),
        migrations.RemoveField(model_name="turn", name="request"),
    ]
