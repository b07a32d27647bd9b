"""What ended lately is found without reading all that a person ever asked."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("inference", "0015_chats_that_may_end")]

    operations = [
        AddIndexConcurrently("turn", models.Index(fields=["chat", "ended_at"], name="turn_ended")),
    ]
