"""`manage.py rotate_field_keys`: seal every secret again with the newest of FIELD_KEYS."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from accounts import crypto, keys


class Command(BaseCommand):
    help = "Seal stored secrets with the first of FIELD_KEYS; afterwards the others can go."

    def handle(self, *args: Any, **options: Any) -> None:
        counts = [rotate() for rotate in (keys.rotate, *crypto.ROTATIONS)]
        done, unreadable = (sum(column) for column in zip(*counts, strict=True))
        self.stdout.write(f"sealed again: {done}, unreadable: {unreadable}")
