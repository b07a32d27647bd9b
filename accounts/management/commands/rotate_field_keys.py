"""`manage.py rotate_field_keys`: seal every secret again with the newest of FIELD_KEYS."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import crypto


class Command(BaseCommand):
    help = "Seal stored secrets with the first of FIELD_KEYS; afterwards the others can go."
    requires_system_checks = ()  # they import the whole site

    def handle(self, *args: Any, **options: Any) -> None:
        done, unreadable = crypto.rotate()
        self.stdout.write(f"sealed again: {done}, unreadable: {unreadable}")
        if unreadable:
            raise CommandError(
                "What is unreadable was sealed with a key that is not among FIELD_KEYS: put that "
                "behind the new one and run this again before you take any away."
            )
