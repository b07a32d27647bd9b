"""Rules find what they are about once, whatever happens between two looks."""

from __future__ import annotations

import datetime as dt
import re
import threading
import time
import uuid
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import timezone, translation

from accounts import stored_sentences
from accounts.errors import Problem
from accounts.models import User
from alerts import listing_changes, services, tasks, words
from alerts.kinds import Kind
from alerts.models import Held, Notification, Rule
from alerts.services import Wish
from attestation.models import Fact, Finding
from devnet import accounts as cast
from finetune.models import Task
from ledger.models import Projection, Service, ServiceChange, ServingContract, SubAccount
from probes.models import Health
from tests import factories
from tests.db.personal_world import prove
from tests.db.test_keys_lasting import signed_in
from tests.factories import ALICE, BOB, FINE_TUNING, INFERENCE, ONE, PETRA

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    """Alice holds 3 0G at Petra; the index has seen block 4,100,000 as final."""
    cache.clear()
    factories.head()
    factories.contract()
    factories.service()
    factories.purse()
    factories.sub_account()
    Projection.objects.create(name="ledger", version=3, final_block=4_100_000)
    return User.objects.for_address(ALICE)


def advance(block: int) -> None:
    Projection.objects.filter(name="ledger").update(final_block=block)


def titles(user: User) -> list[str]:
    return list(user.notifications.order_by("at", "pk").values_list("title", flat=True))


def set_balance(neuron: int) -> None:
    SubAccount.objects.filter(user=ALICE).update(balance=neuron)


def test_a_low_balance_is_told_when_it_begins_and_again_only_after_it_ended(alice: User) -> None:
    services.add(alice, Wish(Kind.LOW_BALANCE, threshold=2 * ONE))
    assert services.sweep() == 0
    set_balance(ONE)
    assert services.sweep() == 1 and services.sweep() == 0
    set_balance(5 * ONE)
    assert services.sweep() == 0 and not Held.objects.exists()
    set_balance(ONE)
    assert services.sweep() == 1
    row = alice.notifications.order_by("at").first()
    assert row is not None and row.title.startswith("1 0G left at ") and "2 0G" in row.text
    assert row.path.startswith("/account?action=transfer")
    # What is held for fine-tuning is filled for one task and used up by it: low is no news, but for
    # who names the provider.
    factories.contract(kind="fine-tuning")
    tuner = factories.address("tuner")
    factories.sub_account(serving=FINE_TUNING, provider=tuner, balance=ONE // 2)
    assert services.sweep() == 0
    services.add(alice, Wish(Kind.LOW_BALANCE, threshold=ONE, provider=tuner))
    assert services.sweep() == 1


def test_each_refund_is_told_once_when_it_unlocks_by_the_lock_time_of_then(alice: User) -> None:
    now = int(time.time())
    refunds = [
        {"amount": str(ONE), "created_at": now - 90_000},
        {"amount": str(ONE // 2), "created_at": now - 90_000},
        {"amount": str(ONE), "created_at": now - 50_000},
    ]
    SubAccount.objects.filter(user=ALICE).update(refunds=refunds, pending_refund=ONE * 5 // 2)
    services.add(alice, Wish(Kind.REFUND_UNLOCKED))
    assert services.sweep() == 1 and services.sweep() == 0
    assert titles(alice)[0].startswith("1.5 0G from ")
    ServingContract.objects.update(lock_time_seconds=40_000)
    assert services.sweep() == 1  # the owner shortened the lock: the other one is free, too


def test_changes_are_read_from_final_blocks_once_and_only_from_where_money_lies(
    alice: User,
) -> None:
    services.add(alice, Wish(Kind.PRICE, percent=20))
    services.add(alice, Wish(Kind.URL))
    bob = User.objects.for_address(BOB)
    services.add(bob, Wish(Kind.URL))  # holds nothing anywhere
    carol = User.objects.for_address(factories.address("carol"))
    carol.watches.create(serving=INFERENCE, provider=PETRA)
    services.add(carol, Wish(Kind.URL))
    factories.change(block=4_000_000)  # before the rule was made
    factories.change(block=4_100_001, pending=True)
    each = 10**9  # neuron per token: 0.001 0G per million
    prices = {"input_price": str(100 * each), "output_price": str(100 * each)}
    factories.change(
        block=4_100_002, before=prices, after={**prices, "input_price": str(119 * each)}
    )
    advance(4_100_002)
    assert services.sweep() == 0
    after = {"input_price": str(80 * each), "output_price": str(150 * each)}
    factories.change(block=4_100_003, before=prices, after=after)
    for block in (4_100_004, 4_100_005):
        factories.change(block=block, change="url", before={"url": "a"}, after={"url": f"{block}"})
    advance(4_100_005)
    assert services.sweep() == 3 and services.sweep() == 0
    assert carol.notifications.count() == 1
    texts = set(alice.notifications.values_list("text", flat=True))
    price = next(text for text in texts if text.startswith("Input price"))
    assert price == (
        "Input price: 0.1 → 0.08 0G per 1M tokens (-20.00 %). "
        "Output price: 0.1 → 0.15 0G per 1M tokens (+50.00 %)."
    )
    with translation.override("de"):
        assert words.translated(price) == (
            "Eingabepreis: 0.1 → 0.08 0G je 1 Mio. Token (-20.00 %). "
            "Ausgabepreis: 0.1 → 0.15 0G je 1 Mio. Token (+50.00 %)."
        )
        # What earlier versions said of a finding, in other words than now.
        for sentence in stored_sentences.FORMER:
            told = f"0xF7…32: {sentence}"
            assert sentence not in words.translated(told), told
        told = words.translated("Fine-tuning of a: b is finished: the key is released")
        assert told == "Fine-Tuning von a: b ist fertig: Der Schlüssel ist freigegeben"
    assert any("The last of 2 such changes" in text for text in texts)
    assert not bob.notifications.exists()


def test_a_sweep_that_is_killed_before_it_remembers_tells_nothing_twice(alice: User) -> None:
    rule = services.add(alice, Wish(Kind.URL, provider=PETRA))
    factories.change(block=4_100_001, change="url", before={"url": "a"}, after={"url": "b"})
    advance(4_100_001)
    assert services.sweep() == 1
    Rule.objects.filter(pk=rule.pk).update(after_block=4_100_000)  # as if it had not been written
    assert services.sweep() == 0


def test_nobody_is_flooded(alice: User) -> None:
    services.add(alice, Wish(Kind.URL, provider=PETRA))
    for block in range(4_100_001, 4_100_041):
        factories.change(block=block, change="url", before={"url": "a"}, after={"url": "b"})
        advance(block)
        services.sweep()
    told = alice.notifications.order_by("at", "pk")
    assert told.count() == services.MOST_A_DAY
    assert sum("quiet for the rest" in row.text for row in told) == 1


def test_a_quiet_rule_tells_afterwards_only_what_still_holds(alice: User) -> None:
    url = services.add(alice, Wish(Kind.URL, provider=PETRA))
    low = services.add(alice, Wish(Kind.LOW_BALANCE, threshold=4 * ONE))
    until = timezone.now() + dt.timedelta(days=1)
    for rule in (url, low):
        services.snooze(rule, until)
    factories.change(block=4_100_001, change="url", before={"url": "a"}, after={"url": "b"})
    advance(4_100_001)
    assert services.sweep() == 0
    assert services.sweep(until + dt.timedelta(minutes=1)) == 1
    assert titles(alice)[0].startswith("3 0G left")


def test_down_and_back_by_probes_but_never_back_by_silence(alice: User) -> None:
    services.add(alice, Wish(Kind.PROVIDER_DOWN))
    now = timezone.now()
    health = Health.objects.create(
        serving=INFERENCE,
        provider=PETRA,
        kind="inference",
        service_name="inference-v1.0",
        state="down",
        since=now,
        checked_at=now,
        failures=1,
    )
    assert services.sweep() == 0  # once is not yet news
    Health.objects.update(failures=2)
    assert services.sweep() == 1 and services.sweep() == 0
    Health.objects.update(state="up", failures=0)
    assert services.sweep() == 1
    assert [title.split(" ", 1)[1] for title in titles(alice)] == [
        "does not answer",
        "answers again",
    ]
    # A moment that every language reads.
    texts = " ".join(Notification.objects.values_list("text", flat=True))
    assert f"By this site's probes since {now:%Y-%m-%d %H:%M} UTC." in texts
    assert f"told on {now:%Y-%m-%d %H:%M} UTC that it did not." in texts
    Health.objects.update(state="down", failures=3, since=now + dt.timedelta(hours=1))
    assert services.sweep() == 1
    # Nobody has looked for hours: that is no news for another rule, and no end for this one.
    Health.objects.update(checked_at=now - dt.timedelta(hours=3))
    bob = User.objects.for_address(BOB)
    services.add(bob, Wish(Kind.PROVIDER_DOWN, provider=PETRA))
    assert services.sweep() == 0 and Held.objects.count() == 1
    # Its service was removed, and nobody asks any more: it did not come back, nor is it down.
    Health.objects.update(checked_at=now)
    Service.objects.update(removed=True)
    assert services.sweep() == 0 and not Held.objects.exists()
    # Another service of it answers, the removed one says nothing about that.
    factories.service(serving=FINE_TUNING, kind="fine-tuning")
    other = Health.objects.create(
        serving=FINE_TUNING, provider=PETRA, kind="fine-tuning", service_name="f", state="down",
        since=now + dt.timedelta(hours=2), checked_at=now, failures=2,
    )  # fmt: skip
    assert services.sweep() == 2
    Health.objects.filter(pk=other.pk).update(state="up", failures=0)
    assert services.sweep() == 2
    health.delete()
    assert services.sweep() == 0


def test_a_changed_lock_time_and_a_worse_verification(alice: User) -> None:
    services.add(alice, Wish(Kind.LOCK_TIME))
    services.add(alice, Wish(Kind.VERIFICATION))
    assert services.sweep() == 0
    ServingContract.objects.update(lock_time_seconds=7_200, block=4_100_009)
    Finding.objects.create(
        kind=Fact.REGRESSION,
        provider=PETRA,
        service_kind="inference",
        service_name="inference-v1.0",
        subject="broker",
        opened_at=timezone.now() + dt.timedelta(seconds=1),
        detail={"from": "dev-pass", "to": "fail"},
    )
    Finding.objects.create(
        kind=Fact.URL_CHANGED,
        provider=PETRA,
        service_kind="inference",
        service_name="inference-v1.0",
        subject="https://elsewhere.example",
        opened_at=timezone.now() + dt.timedelta(seconds=1),
    )
    assert services.sweep() == 3 and services.sweep() == 0
    assert {"Refunds of inference-v1.0 now wait 2 h"} < set(titles(alice))
    assert any("endpoint moved without a new acknow" in title for title in titles(alice))
    worse = alice.notifications.get(text__startswith="It was").text
    assert worse == "It was “verified (development evidence)” and is “failed”."
    with translation.override("de"):
        assert "„verifiziert (Entwicklungs" in words.translated(worse)


def delivered_task(user: User) -> Task:
    return Task.objects.create(
        user=user,
        remote_id=uuid.uuid4(),
        provider=PETRA,
        serving=FINE_TUNING,
        service_name="fine-tuning-v1.0",
        url="https://provider.example",
        model="a <model>",
        model_hash="",
        dataset_hash="",
        parameters="{}",
        price_per_token=1,
        nonce=1,
        signature="",
        tee_signer=PETRA,
        progress="Delivered",
        created_at=timezone.now(),
    )


def test_more_changes_than_one_look_takes_lose_no_later_block(
    alice: User, monkeypatch: Any
) -> None:
    monkeypatch.setattr(listing_changes, "MOST_CHANGES", 2)
    services.add(alice, Wish(Kind.URL))
    urls: dict[str, Any] = {"change": "url", "before": {"url": "a"}, "after": {"url": "b"}}
    for sequence in range(3):
        factories.change(block=4_100_001, sequence=sequence, **urls)
    factories.change(block=4_100_002, **urls)
    advance(4_100_003)
    assert [services.sweep(), services.sweep(), services.sweep()] == [1, 1, 0]


def test_limits_doubles_and_the_undo(alice: User) -> None:
    rule = services.add(alice, Wish(Kind.URL))
    with pytest.raises(Problem, match="already"):
        services.add(alice, Wish(Kind.URL))
    services.delete(rule)
    services.restore(rule)
    services.delete(rule)
    services.add(alice, Wish(Kind.URL))
    with pytest.raises(Problem):
        services.restore(rule)  # there is another one for the same now
    for number in range(services.MOST_RULES - 1):
        services.add(alice, Wish(Kind.PRICE, provider=factories.address(number), percent=0))
    with pytest.raises(Problem, match="At most"):
        services.add(alice, Wish(Kind.SIGNER))
    answer = signed_in(cast.user(1)).post("/account/alerts/usual", {"for": "operator"})
    assert "At most 50 rules." in answer.content.decode()
    removed = alice.alert_rules.filter(kind=Kind.PRICE).latest("pk")
    services.delete(removed)
    services.add(alice, Wish(Kind.SIGNER))
    with pytest.raises(Problem, match="At most"):
        services.restore(removed)
    Rule.objects.filter(pk=rule.pk).update(
        deleted_at=timezone.now() - services.UNDO_FOR - dt.timedelta(seconds=1)
    )
    services.sweep()
    assert not Rule.objects.filter(pk=rule.pk).exists()


def test_looking_costs_the_same_for_few_and_for_many(
    alice: User, django_assert_max_num_queries: Any
) -> None:
    factories.contract(kind="fine-tuning")

    def rules(count: int) -> None:
        for number in range(count):
            user = User.objects.for_address(factories.address(f"user {number}"))
            SubAccount.objects.filter(user=user.address).delete()
            factories.sub_account(user.address)
            task = delivered_task(user)
            result = {"id": str(task.remote_id), "model_root_hash": "0x00", "timestamp": 1}
            factories.sub_account(
                user.address,
                serving=FINE_TUNING,
                deliverables=[{**result, "acknowledged": False, "settled": False}],
            )
            for kind in Kind:
                if not user.alert_rules.filter(kind=kind).exists():
                    services.add(user, Wish(kind, threshold=ONE, percent=0))

    with django_assert_max_num_queries(4):  # kinds that nobody asked for are not looked at
        services.sweep()
    rules(2)
    services.sweep()
    with django_assert_max_num_queries(130) as few:
        services.sweep()
    rules(12)
    services.sweep()
    with django_assert_max_num_queries(130) as many:
        services.sweep()
    assert len(many) == len(few)


def test_pages_belong_to_their_owner_and_forms_work_without_a_script(alice: User) -> None:
    mine, other = signed_in(cast.user(1)), signed_in(cast.user(2))
    anonymous = Client()
    assert "Sign in" in anonymous.get("/account/alerts").content.decode()
    mine.post("/account/alerts/usual")
    assert alice.alert_rules.count() == 6
    rule = alice.alert_rules.get(kind=Kind.URL)
    factories.change(block=4_100_001, change="url", before={"url": "a"}, after={"url": "b"})
    advance(4_100_001)
    services.sweep()
    row = alice.notifications.get()
    for path in (f"/account/inbox/{row.pk}", f"/account/alerts/rules/{rule.pk}"):
        method = other.get if "inbox" in path else other.post
        assert method(path).status_code == 404
    feed = f"/account/feed/{services.channels_of(alice).feed}.atom"
    assert row.title in anonymous.get(feed).content.decode()
    # A name from the chain may hold what XML cannot.
    alice.notifications.update(title="ft\x01 model", text="\x0b")
    assert "ft\ufffd model" in anonymous.get(feed).content.decode()
    alice.notifications.update(title=row.title, text=row.text)
    mine.post("/account/alerts/feed")
    assert anonymous.get(feed).status_code == 404
    assert anonymous.get("/account/feed/a%00b.atom").status_code == 404
    # What carries news away is for whoever signed just now, not for who finds the browser open.
    feed = f"/account/feed/{services.channels_of(alice).feed}.atom"
    for age, shown, status in ((0, True, 400), (601, False, 403)):
        prove(mine, age)
        assert (feed in mine.get("/account/alerts").content.decode()) == shown
        asked = mine.post("/account/alerts/mail", {"act": "ask", "email": 'no "address"\n'})
        assert asked.status_code == status
        # What was typed is sent once more, as it was, when there is a signature.
        kept = '<input type="hidden" name="email" value="no &quot;address&quot;\n">'
        again = '<form method="post" action="/account/alerts/mail">'
        assert all((part in asked.content.decode()) != shown for part in (kept, again))
    page = mine.get("/account/inbox")
    assert row.title in page.content.decode() and 'data-unread="1"' in page.content.decode()
    (until,) = re.findall(r'name="until" value="([^"]+)"', page.content.decode())
    later = alice.notifications.create(
        kind=row.kind, occurrence="later", title="New since", path="/", at=timezone.now()
    )
    mine.post("/account/inbox/read", {"until": until})
    assert alice.notifications.get(read_at=None) == later, "what came since is new"
    mine.post("/account/inbox/read", {"until": "2026-13-01"})
    assert not alice.notifications.filter(read_at=None).exists()
    alice.notifications.filter(pk=row.pk).update(read_at=None)
    answer = mine.get(f"/account/inbox/{row.pk}")
    assert answer.status_code == 302 and answer["Location"] == row.path
    assert 'data-unread="0"' in mine.get("/account/alerts").content.decode()
    answer = mine.post("/account/alerts/add", {"kind": "price", "number": "many"})
    assert answer.status_code == 400 and "whole number of percent" in answer.content.decode()
    typed = {"kind": "url", "provider": "", "number": "", "csrfmiddlewaretoken": "x" * 64}
    asked = mine.post("/account/alerts/add", {**typed, "preview": "1"})
    assert "csrf" not in asked["Location"] and asked["Location"].endswith("&preview=1#new")
    past = mine.get(asked["Location"].removesuffix("#new")).content.decode()
    assert "this would have told you" in past and "changed its URL" in past
    every = mine.get("/account/alerts?kind=price&number=0&preview=1").content.decode()
    assert "A price of each provider" in every and "changes by 0 %" not in every
    assert alice.alert_rules.count() == 6  # a preview makes no rule


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_are_one(alice: User) -> None:
    services.add(alice, Wish(Kind.LOW_BALANCE, threshold=4 * ONE))
    barrier, told = threading.Barrier(4), []

    def run() -> None:
        barrier.wait()
        told.append(tasks.sweep())
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(told) == 1 and Notification.objects.count() == 1
    assert ServiceChange.objects.count() == 0
