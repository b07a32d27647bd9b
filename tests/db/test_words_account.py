"""No word of somebody's funds, keys, alerts and of an operator's pages is missing from the
catalogues: read in a language of brackets, nothing stands outside of them but data."""

from __future__ import annotations

import datetime as dt
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone, translation

from accounts import pages_transaction, preview_words, refusals, stored_sentences, tokens, url_words
from accounts.models import AccessToken, Intent, ProviderKey, State, User
from alerts import hooks, services
from alerts import words as alert_words
from alerts.kinds import Kind
from alerts.models import Attempt, Delivery, Notification
from alerts.services import Wish
from devnet.deploy import Contracts
from ledger.models import Movement, Projection, SubAccount
from net import addresses
from net.addresses import Policy
from net.errors import NetError
from operators import listing, reasons, setup_results
from operators import words as operator_words
from operators.models import Debt, ListingDraft, Note, Profile, SelfTest, SetupRun
from operators.models_listing import JobState
from probes.models import Health
from tests import factories
from tests.db import test_money_hostile, unmarked
from tests.db.operator_world import World
from tests.factories import ALICE, BOB, CHARLIE, INFERENCE, ONE, PETRA

contracts = test_money_hostile.contracts
brackets = unmarked.brackets
pytestmark = pytest.mark.django_db
#: Values and names, the same in every language; what people typed and chains hold is theirs.
DATA = (
    r"0x\w*…?\w*|\b[0-9a-f]{8,}\b|\bUTC\b|\b0G\b|https?://\S*|\bsha256:\S*|zgm_\w+…",
    r"\b(inference|fine-tuning)(-v1\.\d)?\b|\bdecentralized\b|\bcentralized\b|\bstandard\b",
    r"\bcryptopilot\b|\bdstack\b|\bOpML\b|\bZKML\b|\bTeeML\b|qwen/\S+|\bModel-\d\b|Llama\S*",
    r"(?m) · [A-Z]\w+$|\b\d+ h \d+ min\b|\b60 / min\b|what-\w+-typed",
    r"\bCSV\b|\bJSON\b|\bread\b|\bMozilla\S*|\b(Jan|Feb|Mar|Apr|May|Jun|Jul)\w*",
    r"\b(Aug|Sep|Oct|Nov|Dec|März|Mai|Juni|Juli|Okt|Dez)\w*|\btest\w*|\w+_\w+|\w+\.\w+",
)
#: A gap may hold anything; what fills it is no message.
GAP = re.compile(r"\{(\w+)\}")


@pytest.fixture
def alone(settings: Any) -> None:
    """The index alone: no node answers."""
    settings.CHAIN_RPC_URLS = ("http://127.0.0.1:9",)


@pytest.fixture
def german() -> Iterator[None]:
    with translation.override("de"):
        yield


def reader(address: str) -> Client:
    client = Client(headers={"user-agent": "Mozilla/5.0"})
    client.force_login(User.objects.for_address(address))
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = "de"
    return client


def left(client: Client, *urls: str) -> dict[str, set[str]]:
    """By page: what stands outside of brackets and is no data."""
    found = {}
    for url in urls:
        response = client.get(url)
        assert response.status_code in (200, 401, 403), (url, response.status_code)
        found[url] = bare(response.content.decode())
    return {url: lines for url, lines in found.items() if lines}


def bare(page: str) -> set[str]:
    body = re.search(r"<main.*</main>", page, re.DOTALL)
    return unmarked.words(body[0] if body else page, frozenset(), *DATA)


def funded() -> User:
    """Alice holds money at Petra, with a refund that waits and one that can be collected."""
    factories.head()
    factories.contract()
    factories.contract(kind="fine-tuning")
    factories.service()
    factories.purse()
    now = int(time.time())
    waits = [{"amount": str(ONE // 4), "created_at": now - age} for age in (10, 90_000)]
    factories.sub_account(refunds=waits, pending_refund=ONE // 2)
    user = User.objects.for_address(ALICE)
    moved = {"user": ALICE, "at": timezone.now(), "source": "event", "tx_hash": "0x" + "ab" * 32}
    kinds = ("deposit", "withdraw", "transfer", "refund_requested", "refund_cancelled")
    more = ("refund_paid", "settlement", "deposit_received", "account_deleted", "opening")
    for number, kind in enumerate((*kinds, *more)):
        side = "sub_account" if kind in ("settlement", "refund_cancelled") else "available"
        place = {"serving": INFERENCE, "provider": PETRA} if side == "sub_account" else {}
        Movement.objects.create(
            kind=kind, balance=side, amount=-ONE // 8, pending_change=0, balance_after=ONE,
            block=4_000_000 + number, sequence=number, **moved, **place,
        )  # fmt: skip
    return user


def test_funds_in_every_form(alone: None) -> None:
    funded()
    client = reader(ALICE)
    forms = [f"/account?action={action}" for action in pages_transaction.FORMS]
    chosen = [f"{form}&amount=2&account=inference-v1.0:{PETRA}" for form in forms]
    assert left(client, "/account", *forms, *chosen) == {}
    pages = (
        "refunds",
        "refunds/collect",
        "transactions",
        "transactions?kind=deposit&until=2020-01-01",
    )
    more = (
        "statement",
        "analytics",
        "analytics?window=all",
        f"spendable?account=inference-v1.0:{PETRA}",
    )
    assert left(client, *(f"/account/{page}" for page in (*pages, *more))) == {}
    assert left(client, f"/accounts/{ALICE}", f"/accounts/{BOB}") == {}
    assert left(reader(BOB), "/account", "/account/refunds", "/account/transactions") == {}
    stranger = Client()
    stranger.cookies[settings.LANGUAGE_COOKIE_NAME] = "de"
    assert left(stranger, "/account", "/account/keys", "/account/alerts", "/operator") == {}


def test_reviews_and_refusals_of_a_chain(contracts: Contracts) -> None:
    client = reader(test_money_hostile.ALICE.address)
    petra = f"account=inference-v1.0:{test_money_hostile.PETRA.address}"
    asked = (
        *("deposit&amount=5", "withdraw&amount=999", "withdraw&amount=9.999", "deposit&amount=x"),
        *(f"transfer&amount=2&{petra}", f"transfer&amount=50&{petra}", f"retrieve&{petra}"),
        *(f"deposit_for&amount=4&recipient={BOB}", "deposit_for&amount=4&recipient=0x12"),
        *(f"acknowledge_signer&{petra}", f"revoke_all_tokens&{petra}", "delete_ledger"),
    )
    assert left(client, *(f"/account?action={one}" for one in asked)) == {}


def test_transactions_in_every_state(alone: None) -> None:
    user = funded()
    reasons = (
        "Cancelled in your wallet. Only gas was charged.",
        "",
        "You declined. Nothing was sent.",
    )
    told = refusals.sentence("InsufficientBalance", {})
    rows = [
        Intent.objects.create(
            user=user, chain_id=settings.CHAIN_ID, action="deposit", params={"amount": str(ONE)},
            to=INFERENCE, state=state,
            reason=reasons[number % 3], block=4_000_000, fee=1, submitted_at=timezone.now(),
            tx_hash=f"0x{number:064x}", warnings=[preview_words.OPENS],
            effects=[
                {"what": "service", "before": "listed", "after": "not listed"},
                {"what": "key_revoked", "before": "generation 1", "after": "generation 2"},
            ],
        )
        for number, state in enumerate(State)
    ]  # fmt: skip
    code, reason = "InsufficientBalance", f"{told[0]} {told[1]} {refusals.ONLY_GAS}"
    Intent.objects.filter(pk=rows[0].pk).update(code=code, reason=reason)
    client = reader(ALICE)
    assert left(client, *(f"/account/transactions/{row.pk}" for row in rows)) == {}
    assert left(client, "/account/transactions") == {}
    moved = [{"what": "locked", "before": str(ONE), "after": "0"}]
    Intent.objects.update(action="retrieve", params={"providers": [PETRA]}, effects=moved)
    assert left(client, *(f"/account/transactions/{row.pk}" for row in rows)) == {}
    pages = {row.state: client.get(f"/account/transactions/{row.pk}") for row in rows}
    led = {state for state, page in pages.items() if "locked now" in page.content.decode()}
    assert led == {State.INCLUDED, State.INDEXED, State.FINAL}  # to where its lock is shown


def test_keys_and_tokens(alone: None) -> None:
    user = funded()
    now = timezone.now()
    settings_of = {"label": "what-alice-typed", "scopes": ["inference", "read"], "days": 30}
    spent = tokens.create(user, tokens.Wanted.of({**settings_of, "spend_limit": "1"})).row
    revoked = tokens.create(user, tokens.Wanted.of({**settings_of, "verified_only": True})).row
    AccessToken.objects.filter(pk=spent.pk).update(spent=ONE, last_used_at=now, previous_until=now)
    AccessToken.objects.filter(pk=revoked.pk).update(revoked_at=now)
    for slot in (3, 255):
        ProviderKey.objects.create(
            user=user, provider=PETRA, serving=INFERENCE, token_id=slot, generation=0,
            label="what-alice-typed" if slot < 255 else "", created_at=now,
            expires_at=now + dt.timedelta(hours=3), sealed="" if slot < 255 else "x",
        )  # fmt: skip
    assert left(reader(ALICE), "/account/keys") == {}
    assert left(reader(BOB), "/account/keys") == {}


def test_alerts(alone: None) -> None:
    user = funded()
    Projection.objects.create(name="ledger", version=3, final_block=4_100_000)
    client = reader(ALICE)
    assert left(client, "/account/alerts", "/account/inbox") == {}
    for kind in Kind:
        services.add(user, Wish(kind, threshold=ONE, percent=5 if kind == Kind.PRICE else None))
    hook, _secret = hooks.create(user, "https://example.org/hook")
    factories.change(change="url", before={"url": "a"}, after={"url": "b"})
    told = [text.format_map(Filled()) for text in alert_words._SENTENCES]
    rows = Notification.objects.bulk_create(
        Notification(
            user=user, kind=Kind.URL, occurrence=str(number), title=text, text=text, path="/",
            at=timezone.now(),
        )
        for number, text in enumerate(told[:20])
    )  # fmt: skip
    for number, state in enumerate(("waiting", "sent", "failed")):
        row = Delivery.objects.create(
            user=user, hook=hook, notification=rows[number], state=state, tried=number,
            created_at=timezone.now(), due_at=timezone.now(),
        )  # fmt: skip
        Attempt.objects.create(
            delivery=row, at=timezone.now(), milliseconds=3, said=alert_words.GONE
        )
    kinds = [f"/account/alerts?preview=1&kind={kind.value}" for kind in Kind]
    pages = ("/account/inbox", f"/account/alerts/hooks/{hook.pk}", "/account/alerts/hooks/new")
    assert left(client, "/account/alerts", *kinds, *pages) == {}


class Filled(dict[str, str]):
    """Every gap is filled with what is data."""

    def __missing__(self, key: str) -> str:
        return "0x12…34"


@pytest.mark.parametrize(
    "sentences",
    [
        preview_words.SENTENCES,
        alert_words._SENTENCES[:-1],
        (*operator_words._CHECKS, *operator_words._OTHERS),
        tuple(sentence for pair in refusals.SENTENCES.values() for sentence in pair),
    ],
    ids=["previews", "alerts", "operators", "refusals"],
)
def test_a_stored_sentence_is_told_again(german: None, sentences: tuple[str, ...]) -> None:
    assert sentences
    for sentence in sentences:
        told = sentence.format_map(Filled())
        wanted = f"⟦{GAP.sub('⟦0x12…34⟧', sentence)}⟧"
        assert stored_sentences.translated(told, sentences) == wanted
    whole = [sentence for sentence in sentences if "{" not in sentence][:2]
    assert stored_sentences.translated(" ".join(whole), sentences) == " ".join(
        f"⟦{one}⟧" for one in whole
    )
    assert (
        stored_sentences.translated("what nobody wrote here", sentences)
        == "⟦what nobody wrote here⟧"
    )


def test_a_refusal_inside_of_a_refusal_is_told_again(german: None) -> None:
    outer, inner = (refusals.SENTENCES[name][0] for name in ("CallFailed", "AccountExists"))
    assert refusals.translated("CallFailed", f"{outer} {inner}") == f"⟦{outer}⟧ ⟦{inner}⟧"
    unknown = "The contract refused: no reason. Nothing was sent."
    told = refusals.translated("unknown_revert", unknown)
    assert told == "⟦The contract refused: ⟦no reason⟧. Nothing was sent.⟧"


def test_what_is_too_long_for_a_sentence_is_not_taken_apart(german: None) -> None:
    """What strangers said stands in gaps; to look for several takes the square of its length."""
    short, long = (alert_words.FINDING.format(provider="x" * n, what="y") for n in (900, 90_000))
    assert stored_sentences.translated(short, [alert_words.FINDING]) != f"⟦{short}⟧"
    assert stored_sentences.translated(long, [alert_words.FINDING]) == f"⟦{long}⟧"


def test_why_a_url_is_refused_is_told_in_the_readers_language(german: None) -> None:
    policy = Policy(allow_private=False)
    wrong = (
        "x" * 9_000,
        "http://[",
        "ftp://a.b",
        "https://u@a.b",
        "https://a.b#c",
        "https:///x",
    )
    more = (
        "https://[1/",
        "https://1.2/",
        "https://a.b:22/",
        "https://x.local/",
        "https://10.0.0.1/",
    )
    for url in (*wrong, *more):
        with pytest.raises(NetError) as refused:
            addresses.parse(url, policy)
        assert bare(url_words.translated(refused.value)) == set(), url


def test_an_operators_books(alone: None) -> None:
    world = World()
    world.at = timezone.now() - dt.timedelta(days=3)
    for model in ("qwen/one", ""):
        world.name(model)
        for status in reasons.STATUSES:
            world.next_block()
            world.settle(ALICE, status, ONE // 100, ONE // 1000)
            batch = f"/operator/settlements/{factories.tx_hash(f'block {world.block}')}"
    world.next_block()
    for status in ("success", "partial", "invalid_nonce"):
        world.settle(BOB, status, ONE // 100, ONE // 1000)
    for user in (ALICE, BOB, CHARLIE):
        factories.sub_account(user=user, balance=ONE if user == ALICE else 5 * ONE)
    SubAccount.objects.filter(user=CHARLIE).update(pending_refund=5 * ONE)
    client = reader(PETRA)
    assert left(client, "/operator", "/operator?by=model", "/operator?period=all&by=day") == {}
    assert left(client, "/operator/settlements", f"/operator/settlements?user={BOB}", batch) == {}
    assert left(client, "/operator/customers", "/operator/customers?only=risk") == {}
    assert left(client, "/operator/market") == {}
    assert left(reader(BOB), "/operator", "/operator/listing", "/operator/notes") == {}


def test_what_needs_an_operator(alone: None) -> None:
    factories.head(checked_at=timezone.now() - dt.timedelta(hours=1))
    factories.contract()
    factories.contract(kind="fine-tuning")
    factories.service(tee_signer_acknowledged=False)
    now = timezone.now()
    Health.objects.create(
        serving=INFERENCE, provider=PETRA, kind="inference", service_name="inference-v1.0",
        state="down", since=now - dt.timedelta(hours=2), checked_at=now, bar_end=now,
    )  # fmt: skip
    Debt.objects.create(
        provider=PETRA, serving=INFERENCE, asked_at=now,
        error=operator_words.ANSWERED_STATUS.format(status=500),
    )  # fmt: skip
    client = reader(PETRA)
    assert left(client, "/operator", "/operator/customers", "/operator/listing") == {}


def test_listings_and_checks(alone: None) -> None:
    factories.head()
    factories.contract()
    factories.contract(kind="fine-tuning")
    factories.service()
    user = User.objects.for_address(PETRA)
    client = reader(PETRA)
    typed = dict.fromkeys(listing.FIELDS["inference"], "?")
    edit = [f"/operator/listing/{kind}/edit" for kind in listing.KINDS]
    remove = [f"/operator/listing/{kind}/remove" for kind in listing.KINDS]
    assert left(client, "/operator/listing", *edit, *remove) == {}
    ListingDraft.objects.create(
        user=user, kind="inference", service_name="inference-v1.0", typed=typed
    )
    assert left(client, "/operator/listing", *edit, "/operator/setup", "/operator/selftest") == {}
    told = [text.format_map(Filled()) for text in operator_words._CHECKS]
    states = ("ok", "warn", "bad", "not_checked")
    checks = [
        {"id": id, "state": states[number % 4], "found": told[number], "fix": ""}
        for number, id in enumerate(setup_results.TITLES)
    ]
    own = {
        "user": user,
        "kind": "inference",
        "service_name": "inference-v1.0",
        "url": "https://a.b",
    }
    runs = [SetupRun.objects.create(state=state, checks=checks, **own) for state in JobState]
    tests = [SelfTest.objects.create(state=state, **own) for state in JobState]
    assert left(client, *(f"/operator/setup/{run.pk}" for run in runs)) == {}
    assert left(client, *(f"/operator/selftest/{run.pk}" for run in tests)) == {}


def test_what_an_operator_says(alone: None) -> None:
    factories.head()
    factories.contract()
    factories.service()
    now = timezone.now()
    signed = {"provider": PETRA, "message": "m", "signature": "0x12", "signed_at": now}
    for kind in ("maintenance", "incident"):
        ends = now + dt.timedelta(days=1) if kind == "maintenance" else None
        Note.objects.create(
            kind=kind, starts_at=now, ends_at=ends, text="what-petra-typed",
            nonce=uuid.uuid4().hex, **signed,
        )  # fmt: skip
    row = Profile.objects.create(name="what-petra-typed", domain="a.b", nonce="n", **signed)
    client = reader(PETRA)
    for state in ("waiting", "proven", "lost", "missing"):
        note = operator_words.DOMAIN_STATUS.format(path="/a.b", status=404)
        Profile.objects.filter(pk=row.pk).update(
            domain_state=state, domain_note=note, domain_since=now
        )
        assert left(client, "/operator/notes", "/operator/profile") == {}
    wrong = client.post("/operator/notes", {"kind": "", "starts_at": "x", "text": ""})
    assert bare(wrong.content.decode()) == set()
    wrong = client.post("/operator/profile", {"name": "0G", "contact": "x", "links": "x"})
    assert bare(wrong.content.decode()) == set()
