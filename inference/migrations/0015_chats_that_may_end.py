"""Conversations that may end are found without reading those that stay."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("inference", "0014_versions_go_along")]

    operations = [
        AddIndexConcurrently(
            "chat",
            models.Index(
                fields=["updated_at"],
                name="chat_ending",
                condition=Q(deleted_at__isnull=False)
                | Q(key_sealed="")
                | Q(medium="chat", asked=False),
            ),
        ),
    ]
