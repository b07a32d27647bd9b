"""Secrets at rest: sealed with the newest of `FIELD_KEYS`, readable with any of them (rotation by
adding in front).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models import QuerySet
from django.utils.translation import gettext, gettext_noop

# What may be assigned, and what is read; the django-stubs plugin fills them in per field.
_Set = TypeVar("_Set", contravariant=True)
_Get = TypeVar("_Get", covariant=True)


class SealedField(models.TextField[_Set, _Get]):
    """Text that `seal` made: by its type `rotate` finds it, in every app. A text to migrations."""

    _pyi_private_set_type: str
    _pyi_private_get_type: str

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", list(args), dict(kwargs)


#: Shown in place of a secret that `unseal` could not read.
LOST = gettext_noop("[encrypted with a key that this site no longer has]")


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


def unseal_or_lost(sealed: str) -> str:
    """The secret for its owner to read, or a sentence that no key of today opens it; "" of ""."""
    try:
        return unseal(sealed) if sealed else ""
    except Unreadable:
        return gettext(LOST)


def fields() -> Iterator[tuple[type[models.Model], str]]:
    """Every model that holds sealed texts, and the field's name."""
    for model in apps.get_models():
        for field in model._meta.local_concrete_fields:
            if isinstance(field, SealedField):
                yield model, field.name


def rotate() -> tuple[int, int]:
    """Seal every secret again, under the newest of FIELD_KEYS: (done, unreadable with any of
    them)."""
    counts = [_reseal(model._base_manager.all(), name) for model, name in fields()]
    return sum(done for done, _ in counts), sum(unreadable for _, unreadable in counts)


def _reseal(rows: QuerySet[Any], field: str) -> tuple[int, int]:
    """What was replaced meanwhile stays as it is: it has the newest key already."""
    done = unreadable = 0
    for pk, sealed in rows.exclude(**{field: ""}).values_list("pk", field).iterator():
        try:
            again = _box().rotate(sealed.encode()).decode()
        except InvalidToken:
            unreadable += 1
            continue
        done += rows.filter(pk=pk, **{field: sealed}).update(**{field: again})
    return done, unreadable
