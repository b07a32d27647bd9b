"""`manage.py end_access`: nothing that was handed out before opens anything any more."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from accounts import sessions, tokens
from alerts import services as alerts
from inference import shares
from moderation import audit


class Command(BaseCommand):
    help = (
        "End every token, link to a shared conversation, address of a private feed and session. "
        "After a restore: a backup brings back what was ended since it was made."
    )
    requires_system_checks = ()  # they import the whole site

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            ended = {
                "tokens": tokens.revoke_all(),
                "links": shares.end_all(),
                "feeds": alerts.renew_feeds(),
            }
            if any(ended.values()):
                about = ("command", "end_access")
                audit.record("manage.py", "access_ended", about, area="ops", after=ended)
        ended["sessions"] = sessions.end_everybodys()
        self.stdout.write(", ".join(f"{what}: {number}" for what, number in ended.items()))
