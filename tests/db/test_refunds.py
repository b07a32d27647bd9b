"""Refunds in words: what ate them, when the next can be asked for, what collecting all would do."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import clock, refunds, timeskip
from accounts.models import Intent, State, User
from attestation.models import Standing
from ledger.models import Ledger, Movement, Service, SubAccount
from ledger.selectors import account
from tests import factories
from tests.factories import ALICE, INFERENCE, ONE, PETRA

pytestmark = pytest.mark.django_db
DAY = 86_400


@pytest.fixture
def alice() -> Client:
    client = Client()
    client.force_login(User.objects.for_address(ALICE))
    return client


def pair(provider: str, *ages: tuple[int, int], free: int = 0, **given: Any) -> SubAccount:
    """A sub-account with refunds of (amount, seconds since they were requested)."""
    now = int(timezone.now().timestamp())
    pending = sum(amount for amount, _ in ages)
    return SubAccount.objects.create(
        serving=INFERENCE,
        user=ALICE,
        provider=provider,
        balance=pending + free,
        pending_refund=pending,
        refunds=[{"amount": str(amount), "created_at": now - age} for amount, age in ages],
        block=5,
        **given,
    )


def moved(kind: str, tx: str, **given: Any) -> Movement:
    values: dict[str, Any] = {
        "user": ALICE,
        "serving": INFERENCE,
        "provider": PETRA,
        "kind": kind,
        "balance": "sub_account",
        "amount": 0,
        "balance_after": ONE,
        "block": 7,
        "at": timezone.now(),
        "tx_hash": factories.tx_hash(tx),
        "source": "event",
    }
    return Movement.objects.create(**{**values, **given})


def test_a_reduction_names_its_cause_and_its_transaction(alice: Client) -> None:
    factories.contract()
    moved("refund_cancelled", "a", pending_change=-3)
    moved("settlement", "a", amount=-5)
    moved("refund_cancelled", "b", pending_change=-4, block=8)
    moved("transfer", "b", amount=1, block=8)
    # A settlement with another provider in the same transaction is not this one's cause.
    moved("settlement", "b", amount=-5, provider=factories.address("other"))
    top_up, settled = refunds.reductions(ALICE)
    assert (top_up.amount, top_up.eaten, settled.amount, settled.eaten) == (4, False, 3, True)
    html = alice.get("/account/refunds").content.decode()
    assert 'data-cause="settlement" data-amount="3"' in html
    assert factories.tx_hash("a") in html and "Cancelled by a top-up." in html
    assert refunds.reductions(factories.BOB) == ()


def test_a_full_queue_says_when_the_next_slot_opens(alice: Client) -> None:
    factories.contract()
    row = pair(PETRA, *((ONE, age) for age in (5000, 4000, 3000, 2000, 1000)), free=ONE)
    opens = datetime.fromtimestamp(row.refunds[0]["created_at"] + DAY, UTC)
    html = alice.get("/account/refunds").content.decode()
    assert 'data-testid="refunds-full"' in html and opens.strftime("%Y-%m-%dT%H:%M:%SZ") in html
    # One collectable entry frees its place in the same call.
    SubAccount.objects.update(
        refunds=[
            {**row.refunds[0], "created_at": row.refunds[0]["created_at"] - DAY},
            *row.refunds[1:],
        ]
    )
    assert b"refunds-full" not in alice.get("/account/refunds").content


def test_collect_all_takes_only_what_is_unlocked_twenty_at_a_time() -> None:
    factories.contract()
    for number in range(23):
        pair(factories.address(number), (ONE, DAY + 1), (7, 60), free=number)
    pair(factories.address("locked"), (ONE, 60), free=ONE)
    pair(factories.address("free"), free=ONE)
    first, second = refunds.batches(account(ALICE).positions, clock.now_unix())
    assert (len(first.items), len(second.items)) == (20, 3)
    everyone = {item.provider for batch in (first, second) for item in batch.items}
    assert everyone == {factories.address(number) for number in range(23)}
    assert first.paid + second.paid == 23 * ONE
    assert first.relocked + second.relocked == sum(range(23))


def test_the_contracts_clock_decides_what_is_unlocked(alice: Client) -> None:
    factories.contract()
    Ledger.objects.create(user=ALICE, available=0, total=ONE, block=5)
    pair(PETRA, (ONE, DAY - 60), (ONE, -100))  # and one that was asked for just now
    html = alice.get("/account/refunds").content.decode()
    assert "refunds-unlocked" not in html and "kind=refund_unlocked#new" in html
    # The chain's newest block is from two minutes ahead: there the refund is unlocked already.
    ahead = int(timezone.now().timestamp()) + 120
    factories.head(indexed_timestamp=ahead)
    assert clock.now_unix() == ahead  # to the second: a refund may be due at this very block
    html = alice.get("/account/refunds").content.decode()
    assert 'data-testid="refunds-unlocked"' in html and 'data-testid="refund-collect"' in html
    assert "unlocked - collect now" in html
    said = re.findall(r'data-label="Requested"><time[^>]*>([^<]*)', html)
    assert said and all(text == "now" or text.endswith(" ago") for text in said), said
    # Nothing is told of what has unlocked.
    row = SubAccount.objects.get(user=ALICE, provider=PETRA)
    SubAccount.objects.update(refunds=row.refunds[:1])
    assert "kind=refund_unlocked#new" not in alice.get("/account/refunds").content.decode()
    SubAccount.objects.update(refunds=row.refunds)
    # What was prepared for another provider is not what is collected here.
    begun = Intent.objects.create(
        user=User.objects.get(), chain_id=31337, action="retrieve", params={}, to=INFERENCE,
        state=State.PRECHECKED,
    )  # fmt: skip
    for provider, shown in ((factories.BOB, False), (PETRA, True)):
        Intent.objects.update(params={"providers": [provider], "service_name": "inference-v1.0"})
        page = alice.get("/account/refunds/collect").content.decode()
        assert (str(begun.pk) in page) is shown, provider
    # A chain that stands still does not turn its clock back.
    factories.head(indexed_timestamp=int(timezone.now().timestamp()) - 5 * DAY)
    assert clock.lead_seconds() == 0


def test_time_is_skipped_on_a_local_devnet_only(alice: Client, settings: Any) -> None:
    factories.contract()
    assert timeskip.possible()
    for name, value in (("IS_DEVNET", False), ("CHAIN_ID", 16602)):
        before = getattr(settings, name)
        setattr(settings, name, value)
        assert alice.post("/account/devnet/skip").status_code == 404
        assert b"time-skip" not in alice.get("/account/refunds").content
        setattr(settings, name, before)
    assert alice.get("/account/devnet/skip").status_code == 405
    assert Client().post("/account/devnet/skip").status_code == 404
    assert Client(enforce_csrf_checks=True).post("/account/devnet/skip").status_code == 403


def test_a_service_says_no_money_is_free_where_all_of_it_is_on_its_way_back(alice: Client) -> None:
    factories.contract()
    factories.service(PETRA)
    factories.settlement()
    held = pair(PETRA, (2 * ONE, 60))

    def shown() -> str:
        return alice.get(f"/services/inference/{PETRA}").content.decode()

    page = shown()
    assert "</a> of 1 settlement<" in page
    assert "Nothing here is free for requests." in page and page.count(">Top up<") == 1
    assert re.search(r", unlocks in\s*<span[^>]*>23 h", page)
    held.balance += 2 * ONE
    held.save()
    assert "Ready to use: more than the 1 0G in reserve lies here." in shown()
    # Whatever the playground asks, it is the next act.
    for service_type, label, path in (
        ("chatbot", "Chat", "chat"),
        ("text-to-image", "Make a picture", "images"),
        ("speech-to-text", "Transcribe", "audio"),
        ("embedding", "Embed texts", "embeddings"),
    ):
        Service.objects.update(service_type=service_type)
        page = shown()
        assert "Ready to use: more than the 1 0G in reserve lies here." in page
        assert re.search(rf'class="button" href="/playground/{path}\?[^"]*">{label}<', page)
    factories.head(indexed_timestamp=int(timezone.now().timestamp()) + DAY)
    assert re.search(r"</span>: unlocked - collect now", shown())


@pytest.mark.parametrize(
    ("gone", "said"),
    [(True, "The provider removed this service: nothing is answered"),
     (False, "Its evidence failed our check: send nothing private")],
)  # fmt: skip
def test_nobody_is_led_to_bring_money_where_only_leaving_helps(
    alice: Client, gone: bool, said: str
) -> None:
    factories.contract()
    factories.service(PETRA)
    if gone:
        Service.objects.update(removed=True)
    else:
        names = {"provider": PETRA, "kind": "inference", "service_name": "inference-v1.0"}
        Standing.objects.create(**names, overall="fail", checked_at=timezone.now(), basis={})

    def card(page: str) -> str:
        return page.split("Your position</h2>")[1].split("</section>")[0]

    path = f"/services/inference/{PETRA}"
    nothing = card(alice.get(path).content.decode())
    assert "You hold nothing" in nothing and "Fund this provider" not in nothing
    held = pair(PETRA, (2 * ONE, 60))
    back = card(alice.get(path).content.decode())
    assert "All that lies here is on its way back." in back and "Top up" not in back
    assert 'href="/account/refunds"' in back
    held.balance += ONE // 2  # below the reserve: still nothing to top up
    held.save()
    page = card(alice.get(path).content.decode())
    assert said in page and "Top up" not in page and page.count("action=retrieve") == 1
    funds = alice.get("/account").content.decode()
    assert funds.count('data-testid="attention"') == 1 and said in funds
    assert ">Top up<" not in funds
    lasts = alice.get("/account/analytics").content.decode()
    assert 'data-testid="runway-row"' in lasts and ">Top up<" not in lasts
    terms = alice.get(f"/account/spendable?account=inference-v1.0:{PETRA}").content.decode()
    assert "answers nothing at this balance" in terms and ">Top up<" not in terms


def test_a_review_of_what_is_still_locked_says_for_how_long(alice: Client) -> None:
    factories.contract()
    pair(PETRA, (ONE, DAY + 1), (ONE, DAY - 3_000), (ONE, 60))
    page = alice.get(f"/account?action=retrieve&account=inference-v1.0:{PETRA}").content.decode()
    assert re.search(r" data-more>[^<]*<span[^>]*>(50 min|49 min \d+ s)<", page)
    other = alice.get(f"/account?action=retrieve&account=inference-v1.0:{INFERENCE}")
    assert b"data-more" not in other.content + alice.get("/account?action=retrieve").content


def test_a_collection_says_what_came_back_by_the_chain(alice: Client) -> None:
    """Between its review and its block the provider may have charged it."""
    gain = {"what": "available", "before": "1", "after": "3"}
    intent = Intent.objects.create(
        user=User.objects.get(), chain_id=31337, action="retrieve", params={}, effects=[gain],
        to=INFERENCE, state=State.FINAL, tx_hash=factories.tx_hash("a"),
    )  # fmt: skip

    def shown(path: str) -> str:
        return alice.get(path).content.decode()

    one, of_all = f"/account/transactions/{intent.pk}/status", "/account/refunds/collect"
    for came in (False, True):
        assert ('data-testid="brought-nothing"' in shown(one)) is not came
        assert ("What came back" in shown(one)) is ("What you collected" in shown(of_all)) is came
        moved("refund_paid", "a", amount=-2)


def test_a_service_is_funded_where_it_is_paid_from(alice: Client) -> None:
    """A provider may offer both: what is held for the one pays for nothing of the other."""
    for kind in ("inference", "fine-tuning"):
        factories.contract(kind=kind)
        factories.service(PETRA, kind=kind)
    for kind, reserve in (("inference", True), ("fine-tuning", False)):
        page = alice.get(f"/services/{kind}/{PETRA}").content.decode()
        assert f'href="/account?action=transfer&amp;account={kind}-v1.0%3A{PETRA}">Fund' in page
        assert ("needs a sub-account with more than 1 0G" in page) is reserve


def test_a_strangers_movements_are_not_called_yours(alice: Client) -> None:
    moved("deposit", "a", balance="available", source="transaction")
    assert "your transaction" in alice.get("/account/transactions").content.decode()
    page = Client().get(f"/accounts/{ALICE}").content.decode()
    assert "its owner’s transaction" in page and "your transaction" not in page


@pytest.mark.parametrize(
    ("ours", "judged"), [(0, 1001), (1001, 1001), (1030, 1030), (1060, 1060), (90_000, 1060)]
)
def test_a_clock_is_believed_for_the_length_of_a_block(ours: int, judged: int) -> None:
    assert clock.judged_at(1000, ours) == judged
