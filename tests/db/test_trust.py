"""What a review says about the key behind a provider: verified by us and when, was A, now B."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import attention, trust
from accounts.models import Intent, State, User
from attestation.models import Endpoint, Fact, Finding, Outcome, Standing, Trigger, Verification
from attestation.selectors import StandingView
from chain.selectors import head
from devnet import accounts as cast
from devnet.deploy import Contracts, connect
from devnet.owner import acknowledge_signer
from ledger.models import Service
from ledger.selectors import account
from marketplace import network, settled, settlements
from marketplace.settlements import Asked
from moderation.models import Effect
from moderation.subjects import Subject
from tests import factories
from tests.db.test_refunds import moved, pair
from tests.factories import ALICE, ONE

pytestmark = pytest.mark.django_db
PETRA, SIGNER = cast.provider(1).address, cast.signer(1).address
OTHER = cast.signer(2).address
NOW = timezone.now()
TWELVE = dt.timedelta(minutes=12, seconds=40)
SEEN = {"hardware": "warn", "key": "pass"}


def standing(overall: str, **given: Any) -> StandingView:
    return StandingView(
        **{"overall": overall, "judged": overall, "checked_at": NOW - TWELVE, **given}
    )


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (StandingView(), "We have not checked the evidence behind its signing key as it is listed"),
        (
            standing("never", judged="pass", checked_at=None),
            "Our last check is more than three days old and counts no more.",
        ),
        (
            standing("never", judged="pass", changed=True, checked_at=None),
            "We have not checked the evidence behind its signing key as it is listed now.",
        ),
        (StandingView(declared="standard"), "declares no trusted hardware"),
        (standing("pass"), "We verified 12 minutes ago that attested hardware names"),
        (standing("warn", questions=SEEN), "with warnings, that attested hardware"),
        # That the key was not seen hides behind a warning about something else.
        (
            standing("warn", questions={**SEEN, "key": "not_provided"}),
            "verified, with warnings. Not proven: that this key lives inside it.",
        ),
        (standing("dev-pass", development=True), "It is development evidence"),
        (standing("fail"), "12 minutes ago and it FAILED. Send it nothing private"),
        (standing("not_provided"), "12 minutes ago: cannot be checked."),
        (
            standing("partial", questions={"hardware": "pass", "gpu": "not_provided"}),
            "partly verified. Not proven: the GPU.",
        ),
        (
            standing("expired", judged="pass", checked_at=NOW - dt.timedelta(hours=26)),
            "1 day old and counts no more; it said: verified.",
        ),
        (
            standing("never", judged="fail", checked_at=None),
            "Its evidence FAILED our last check, more than three days ago.",
        ),
        (
            standing("pass", unreachable_since=NOW - dt.timedelta(hours=2)),
            "has not answered our checks for 2 hours.",
        ),
        (standing("pass", declared="centralized"), "the model answers elsewhere"),
    ],
)
def test_every_standing_is_said_in_words(view: StandingView, words: str) -> None:
    assert words in trust.evidence(view, NOW, SIGNER, SIGNER)


def test_a_verdict_about_another_key_is_no_word_about_this_one() -> None:
    said = trust.evidence(standing("pass"), NOW, OTHER, SIGNER)
    assert f"was of another signing key ({OTHER})" in said and "We verified" not in said


# --- in the review ------------------------------------------------------------------------------


@pytest.fixture
def contracts(anvil: Any, devnet: Any, settings: Any) -> Iterator[Contracts]:
    settings.CHAIN_RPC_URLS = (anvil.url,)
    found = connect(anvil.url, devnet)
    with found.chain.rollback():
        listed(found, SIGNER)
        acknowledge_signer(found, PETRA)
        found.ledger.send(cast.user(1), "depositFund", value=10 * ONE)
        factories.contract(address=found.inference.address)
        yield found


def listed(contracts: Contracts, signer: str) -> None:
    listing = ("chatbot", "http://127.0.0.1:1", "m", "TeeML", 1, 1, "{}", signer)
    value = 0 if contracts.inference.view("serviceExists", PETRA) else 100 * ONE
    contracts.inference.send(cast.provider(1), "addOrUpdateService", listing, value=value)


@pytest.fixture
def alice() -> Client:
    client = Client()
    client.force_login(User.objects.for_address(ALICE))
    return client


def judged(contracts: Contracts, overall: str, signer: str = SIGNER) -> None:
    at = timezone.now() - TWELVE
    run = Verification.objects.create(
        kind="inference",
        provider=PETRA,
        service_name="inference-v1.0",
        endpoint=Endpoint.BROKER,
        trigger=Trigger.SCHEDULE,
        started_at=at,
        finished_at=at,
        outcome=Outcome.JUDGED,
        now_unix=int(at.timestamp()),
        onchain_signer=signer,
        overall=overall,
    )
    Standing.objects.update_or_create(
        provider=PETRA,
        kind="inference",
        service_name="inference-v1.0",
        defaults={
            "serving": contracts.inference.address,
            "verification": run,
            "overall": overall,
            "checked_at": at,
        },
    )


def review(client: Client, action: str = "transfer", more: str = "&amount=2") -> str:
    query = f"action={action}&account=inference-v1.0:{PETRA}{more}"
    return client.get(f"/account?{query}", headers={"HX-Target": "review"}).content.decode()


def test_a_transfer_says_whether_the_key_it_acknowledges_was_verified(
    contracts: Contracts, alice: Client
) -> None:
    html = review(alice)
    assert 'data-effect="signer_acknowledged"' in html
    assert "We have not checked the evidence behind its signing key as it is" in html
    judged(contracts, "pass")
    assert "We verified 12 minutes ago that attested hardware names" in review(alice)
    assert '"notice bad"' not in review(alice)
    judged(contracts, "fail")
    html = review(alice)
    assert "12 minutes ago and it FAILED" in html and '"notice bad"' in html
    factories.service(PETRA, serving=contracts.inference.address)
    assert "Moderators hid" not in review(alice)
    subject = Subject.service(contracts.inference.address, PETRA)
    Effect.objects.create(
        number=1, kind="hidden", subject_kind=subject.kind, subject=subject.key,
        provider=PETRA, serving=contracts.inference.address, at=NOW,
    )  # fmt: skip
    assert "Moderators hid this provider from lists" in review(alice)
    assert "Moderators hid" not in review(alice, "retrieve", "")
    judged(contracts, "pass", signer=OTHER)
    assert f"was of another signing key ({OTHER})" in review(alice)
    # What was reviewed is kept with the transaction, and programs are told the same.
    body = {
        "action": "transfer",
        "from": ALICE,
        "params": {"provider": PETRA, "service_name": "inference-v1.0", "amount": str(2 * ONE)},
    }
    answer = alice.post("/api/v1/transactions/preview", body, content_type="application/json")
    assert any(OTHER in warning for warning in answer.json()["warnings"])
    deposit = review(alice, "deposit").replace("&#x27;", "'")
    assert "evidence" not in deposit


def held(contracts: Contracts, **given: Any) -> None:
    factories.sub_account(
        ALICE, provider=PETRA, serving=contracts.inference.address, balance=2 * ONE, **given
    )


def test_a_key_that_changed_since_is_named_before_it_is_acknowledged_again(
    contracts: Contracts, alice: Client
) -> None:
    at = contracts.inference.address
    contracts.ledger.send(cast.user(1), "transferFund", PETRA, "inference-v1.0", 2 * ONE)
    factories.service(PETRA, serving=at, tee_signer=SIGNER)
    held(contracts)
    assert "which one it was then is not known here" in review(alice)
    moved("transfer", "first", serving=at, provider=PETRA, block=10, amount=2 * ONE)
    assert "You acknowledged" not in review(alice)
    listed(contracts, OTHER)
    factories.service(PETRA, serving=at, tee_signer=OTHER, pending=True)
    before = {"tee_signer": SIGNER}
    after = {"tee_signer": OTHER}
    factories.change(PETRA, serving=at, block=20, change="signer", before=before, after=after)
    for action, more in (("transfer", "&amount=1"), ("acknowledge_signer", "&trust=yes")):
        html = review(alice, action, more)
        assert f"You acknowledged the signing key {SIGNER} (block 10). It is {OTHER} now" in html
        effect = html.split('data-effect="signer_acknowledged"')[1].split("</tr>")[0]
        assert f">{SIGNER[:6]}…<" in effect and f">{OTHER[:6]}…<" in effect
        assert '<p class="notice bad"' in html
    # Withdrawing trust needs no such words (and is refused while money lies there).
    assert "It is" not in review(alice, "acknowledge_signer", "&trust=no")


def test_whoever_asks_about_an_address_hears_nothing_of_what_its_owner_sent_from_here(
    contracts: Contracts, alice: Client
) -> None:
    at, user = contracts.inference.address, User.objects.for_address(ALICE)
    contracts.ledger.send(cast.user(1), "transferFund", PETRA, "inference-v1.0", 2 * ONE)
    listed(contracts, OTHER)
    factories.service(PETRA, serving=at, tee_signer=OTHER)
    held(contracts)
    signer = {"block": 20, "change": "signer", "before": {"tee_signer": SIGNER}}
    factories.change(PETRA, serving=at, after={"tee_signer": OTHER}, **signer)
    given = {"provider": PETRA, "acknowledged": True}
    intent = {"action": "acknowledge_signer", "params": given, "state": State.FINAL, "block": 15}
    Intent.objects.create(user=user, chain_id=31337, to=at, **intent)
    assert "(block 15)" in review(alice, "acknowledge_signer", "&trust=yes")
    asked = {"action": "acknowledge_signer", "from": ALICE, "params": given}
    path, kind = "/api/v1/transactions/preview", "application/json"
    told = alice.post(path, asked, content_type=kind).json()
    assert any("is not known here" in warning for warning in told["warnings"])
    assert "block 15" not in str(told)


# --- on the service page and among what needs attention ----------------------------------------


def line(client: Client) -> tuple[str, str]:
    html = client.get(f"/services/inference/{factories.PETRA}").content.decode()
    facts = html.split('<ol class="facts"')[1].split("</ol>")[0].split("<li ")
    mine = next(fact for fact in facts if '<span class="who">You</span>' in fact)
    return mine.split('data-state="')[1].split('"')[0], mine


def test_the_service_page_says_was_a_now_b_or_that_it_is_not_known(alice: Client) -> None:
    first, second = factories.address("key 1"), factories.address("key 2")
    factories.market(0)
    factories.service(tee_signer=first)
    assert line(alice)[0] == "unknown"  # holds nothing there
    pair(factories.PETRA, free=ONE, acknowledged=True)
    state, text = line(alice)
    assert state == "unknown" and "which key it was then is not known" in text
    opening = moved("opening", "start", block=9)
    assert "which key it was then is not known" in line(alice)[1]  # there, or at any time before
    opening.delete()
    moved("transfer", "open", block=10)
    state, text = line(alice)
    assert state == "yes" and f"{first[:6]}…{first[-4:]} at block 10" in text
    after = {"tee_signer": second}
    factories.change(change="signer", before={"tee_signer": first}, after=after, block=20)
    Service.objects.update(shadowed=True)  # the row on top of a final one hides it
    factories.service(tee_signer=second, pending=True)
    state, text = line(alice)
    assert state == "changed"
    assert f"Signer was {first[:6]}…{first[-4:]} when you acknowledged it at block 10" in text
    assert f"now {second[:6]}…{second[-4:]}" in text


def test_evidence_that_became_worse_is_told_to_whoever_holds_money_there(alice: Client) -> None:
    user = User.objects.for_address(ALICE)
    factories.contract()
    pair(factories.PETRA, free=5 * ONE, acknowledged=True)
    Finding.objects.create(
        kind=Fact.REGRESSION,
        provider=factories.PETRA,
        service_kind="inference",
        service_name="inference-v1.0",
        subject="broker",
        opened_at=timezone.now() - dt.timedelta(hours=3, minutes=1),
        detail={"from": "pass", "to": "fail"},
    )

    def cards() -> list[attention.Card]:
        now = timezone.now()
        return [
            card
            for card in attention.cards(user, account(ALICE).positions, int(now.timestamp()), now)
            if card.kind == "evidence_worse"
        ]

    (card,) = cards()
    assert card.grave and card.provider == factories.PETRA
    assert card.text == (
        "Its evidence became worse 3 hours ago: it was “verified” and is “failed” now."
    )
    html = alice.get("/account").content.decode()
    assert 'data-kind="evidence_worse"' in html
    Finding.objects.update(service_name="inference-v2.0")  # another contract's service
    assert cards() == []
    Finding.objects.update(service_name="inference-v1.0", closed_at=timezone.now())
    assert cards() == []


def test_a_payers_number_leads_to_the_rows_that_it_counts(client: Client) -> None:
    factories.head()
    factories.contract()
    factories.service()
    factories.settlement()
    factories.settlement(status="no_tee_signer", settled=0, unsettled=7, log_index=4)
    # Of users who had nothing left.
    empty: dict[str, Any] = {"status": "partial", "settled": 0, "unsettled": 7}
    factories.settlement(**empty, log_index=5)
    factories.settlement(**empty, user=factories.BOB, log_index=6)
    at = f"/services/inference/{factories.PETRA}/settlements"

    def counted(question: str) -> int:
        html = unescape(client.get(f"{at}?{question}").content.decode())
        path, number = re.findall(rf'<a href="({at}[^"]+)">(\d+)</a>', html)[-1]
        shown = client.get(path).content.decode()
        assert int(number) == shown.count('data-testid="settlement-row"')
        return int(number)

    assert counted("by=payer") == 2
    assert [counted(f"by=day&status={status}") for status in ("", "part")] == [3, 2]
    # A window may begin within a day: its row counts what lies in both.
    table = settled.table(Asked(status="paid", window="24h", by="day"), at)
    assert "window=24h" in table.groups[0].path
    # Sums are of what was paid: refused items have none, and neither leads to the other.
    refused = settled.table(Asked(status="refused", provider=factories.PETRA), at)
    assert len(refused.rows) == 1 and "status=" not in refused.views[1].path + refused.views[2].path
    assert not [link for link in table.statuses if "refused" in link.path]
    # The network's payers are those of the window that the number leads to: not of whole days.
    today = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0)
    before = today - dt.timedelta(days=29, seconds=1)  # the day before the charts begin
    since = timezone.now() - dt.timedelta(days=30) + dt.timedelta(minutes=1)
    factories.settlement(user=factories.BOB, at=max(before, since), block=4_000_000, log_index=7)
    rows = settlements.payers(Asked(status="paid", window="30d")).count
    assert network.page(head(), "30d").spending.payers == rows == 2
