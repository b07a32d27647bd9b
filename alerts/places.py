"""Where people are reached, sealed (`alerts.models`)."""

from __future__ import annotations

from django.db.models.functions import Length

from accounts import crypto
from alerts.models import NAMED, Channels, Hook, named


def feed(token: str) -> dict[str, str]:
    """The fields of a private feed with this token."""
    return {"feed_token": named(token), "sealed_feed": crypto.seal(token)}


def seal() -> int:
    """Seal what 0.1.0 stored in the clear, also where a site went back to it for a while; how many
    rows. Idempotent. Not in a migration: while processes of before still run, they read it."""
    done, ways = 0, Channels.objects.all()
    for hook in Hook.objects.filter(sealed_url="").exclude(url=""):
        same = Hook.objects.filter(pk=hook.pk, sealed_url="", url=hook.url)
        # Of two with one address a process of before made the second: it stays, and is found less.
        twice = Hook.objects.filter(user=hook.user_id, url=named(hook.url)).exists()
        name = named(f"{hook.url} {hook.pk}" if twice else hook.url)
        done += same.update(url=name, sealed_url=crypto.seal(hook.url))
    given = ways.annotate(size=Length("feed_token")).exclude(size=NAMED)
    for token in given.values_list("feed_token", flat=True):
        done += ways.filter(feed_token=token).update(**feed(token))
    # No code waits for it: who deleted it did so at a process of before, which knew nothing of it.
    deleted = ways.filter(email="", email_verified_at=None, code_digest="").exclude(sealed_email="")
    done += deleted.update(sealed_email="")
    for way in ways.exclude(email=""):
        mailed = ways.filter(pk=way.pk, email=way.email)
        done += mailed.update(email="", sealed_email=crypto.seal(way.email))
    return done
