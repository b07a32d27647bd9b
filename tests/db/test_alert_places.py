"""Where somebody is reached is sealed: a copy of the database lets nobody read along or write."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import personal
from accounts.errors import Problem
from accounts.models import User
from alerts import deliver, hooks, mailbox, services, words
from alerts.models import Attempt, Channels, Delivery, Hook
from devnet import accounts as cast
from marketplace import retention
from tests.db.personal_world import prove
from tests.db.test_alert_deliveries import Post, Receiver
from tests.db.test_alert_deliveries import alice as alice
from tests.db.test_alert_deliveries import post as post
from tests.db.test_alert_deliveries import receiver as receiver
from tests.db.test_keys_lasting import signed_in

pytestmark = pytest.mark.django_db
MAIL, SLACK = "alice@example.org", "https://hooks.slack.example/services/T0/B0/secret"


def stored() -> str:
    """All that the database says about ways to people, as a copy of it holds it."""
    with connection.cursor() as cursor:
        rows: list[Any] = []
        for model in (Channels, Hook, Delivery, Attempt):
            cursor.execute(f"SELECT t::text FROM {model._meta.db_table} t")
            rows += [row[0] for row in cursor.fetchall()]
    return "\n".join(rows)


def in_the_clear(user: User) -> tuple[str, str]:
    """As 0.1.0 stored it: the address of the feed, and the webhook's URL."""
    way, hook = Channels(user=user, email=MAIL), Hook(user=user, url=SLACK, format="slack")
    way.feed_token, way.email_verified_at = "token-of-before", timezone.now()
    hook.created_at = timezone.now()
    way.save()
    hook.save()
    return f"/account/feed/{way.feed_token}.atom", hook.url


def test_what_is_new_is_sealed_and_found_again(alice: User, post: Post) -> None:
    mailbox.ask(alice, f" {MAIL}")
    hook, _ = hooks.create(alice, SLACK, "slack")
    way = services.channels_of(alice)
    assert (way.address, hook.address) == (MAIL, SLACK)
    for place in (MAIL, SLACK, way.feed):
        assert place not in stored()
    with pytest.raises(Problem, match="already"):
        hooks.create(alice, SLACK, "slack")
    [kept] = [category for category in personal.categories() if category.key == "channels"]
    rows = [row for table in kept.tables for row in table.plain(alice)]
    assert {row.get("url") or row.get("email") for row in rows} == {MAIL, SLACK}, "their export"
    # Who has the copy has no address of a feed: what stands there opens nothing.
    stranger = Client()
    assert stranger.get(f"/account/feed/{way.feed}.atom").status_code == 200
    assert stranger.get(f"/account/feed/{way.feed_token}.atom").status_code == 404


def test_what_an_earlier_version_stored_works_and_is_sealed_by_the_next_sweep(alice: User) -> None:
    feed, url = in_the_clear(alice)
    stranger = Client()
    for swept in (False, True, True):
        way, hook = services.channels_of(alice), alice.hooks.get()
        assert stranger.get(feed).status_code == 200 and way.readable()
        assert (way.address, hook.address, hook.opened()) == (MAIL, url, url)
        with pytest.raises(Problem, match="already"):
            hooks.create(alice, url, "slack")
        assert all((place in stored()) != swept for place in (MAIL, url, way.feed))
        retention.prune()


def test_what_a_process_of_before_writes_counts(alice: User, post: Post) -> None:
    """While a site is updated, or where it went back for a while: it knows the columns of 0.1.0
    alone, finds no webhook that is sealed, and has no idea of a sealed address or feed."""
    mailbox.ask(alice, "victim@example.org")
    hooks.create(alice, SLACK, "slack")
    Hook.objects.create(user=alice, url=SLACK, format="slack", created_at=timezone.now())
    proven = {"email": MAIL, "email_verified_at": timezone.now(), "code_digest": ""}
    Channels.objects.update(**proven, feed_token="renewed-there")
    for _swept in range(2):
        way = services.channels_of(alice)
        assert way.address == MAIL and way.readable() and way.feed == "renewed-there"
        assert Client().get(f"/account/feed/{way.feed}.atom").status_code == 200
        assert [hook.address for hook in alice.hooks.all()] == [SLACK] * 2
        with pytest.raises(Problem, match="already"):
            hooks.create(alice, SLACK, "slack")
        retention.prune()
    assert not {MAIL, SLACK, "renewed-there"} & {*re.findall(r"[^,()]+", stored())}
    Channels.objects.update(email="", email_verified_at=None, code_digest="")
    retention.prune()
    assert services.channels_of(alice).address == "", "it was deleted there"
    mailbox.ask(alice, MAIL)
    retention.prune()
    assert services.channels_of(alice).address == MAIL, "its code is on its way"


def test_a_place_whose_key_is_gone_says_so_and_nothing_is_sent(
    alice: User, post: Post, receiver: Receiver, settings: Any
) -> None:
    hook, _ = hooks.create(alice, receiver.url)
    mailbox.ask(alice, MAIL)
    Channels.objects.update(email_verified_at=timezone.now())
    feed, sent = services.channels_of(alice).feed, len(post.letters)
    settings.FIELD_KEYS = (Fernet.generate_key().decode(),)
    hooks.test(hook)
    mailbox.test(alice)
    deliver.send_due()
    said = set(Attempt.objects.values_list("said", flat=True))
    assert {words.URL_LOST, words.NO_ADDRESS} <= said, said
    assert not receiver.got and len(post.letters) == sent
    way = services.channels_of(alice)
    assert "no longer has" in way.address and "no longer has" in alice.hooks.get().address
    # Its reader's program still knows the address, and it opens; a look changes nothing.
    prove(mine := signed_in(cast.user(1)), 0)
    page = mine.get("/account/alerts").content.decode()
    assert "Feed readers that know it still find it" in page and "/account/feed/" not in page
    assert way.feed == "" and Client().get(f"/account/feed/{feed}.atom").status_code == 200
