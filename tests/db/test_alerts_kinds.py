"""Rules about prices, tokens, tasks, announcements; another number; what would have been told."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone, translation

from accounts.models import AccessToken, User
from alerts import conditions, pages, past, services, words
from alerts.kinds import Kind
from alerts.models import Held, Notification, Rule
from alerts.services import Wish
from chain.models import RawBlock
from devnet import accounts as cast
from finetune.models import Passage, Task
from inference.media.models import File, Job, Role
from inference.models import Chat, Medium, Turn
from ledger.models import Movement, Service, Settlement, SubAccount
from operators.models import Note
from probes.models import Probe
from probes.retention import KEPT_PROBES
from tests import factories
from tests.db.test_alerts import advance, alice, delivered_task, set_balance, titles
from tests.db.test_keys_lasting import signed_in
from tests.factories import ALICE, BOB, FINE_TUNING, INFERENCE, ONE, PETRA

pytestmark = pytest.mark.django_db
__all__ = ["alice"]


def test_prices_that_cross_ones_own_and_keys_that_are_acknowledged(alice: User) -> None:
    services.add(alice, Wish(Kind.PRICE_BELOW, provider=PETRA, threshold=ONE // 2))
    services.add(alice, Wish(Kind.PRICE_ABOVE, provider=PETRA, threshold=ONE // 2))
    services.add(alice, Wish(Kind.ACKNOWLEDGED, provider=PETRA))
    each, block = ONE // 10**6, 4_100_000  # neuron per token of 1 0G per million
    for was, now, told in (
        (each, each // 2, []),  # not below it yet
        (each // 2, each // 3, ["asks less than your price"]),
        (each // 3, each // 4, []),
        (each // 4, each // 2, []),
        (each // 2, each, ["asks more than your price"]),
    ):
        block += 1
        before, after = ({"input_price": "1", "output_price": str(n)} for n in (was, now))
        factories.change(block=block, before=before, after=after)
        advance(block)
        assert services.sweep() == len(told)
        assert [title.split(" ", 1)[1] for title in titles(alice)] == told
        texts = alice.notifications.values_list("text", flat=True)
        assert all("0G per 1M tokens" in text for text in texts)
        Notification.objects.all().delete()
    # Of embeddings the input alone is paid for.
    block += 1
    Service.objects.update(service_type="embedding")
    before, after = ({"input_price": str(n), "output_price": "0"} for n in (each, each // 3))
    factories.change(block=block, before=before, after=after)
    any_change = services.add(alice, Wish(Kind.PRICE, provider=PETRA))
    Rule.objects.filter(pk=any_change.pk).update(after_block=block)  # for what comes next
    other = {**after, "output_price": str(each)}
    block += 1
    factories.change(block=block, before=after, after=other)
    advance(block)
    assert services.sweep() == 1
    assert titles(alice)[0].endswith("asks less than your price")
    Notification.objects.all().delete()
    factories.change(block=block + 1, change="acknowledged", before={}, after={})
    advance(block + 1)
    assert services.sweep() == 1
    assert titles(alice)[0].startswith("The owner acknowledged the signing key of 0x")
    # Also where they were before: the owner vouches for a new URL in the same way.
    assert alice.notifications.get().text == "Settlements that this key signs are accepted."
    # A new key takes the acknowledgement with it: the key is the news, and both keys are named.
    services.add(alice, Wish(Kind.SIGNER, provider=PETRA))
    block += 2
    keys = [{"tee_signer": f"0x{digit * 40}"} for digit in "12"]
    place: dict[str, Any] = {"block": block, "sequence": 1}
    factories.change(**place, change="signer", before=keys[0], after=keys[1])
    lost: dict[str, Any] = {"change": "unacknowledged", "before": None, "after": keys[1]}
    factories.change(**{**place, "sequence": 2}, **lost)
    advance(block)
    assert services.sweep() == 1
    row = alice.notifications.get(rule__kind=Kind.SIGNER)
    assert row.title.endswith(" changed its signing key")
    assert row.text == (
        "The key was 0x1111…1111 and is 0x2222…2222; the owner's acknowledgement was lost with it."
        " Your own acknowledgement survives a change of the key. Check it before you send more."
    )
    wish = Wish(Kind.SIGNER, provider=PETRA)
    shown = [hit.text for hit in past.hits(alice, wish, timezone.now()) or ()]
    assert shown == [row.text]  # nor does the preview tell it twice
    factories.change(block=block + 1, **lost)
    advance(block + 1)
    assert services.sweep() == 1
    assert any("lost the owner's acknowledgement" in title for title in titles(alice))
    # Nor does who changes the key at once keep it back that the owner took it away.
    factories.change(block=block + 2, **lost)
    factories.change(block=block + 3, change="signer", before=keys[1], after=keys[0])
    advance(block + 3)
    assert services.sweep() == 1
    row = alice.notifications.filter(rule__kind=Kind.SIGNER).latest("at")
    assert row.text.startswith("The key was 0x2222…2222 and is 0x1111…1111; the owner's")
    # Nor who goes, and comes again with another one; with the same one, or for the first time, it
    # is no news.
    block += 4
    for number, key in enumerate((*keys, keys[1])):
        if number:
            gone: dict[str, Any] = {"change": "removed", "before": keys[number - 1], "after": None}
            factories.change(block=block, sequence=2 * number, **gone)
        came: dict[str, Any] = {"change": "registered", "before": None, "after": key}
        factories.change(block=block, sequence=2 * number + 1, **came)
    advance(block)
    assert services.sweep() == 1
    row = alice.notifications.filter(rule__kind=Kind.SIGNER).latest("at")
    assert row.text.startswith("The key was 0x1111…1111 and is 0x2222…2222. Your own")


def test_a_listing_that_turns_to_pictures_crosses_no_price_of_words(alice: User) -> None:
    services.add(alice, Wish(Kind.PRICE_BELOW, provider=PETRA, threshold=ONE // 2))
    services.add(alice, Wish(Kind.PRICE, provider=PETRA))
    block, words_of = 4_100_001, {"input_price": "1", "output_price": str(ONE // 10**6)}
    images = {"input_price": "0", "output_price": str(ONE // 1000)}
    factories.change(block=block, before=words_of, after=images)
    types = [{"service_type": name} for name in ("chatbot", "text-to-image")]
    factories.change(block=block, change="type", before=types[0], after=types[1])
    Service.objects.filter(provider=PETRA).update(service_type="text-to-image")
    advance(block)
    assert services.sweep() == 1
    told = "Output price: 1 0G per 1M tokens → 0.001 0G per image."
    assert alice.notifications.get().text == told
    # Who goes, and comes again with other prices, changed them.
    gone: dict[str, Any] = {"change": "removed", "before": {**types[1], **images}, "after": None}
    factories.change(block=block + 1, **gone)
    dearer = {**types[1], **images, "output_price": str(ONE // 500)}
    came: dict[str, Any] = {"change": "registered", "before": None, "after": dearer}
    factories.change(block=block + 1, sequence=1, **came)
    advance(block + 1)
    assert services.sweep() == 1
    told = "Output price: 0.001 → 0.002 0G per image (+100.00 %)."
    assert alice.notifications.latest("at").text == told


def test_a_token_that_ends_is_told_at_each_mark_of_its_time_and_limit(alice: User) -> None:
    services.add(alice, Wish(Kind.TOKEN))
    bob = User.objects.for_address(BOB)
    now = timezone.now()
    made = {"expires_at": now + dt.timedelta(days=8), "label": "my <agent>"}
    token = alice.access_tokens.create(digest="a", hint="zgm_a", spend_limit=10 * ONE, **made)
    bob.access_tokens.create(digest="b", hint="zgm_b", **{**made, "expires_at": now})
    assert services.sweep() == 0
    AccessToken.objects.filter(pk=token.pk).update(spent=9 * ONE)
    assert services.sweep() == 1 and services.sweep() == 0
    AccessToken.objects.filter(pk=token.pk).update(spent=8 * ONE)  # an open request cost less
    assert services.sweep() == 0
    AccessToken.objects.filter(pk=token.pk).update(spent=10 * ONE)
    assert services.sweep() == 1
    for days in (1.5, 1.6, 7.5, 9):
        services.sweep(now + dt.timedelta(days=days))
    assert [title.split("“my <agent>” ")[1].split(" on ")[0] for title in titles(alice)] == [
        "has spent 90 % of its 10 0G",
        "has spent 100 % of its 10 0G",
        "expires",
        "expires",
    ]


def test_what_a_provider_announces_reaches_who_holds_money_there(alice: User) -> None:
    services.add(alice, Wish(Kind.NOTE))
    now = timezone.now()
    for number, (provider, kind, ends) in enumerate((
        (PETRA, "maintenance", now), (PETRA, "incident", None), (PETRA, "incident", now),
        (BOB, "maintenance", now),
    )):  # fmt: skip
        Note.objects.create(
            provider=provider, kind=kind, text="New <b>disks",
            starts_at=now, ends_at=ends, nonce=str(number), message="m", signature="0x",
            signed_at=timezone.now(),
        )  # fmt: skip
    assert services.sweep() == 3 and services.sweep() == 0
    assert {title.split(" ", 1)[1] for title in titles(alice)} == {
        "announces maintenance",
        "tells of an incident",
        "says that an incident ended",
    }
    page = signed_in(cast.user(1)).get("/account/inbox").content.decode()
    assert "end not known: New &lt;b&gt;disks" in page


def test_a_rule_gets_another_number_and_keeps_what_it_told(alice: User) -> None:
    mine = signed_in(cast.user(1))
    rule = services.add(alice, Wish(Kind.LOW_BALANCE, threshold=4 * ONE))
    assert services.sweep() == 1
    page = mine.get("/account/alerts").content.decode()
    assert page.count('data-testid="rule-change"') == 1 and 'value="4"' in page
    path = f"/account/alerts/rules/{rule.pk}"
    assert mine.post(path, {"act": "number", "number": "-1"}).status_code == 400
    mine.post(path, {"act": "number", "number": "3.5"})
    assert services.sweep() == 0, "it held before"
    mine.post(path, {"act": "number", "number": "2"})
    assert services.sweep() == 0 and not Held.objects.exists()
    mine.post(path, {"act": "number", "number": "3.5"})
    assert services.sweep() == 1
    Rule.objects.filter(pk=rule.pk).update(deleted_at=timezone.now())
    mine.post(path, {"act": "number", "number": "9"})
    rule.refresh_from_db()
    assert rule.threshold == ONE * 7 // 2


def test_the_past_of_balances_refunds_outages_and_tasks(alice: User) -> None:
    now = timezone.now()
    days = [now - dt.timedelta(days=n) for n in range(40)]

    def moved(
        at: dt.datetime, amount: int, after: int, kind: str = "settlement", **more: Any
    ) -> None:
        Movement.objects.create(
            **{
                "user": ALICE, "serving": INFERENCE, "provider": PETRA, "kind": kind, "at": at,
                "balance": "sub_account", "amount": amount, "balance_after": after,
                "block": 4_000_000 - (now - at).days, "source": "event", **more,
            }
        )  # fmt: skip

    moved(days[35], -ONE, 9 * ONE)
    moved(days[20], -8 * ONE, ONE)  # falls below 2
    moved(days[19], -1, ONE - 1)
    moved(days[10], 5 * ONE, 6 * ONE, "transfer")
    moved(days[9], 0, 6 * ONE, "refund_requested", pending_change=5 * ONE)  # falls below 2 again
    moved(days[5], 0, 6 * ONE, "refund_cancelled", pending_change=-3 * ONE)
    moved(days[4], -2 * ONE, 4 * ONE, "refund_paid", pending_change=-2 * ONE)
    moved(days[3], -ONE, 3 * ONE)
    for at, after in ((days[8], 3 * ONE), (days[7], ONE // 2)):
        moved(at, -ONE, after, "transfer", balance="available", serving=None, provider=None)
    Probe.objects.bulk_create(
        Probe(
            serving=INFERENCE, provider=PETRA, kind="inference", service_name="inference-v1.0",
            at=days[6] + dt.timedelta(minutes=n), url="u", state=state,
        )
        for n, state in enumerate(("down", "down", "up", "down", "up", "down", "down", "down"))
    )  # fmt: skip
    page = (
        signed_in(cast.user(1)).get("/account/alerts?kind=provider_down&preview=1").content.decode()
    )
    assert f"In the last {KEPT_PROBES.days} days" in page, "single probes are kept no longer"

    def told(kind: Kind, **wish: Any) -> list[tuple[str, Any]]:
        found = past.hits(alice, Wish(kind, **wish), now)
        assert found is not None
        return [(hit.title.split(" 0x")[0], hit.at) for hit in found]

    assert told(Kind.LOW_BALANCE, threshold=2 * ONE) == [
        ("1 0G left at", days[9]),
        ("1 0G left at", days[20]),
    ]
    assert told(Kind.LOW_AVAILABLE, threshold=ONE) == [("0.5 0G available", days[7])]
    assert told(Kind.REFUND_UNLOCKED) == [("5 0G from", days[9] + dt.timedelta(days=1))]
    assert [at for _, at in told(Kind.PROVIDER_DOWN, provider=PETRA)] == [
        days[6] + dt.timedelta(minutes=5)
    ]
    assert told(Kind.TASK) == told(Kind.REPORT) == told(Kind.NOTE) == []
    assert past.hits(alice, Wish(Kind.TOKEN), now) is None


def test_what_took_long_to_make_is_told_when_it_is_ready(alice: User) -> None:
    rule = services.add(alice, Wish(Kind.WORK))
    now = timezone.now()
    Rule.objects.filter(pk=rule.pk).update(created_at=now - dt.timedelta(hours=1))

    def chat(medium: Medium) -> Chat:
        return Chat.objects.create(owner=alice, provider=PETRA, medium=medium, key_sealed="k")

    def made(of: Chat, seconds: int = 60, state: str = "answered", piece: Any = None) -> None:
        turn = Turn.objects.create(
            chat=of, prompt_key=uuid4(), state=state, process="p", provider=PETRA, model="m",
            serving=INFERENCE, url="u", input_price=1, output_price=1, max_tokens=1, ended_at=now,
        )  # fmt: skip
        began = now - dt.timedelta(seconds=seconds)
        Turn.objects.filter(pk=turn.pk).update(created_at=began)
        Job.objects.create(turn=turn, path="p", content_type="c", piece=piece)

    made(pictures := chat(Medium.IMAGES))
    made(chat(Medium.IMAGES), 59)
    made(chat(Medium.IMAGES), state="stopped")
    made(chat(Medium.EMBED), state="failed")
    made(chat(Medium.CHAT))
    recording = chat(Medium.SPEECH)
    pieces = [
        File.objects.create(
            chat=recording, role=Role.SPOKEN, number=n, sealed=b"", size=1, media_type="audio/wav"
        )
        for n in range(2)
    ]
    made(recording, piece=pieces[0])
    assert services.sweep() == 2 and services.sweep() == 0  # half a recording is no news
    made(recording, 1, piece=pieces[1])
    assert services.sweep() == 1 and services.sweep() == 0
    assert sorted(titles(alice)) == [
        "Your embeddings were not made", "Your pictures are ready", "Your transcript is ready"
    ]  # fmt: skip
    paths = alice.notifications.values_list("path", flat=True)
    assert {f"/playground/images/{pictures.pk}", f"/playground/audio/{recording.pk}"} < set(paths)
    found = past.hits(alice, Wish(Kind.WORK), now)
    assert found is not None and len(found) == 3


def test_money_that_lies_idle_is_told_once_until_something_happens_to_it(alice: User) -> None:
    rule = services.add(alice, Wish(Kind.IDLE))
    said = pages.rule_row(rule, timezone.now()).sentence
    assert said == "My money at each provider where I hold money was not used for 30 days"
    assert services.sweep() == 0  # nobody knows since when
    used(SubAccount.objects.get().block, days=29)
    assert services.sweep() == 0
    # Of an index that has not come so far, or heard of no block since, nobody knows either.
    later = timezone.now() + dt.timedelta(days=2)
    assert services.sweep(later) == 0
    far = factories.head(checked_at=later, head_block=9_000_000)
    assert services.sweep(later) == 0
    factories.head(checked_at=later, head_block=far.indexed_block)
    assert services.sweep(later) == 1 and services.sweep(later) == 0
    row = alice.notifications.get()
    assert row.title.startswith("3 0G at ") and row.title.endswith("was not used for 31 days")
    assert row.path.startswith("/account?action=retrieve")
    with translation.override("de"):
        assert words.translated(row.title).endswith("wurden seit 31 Tagen nicht gebraucht")
    # Another provider is none of a rule's that names one, and what is used is idle no more.
    SubAccount.objects.update(block=4_100_001)
    used(4_100_001, days=40)
    Rule.objects.update(provider=BOB)
    assert services.sweep() == 0
    Rule.objects.update(provider="")
    SubAccount.objects.update(balance=0)
    assert services.sweep() == 0
    set_balance(ONE)
    assert services.sweep() == 1


def used(block: int, *, days: int) -> None:
    """The block's time: so long ago."""
    at = int(time.time()) - days * 86_400 - 60
    header = {"hash": factories.tx_hash(f"block {block}"), "parent_hash": factories.tx_hash("p")}
    RawBlock.objects.create(number=block, timestamp=at, **header)


def test_a_task_that_got_somewhere_and_reminders_before_its_deadline(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.add(alice, Wish(Kind.TASK))
    services.add(alice, Wish(Kind.DEADLINE))
    factories.contract(kind="fine-tuning", lock_time_seconds=172_800)
    now = timezone.now()
    task = delivered_task(alice)
    Passage.objects.create(task=task, stage="Training", at=now)
    Passage.objects.create(task=task, stage="Delivered", at=now + dt.timedelta(seconds=1))
    # However much happens to others between two looks.
    monkeypatch.setattr(conditions, "MOST_CHANGES", 4)
    bob = User.objects.for_address(factories.BOB)
    services.add(bob, Wish(Kind.TASK))
    for number in range(4):
        at = now + dt.timedelta(seconds=2 + number)
        Passage.objects.create(task=delivered_task(bob), stage="Delivered", at=at)
    delivered = int(now.timestamp()) - 3_700
    held = {"id": str(task.remote_id), "model_root_hash": "0x00", "acknowledged": False}
    account = factories.sub_account(serving=FINE_TUNING)
    # 5 of brokers' usual 6 hours are left; they end, then the longest that a provider may give.
    for age, told in ((0, 2 + 4), (15_000, 1), (30_000, 1), (40_000, 0), (65_000, 1), (80_000, 1)):
        account.deliverables = [{**held, "settled": False, "timestamp": delivered - age}]
        account.save()
        assert services.sweep() == told and services.sweep() == 0, age
        # By the chain's word: a provider that says nothing more would be paid for the silence.
        Task.objects.filter(pk=task.pk).update(progress="Training")
    late = alice.notifications.filter(text__contains="may be too late already")
    assert sorted(row.title.split()[2] for row in late) == ["1", "24", "6"]
    assert sorted(title.removesuffix(" fine-tuning of a <model>") for title in titles(alice)) == [
        "Fine-tuning of a <model> is delivered: acknowledge it in time",
        *["Less than 1 hour to acknowledge the"] * 2,
        "Less than 24 hours to acknowledge the",
        *["Less than 6 hours to acknowledge the"] * 2,
    ]
    # Finished is its provider's word: told once the chain has it settled, and as what it is there,
    # however late that comes.
    weeks = now - dt.timedelta(days=80)
    Rule.objects.update(created_at=weeks)
    Passage.objects.create(task=task, stage="Finished", at=weeks + dt.timedelta(hours=1))
    assert services.sweep() == 0
    account.deliverables = [{**held, "settled": True, "timestamp": delivered - 80_000}]
    account.save()
    assert services.sweep() == 1 and services.sweep() == 0
    ended = alice.notifications.get(title__endswith="was settled without your acknowledgement")
    assert "the key to the model is not released" in ended.text
    # Of a task that was made with another program there is no row: its result is told all the same.
    other = {**held, "id": "x" * 256, "settled": False, "timestamp": delivered}
    elsewhere = factories.sub_account(serving=FINE_TUNING, provider=BOB, deliverables=[other])
    assert services.sweep() == 1 and services.sweep() == 0
    notice = alice.notifications.get(provider=BOB)
    assert (notice.title.split()[2], notice.path) == ("6", "/fine-tuning")
    assert f"“Find my tasks” at {BOB[:6]}" in notice.text
    with translation.override("de"):
        assert words.translated(notice.title).endswith("von einem Modell anzuerkennen")
        assert f"finden“ bei {BOB[:6]}" in words.translated(notice.text)
    elsewhere.delete()
    # A rule that is made before the chain has it settled tells it as well; one made after does not.
    alice.alert_rules.all().delete()
    made = now + dt.timedelta(seconds=10)
    Rule.objects.filter(pk=services.add(alice, Wish(Kind.TASK)).pk).update(created_at=made)
    paid = {"serving": FINE_TUNING, "status": "penalty"}
    factories.settlement(**paid, at=made - dt.timedelta(hours=30))  # of a result before it
    factories.settlement(**paid, at=made - dt.timedelta(seconds=1))
    assert services.sweep() == 0
    Settlement.objects.filter(at__gt=now).update(at=made + dt.timedelta(seconds=1))
    assert services.sweep() == 1 and services.sweep() == 0
