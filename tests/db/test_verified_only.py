"""“Only send if verified”: the server refuses whatever is not, says why, and sends nothing."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from attestation import assurance
from attestation.engine.evidence import Evidence
from attestation.models import Standing, Verification
from chain.models import Head
from inference import conversations, guard, opening
from inference.errors import NotReady
from inference.models import Chat, Turn
from inference.options import Options
from ledger import selectors as ledger
from ledger.models import Ledger, Service, SubAccount
from tests import factories
from tests.db import report_world
from tests.db.chat_world import world
from tests.pure.attestation_lab import ADDRESS, lab

pytestmark = pytest.mark.django_db

WANTED = Options(verified=True)
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def chat(db: None) -> Chat:
    """A service whose development evidence holds the key that the chain names."""
    found = world("http://127.0.0.1:9")
    Service.objects.update(tee_signer=ADDRESS)
    made = report_world.machine()
    report_world.stored(Evidence("report", lab().body(made)), lab().context(made))
    Standing.objects.update(basis=basis())
    return found


def basis() -> dict[str, Any]:
    row = Service.objects.get()
    names = ("url", "model", "verifiability", "additional_info", "tee_signer")
    return {name: getattr(row, name) for name in (*names, "tee_signer_acknowledged")}


def ask(chat: Chat, options: Options = WANTED) -> opening.Opened:
    return opening.open_turn(chat, "Is anybody there?", process="p", options=options)


def refused(chat: Chat) -> str:
    with pytest.raises(NotReady) as error:
        ask(chat)
    assert error.value.code == "not_verified"
    assert error.value.sentence.startswith("Nothing was sent")
    assert Turn.objects.count() == 0
    return error.value.sentence


def test_verified_within_a_day_is_sent(chat: Chat) -> None:
    assert ask(chat).call is not None


def test_the_wish_stays_with_the_conversation_and_the_person(chat: Chat) -> None:
    ask(chat)
    chat.refresh_from_db()
    assert chat.options.verified
    assert conversations.create_chat(chat.owner, factories.PETRA).options.verified


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: Standing.objects.all().delete(), "not been checked"),
        (lambda: aged(25 * HOUR), "more than a day old"),
        (lambda: aged(73 * HOUR), "not been checked"),
        (lambda: Standing.objects.update(overall="fail"), "failed our check"),
        (lambda: aged(25 * HOUR, overall="fail"), "failed our check"),
        (lambda: Standing.objects.update(overall="dev-partial"), "missing or could not"),
        (lambda: Standing.objects.update(overall="not_provided"), "missing or could not"),
        (lambda: Service.objects.update(tee_signer=factories.BOB), "listing changed"),
        (lambda: Service.objects.update(url="http://127.0.0.1:8"), "listing changed"),
        (lambda: Verification.objects.update(attested_signer=factories.BOB), "not the one inside"),
        (lambda: Head.objects.update(checked_at=timezone.now() - HOUR), "which signer the chain"),
    ],
)
def test_whatever_is_not_verified_is_refused_and_explained(
    chat: Chat, change: Any, words: str
) -> None:
    change()
    assert words in refused(chat)
    assert ask(chat, Options()).call is not None  # the same question without the wish


def aged(age: dt.timedelta, **more: str) -> None:
    Standing.objects.update(checked_at=timezone.now() - age, **more)


def test_a_changed_signer_is_refused_even_where_the_standing_followed(chat: Chat) -> None:
    Service.objects.update(tee_signer=factories.BOB)
    Standing.objects.update(basis=basis())
    assert "not the one inside" in refused(chat)


def test_development_evidence_counts_and_is_labelled(chat: Chat) -> None:
    listing = ledger.service("inference", factories.PETRA)
    assert listing is not None
    found = assurance.of(listing, ADDRESS)
    assert found.holds and found.development and found.overall.startswith("dev-")
    # the way to the evidence leads to this contract's service, not to the recommended one's
    with pytest.raises(NotReady) as error:
        guard.check(replace(listing, recommended=False), None)
    here = f"/services/inference/{factories.PETRA}/verification"
    assert error.value.href == f"{here}?service_name={listing.service_name}"


def test_warning_does_not_hide_what_was_not_seen(chat: Chat) -> None:
    """In one word a warning outranks a missing part, so the rows decide."""
    run = Verification.objects.get()
    Standing.objects.update(overall="dev-warn")
    assert ask(chat).call is not None
    Turn.objects.all().delete()
    for verdict in ("not_checked", "not_provided"):
        for row in run.rows:
            if row["id"] == "tdx.tcb":
                row["verdict"] = verdict
        run.save(update_fields=["rows"])
        assert "missing or could not" in refused(chat)


def test_a_machine_that_only_routes_is_not_private(chat: Chat) -> None:
    Service.objects.update(additional_info='{"ProviderType": "centralized"}')
    Standing.objects.update(basis=basis())
    assert "routes the question" in refused(chat)


def test_what_would_travel_readable_is_not_private(chat: Chat, settings: Any) -> None:
    settings.IS_DEVNET = False  # a devnet's providers are on this machine
    Service.objects.update(url="HTTP://provider.example")
    Standing.objects.update(basis=basis())
    assert "plain http" in refused(chat)
    Service.objects.update(url="https://provider.example")
    Standing.objects.update(basis=basis())
    assert ask(chat).call is not None


def test_the_wish_is_told_before_anybody_is_asked_for_money(chat: Chat) -> None:
    """Also by the page, with a way to the evidence; and a failed machine is called one there."""
    Standing.objects.update(overall="dev-fail")
    SubAccount.objects.all().delete()
    refused(chat)
    client = Client()
    client.force_login(chat.owner)
    path = f"/playground/chat/side?provider={factories.PETRA}"
    told = client.get(path + "&verified=on").content.decode()
    assert 'data-code="not_verified"' in told and "its evidence failed our check" in told
    assert f'href="/services/inference/{factories.PETRA}/verification"' in told
    assert "<strong>failed</strong> our check" in told and "development evidence" not in told
    assert 'data-code="not_funded"' in client.get(path).content.decode()


@pytest.mark.parametrize(
    ("available", "offered"), [(5, "amount=2"), ("1.5", "amount=1.5"), ("0.9", "action=deposit")]
)
def test_no_transfer_is_offered_that_the_account_cannot_make(
    chat: Chat, available: Any, offered: str
) -> None:
    SubAccount.objects.all().delete()
    Ledger.objects.update(available=int(Decimal(available) * factories.ONE))
    client = Client()
    client.force_login(chat.owner)
    told = client.get(f"/playground/chat/side?provider={factories.PETRA}").content.decode()
    assert offered in told and told.count('id="gate-begin"') == 1
    assert 'class="button small"' not in told
