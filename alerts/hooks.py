"""Webhooks: making, changing and ending them. The secret is shown once and kept sealed."""

from __future__ import annotations

import datetime as dt

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import crypto, url_words
from accounts.errors import Problem
from accounts.models import User
from alerts import signing
from alerts.models import Delivery, Format, Hook, named
from net import addresses
from net.addresses import Policy
from net.errors import NetError

MOST = 5
#: A replaced secret goes on for so long, and so many of them.
OVERLAP, MOST_REPLACED = dt.timedelta(hours=24), 3
#: What may be POSTed to an address; a chat with the site's bot is connected (`alerts.telegram`).
FORMATS = (Format.SIGNED, Format.SLACK, Format.DISCORD)
_LONGEST = 500


def policy() -> Policy:
    """Where a webhook may go: never into the site's own network, but on a devnet."""
    return Policy(allow_private=settings.ALLOW_PRIVATE_PROVIDERS)


def create(user: User, url: str, form: str = Format.SIGNED) -> tuple[Hook, str]:
    """A webhook and its secret, which is not shown again. Raises Problem."""
    url = url.strip()
    if form not in FORMATS:
        raise Problem("invalid_format", _("There is no such format."))
    try:
        if len(url) > _LONGEST:
            raise Problem(
                "invalid_url", _("A URL has at most %(most)s characters.") % {"most": _LONGEST}
            )
        addresses.parse(url, policy())
    except NetError as error:
        fix = _("Use a public https:// address.")
        raise Problem(
            "invalid_url",
            _("This URL cannot be used: %(error)s.") % {"error": url_words.translated(error)},
            fix,
        ) from None
    with transaction.atomic():
        room(user, url)
        if user.hooks.filter(url__in=stored(url)).exists():
            raise Problem("hook_exists", _("There is a webhook with this URL already."))
        secret = signing.new_secret()
        hook = Hook.objects.create(
            user=user,
            **sealed(url),
            format=form,
            sealed_secret=crypto.seal(secret),
            created_at=timezone.now(),
        )
    return hook, secret


def sealed(url: str) -> dict[str, str]:
    """The fields of an address: who has that of a chat's webhook writes there."""
    return {"url": named(url), "sealed_url": crypto.seal(url)}


def stored(url: str) -> tuple[str, str]:
    """As what a webhook with this address may be found: sealed, and as 0.1.0 kept it."""
    return named(url), url


def room(user: User, url: str) -> None:
    """Hold the person's webhooks, in a transaction: a click may be two. Raises Problem where there
    is no room for one with this URL."""
    User.objects.select_for_update().get(pk=user.pk)
    if user.hooks.exclude(url__in=stored(url)).count() >= MOST:
        raise Problem(
            "too_many_hooks",
            _("At most %(most)s webhooks.") % {"most": MOST},
            _("Delete one first."),
        )


def delete(hook: Hook) -> None:
    """With its log; rules that told it alone tell no webhook any more, rather than all."""
    with transaction.atomic():
        hook.rules.update(by_hook=False, hook=None)
        hook.delete()


def renew_secret(hook: Hook) -> str:
    """A new secret. The one of before signs as well for OVERLAP, so that no receiver stops, and so
    do those that it replaced a moment ago: a click may be two. What is kept of a chat with the bot
    is its number, which stays. Refreshes `hook`. Raises Problem where there is none any more."""
    secret, now = signing.new_secret(), timezone.now()
    with transaction.atomic():
        others = Hook.objects.select_for_update().exclude(format=Format.TELEGRAM)
        row = others.filter(pk=hook.pk).first()
        if row is None:
            raise Problem("no_such_hook", _("There is no such webhook."), status=404)
        try:
            before = row.secrets(now)[:MOST_REPLACED]
        except crypto.Unreadable:
            before = []  # which signs nothing already
        row.sealed_secret, row.replaced_until = crypto.seal(secret), now + OVERLAP
        row.sealed_replaced = crypto.seal(" ".join(before))
        row.save(update_fields=["sealed_secret", "sealed_replaced", "replaced_until"])
    hook.refresh_from_db()
    return secret


def enable(hook: Hook) -> None:
    """Take up a webhook that was given up."""
    Hook.objects.filter(pk=hook.pk).update(enabled=True, disabled_why="", failing_since=None)


def test(hook: Hook) -> Delivery:
    """A test message on its way."""
    now = timezone.now()
    return Delivery.objects.create(user=hook.user, hook=hook, created_at=now, due_at=now)


def replay(delivery: Delivery) -> Delivery:
    """The same notification once more; receivers tell it by its id, which stays."""
    now = timezone.now()
    return Delivery.objects.create(
        user=delivery.user,
        hook=delivery.hook,
        notification=delivery.notification,
        created_at=now,
        due_at=now,
    )
