"""Secrets at rest: sealed with the newest of `FIELD_KEYS`, readable with any of them (rotation by
adding in front).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.models import QuerySet

#: What else is sealed with FIELD_KEYS, in apps above this one: each seals its rows again with the
#: newest key and says (done, unreadable). Filled by their `AppConfig.ready`.
ROTATIONS: list[Callable[[], tuple[int, int]]] = []


class Unreadable(Exception):
    """None of today's FIELD_KEYS opens this secret: a key was removed before its fields were
    rotated.
    """


def require_keys() -> None:
    """Raise ImproperlyConfigured, naming the key by position, unless all FIELD_KEYS can seal."""
    for position, key in enumerate(settings.FIELD_KEYS, 1):
        try:
            Fernet(key)
        except ValueError:
            raise ImproperlyConfigured(
                f"FIELD_KEYS: key {position} is not 32 url-safe base64 bytes; "
                "make one with: ./run exec -- python manage.py make_field_key"
            ) from None


def _box() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.FIELD_KEYS])


def seal(secret: str) -> str:
    """Encrypted and authenticated text for the database."""
    return _box().encrypt(secret.encode()).decode()


def unseal(sealed: str) -> str:
    """The secret again. Raises Unreadable."""
    try:
        return _box().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise Unreadable("No key in FIELD_KEYS opens this field.") from None


def reseal_all(rows: QuerySet[Any], field: str) -> tuple[int, int]:
    """Seal `field` of every row again, under the newest key: (done, unreadable with any of them).
    What was replaced meanwhile stays as it is: it has the newest key already."""
    done = unreadable = 0
    for pk, sealed in rows.exclude(**{field: ""}).values_list("pk", field).iterator():
        try:
            again = _box().rotate(sealed.encode()).decode()
        except InvalidToken:
            unreadable += 1
            continue
        done += rows.filter(pk=pk, **{field: sealed}).update(**{field: again})
    return done, unreadable
