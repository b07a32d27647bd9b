"""No word of reports, measurements, moderation and operations is missing from the catalogues:
whoever reads them in a language of brackets finds nothing outside of the brackets but data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.utils import timezone, translation

from accounts.models import User
from accounts.roles import Role
from attestation import words
from attestation.engine.evidence import Evidence
from attestation.models import Endpoint, Fact, Finding, Outcome, Verification
from chain.models import NodeState
from moderation import audit, looking, phrases, reports, risk, services
from moderation.decisions import Decision
from moderation.fold import Action
from moderation.models import Category, Item
from moderation.subjects import Subject
from ops import failures, jobs
from ops.models import Job, JobState
from probes import seen
from tests import factories
from tests.db import api_rows, test_performance, unmarked
from tests.db.report_world import development, machine, path, stored, unreachable
from tests.db.test_admin import PASSWORD
from tests.db.test_moderation import HIDE, MODERATORS, signed_in, staff
from tests.pure.attestation_lab import lab

brackets = unmarked.brackets
pytestmark = pytest.mark.django_db
SERVICE = Subject.service(factories.INFERENCE, factories.PETRA)
#: Names and values, the same in every language; what people typed.
DATA = frozenset(
    (
        *("UpToDate", "DEVELOPMENT", "ONLY", "GPU", "driver", "VBIOS", "RTMR", "MRTD", "sha256"),
        *("Atom", "CSV", "JSON", "UTC", "Ctrl", "Enter", "min"),
        *("Redis", "Python", "Django", "Celery", "PostgreSQL", "ValueError", "boom", "halted"),
        *("rosa", "typed", "beta"),
    )
)
_SECRET = re.compile(r'(?<=data-testid="staff-secret">)[^<]+')


@pytest.fixture
def market() -> None:
    factories.head()
    factories.contract()
    factories.service()


def german(client: Client) -> Client:
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = "de"
    return client


def left(client: Client, *urls: str) -> dict[str, set[str]]:
    """By page: what stands outside of brackets and is no data."""
    found = {url: bare(german(client).get(url).content) for url in urls}
    return {url: texts for url, texts in found.items() if texts}


def bare(content: bytes) -> set[str]:
    body = re.search(r"<main.*</main>", content.decode(), re.DOTALL)
    assert body
    return unmarked.words(_SECRET.sub("", body[0]), DATA)


def titles(rows: Iterable[dict[str, str]]) -> set[str]:
    return {text for row in rows for text in (row["title"], row["group"])}


def test_reports_of_every_kind(client: Client, market: None) -> None:
    made = machine(gpus=2)
    wrong = stored(
        Evidence("report", lab().body(made)), lab().context(made, onchain_signer=factories.ALICE)
    )
    brought = stored(
        Evidence("report", lab().body(made)), lab().context(made), endpoint=Endpoint.UPLOAD
    )
    Verification.objects.filter(pk=brought.pk).update(now_unix=1_700_000_000)
    context = lab().context(machine())
    refused = stored(None, context, outcome=Outcome.REFUSED, error="status 404")
    runs = (development(), wrong, brought, refused, unreachable())
    for kind in Fact.values:
        Finding.objects.create(
            kind=kind,
            provider=factories.PETRA,
            other_provider=factories.BOB,
            service_kind="inference",
            verification=wrong,
            opened_at=timezone.now(),
            detail={"from": "pass", "to": "fail"},
        )
    assert (
        left(client, *map(path, runs), f"/services/inference/{factories.PETRA}/verification") == {}
    )
    with translation.override("de"):
        known = {text: words.spoken(text) for run in runs for text in titles(run.rows)}
    assert len(known) > 40
    assert [text for text, said in known.items() if said == text] == []


def test_numbers_and_names_keep_their_places_in_a_title() -> None:
    with translation.override("de"):
        assert words.spoken("GPU 12: driver version is the signed one") == (
            "⟦GPU 12: driver version is the signed one⟧"
        )
        assert words.spoken("Event log replays to RTMR3") == "⟦Event log replays to RTMR3⟧"
        # A stranger's per cent sign fills nothing in.
        assert words.spoken("GPU 0: 100%(x)s %d") == "⟦GPU 0: 100%(x)s %d⟧"


def test_measurements(client: Client) -> None:
    api_rows.head()
    api_rows.contracts()
    api_rows.service()
    page = f"/services/inference/{factories.PETRA}/performance"
    assert left(client, page) == {}
    test_performance.measure("up", "degraded", "down", answer_ms=40, first_token_ms=900, tokens=21)
    assert left(client, page, f"{page}?window=7d", f"{page}?window=90d") == {}
    with translation.override("de"):
        assert all(translation.gettext(text) != text for text in seen.FAILURES.values())


def test_moderation(client: Client, market: None) -> None:
    one, two = staff(MODERATORS[0]), staff(MODERATORS[1], Role.ADMIN)
    first, second, alice = signed_in(one), signed_in(two), signed_in(factories.ALICE)
    factories.purse()
    factories.sub_account()
    for number, sort in enumerate(("url", "acknowledged", "occupied", "removed"), start=1):
        factories.change(change=sort, block=number)
    call_command("grant_role", factories.BOB, "auditor", stdout=StringIO())
    audit.record(two, "failure_retry", ("task", "typed"), area="ops")
    looking.sweep()
    about = f"about=service&key={SERVICE.key}"
    wish = reports.Wish(Category.MONEY, "typed typed typed typed")
    reports.submit(User.objects.for_address(factories.ALICE), SERVICE, wish)
    rows = [f"/moderation?item={item.pk}" for item in Item.objects.all()]
    assert left(first, "/moderation", *rows) == {}
    services.decide(one, SERVICE, Decision(Action.LABEL, "typed", "", label="beta"))
    said = phrases.BY_NAME["price"].public_text
    flag = Decision(Action.FLAG, "typed", said)
    services.decide(one, SERVICE, flag, item=Item.objects.get(kind="report"))
    hide = Decision(HIDE.action, "typed", said, hours=24)
    proposal = services.decide(one, SERVICE, hide)
    undo = f"/moderation?done={proposal.number}"
    assert left(second, "/moderation", "/moderation?closed=1") | left(first, undo) == {}
    services.confirm(two, proposal.number)
    nothing = {"about": "service", "key": SERVICE.key, "act": "flag"}
    refused = german(first).post("/moderation/decide", nothing)
    assert bare(refused.content) == set()
    assert left(first, f"/moderation?{about}", "/moderation/record") == {}
    assert left(Client(), "/moderation/log", "/moderation/log?provider=wrong") == {}
    anyway = f"/moderation/anyway?key={SERVICE.key}&then=/playground/chat"
    assert left(alice, f"/moderation/report?{about}", anyway, "/account/reports") == {}


def test_a_stored_risk_is_read_in_the_readers_language() -> None:
    parts = risk.of("report", 2_000 * risk.ONE, 3).why
    with translation.override("de"):
        assert [risk.spoken(part) for part in parts] == [
            "40: ⟦a user reported it⟧",
            "15: ⟦users hold 1,000 0G or more there⟧",
            "16: ⟦3 persons report it⟧",
        ]
        assert phrases.public("typed by a person") == "typed by a person"


def test_operations(client: Client, market: None) -> None:
    factories.head(halted=True, error="boom")
    failures.keep("probes.sweep", "1", ValueError("boom"), [], {})
    NodeState.objects.create(
        chain_id=settings.CHAIN_ID,
        position=0,
        name="https://one.example",
        state="resting",
        reason="boom",
        updated_at=timezone.now(),
    )
    admin = staff(factories.address("admin"), Role.ADMIN)
    started = [
        Job.objects.create(
            name=name, state=state, code=3, created_at=timezone.now(), started_by=admin
        )
        for name, state in zip(jobs.BUTTONS, JobState, strict=False)
    ]
    pages = ["/ops", *(f"/ops/jobs/{job.pk}" for job in started)]
    assert left(signed_in(admin), *pages) == {}
    refused = german(signed_in(admin)).post("/ops/start", {"name": "prune", "typed": "no"})
    assert bare(refused.content) == set()


def test_the_sign_in_of_staff(client: Client, quick_passwords: None) -> None:
    from ops import staff as accounts

    accounts.create("rosa", PASSWORD, Role.AUDITOR)
    assert left(client, "/ops/sign-in") == {}
    wrong = german(client).post("/ops/sign-in", {"name": "rosa", "password": "no"})
    client.post("/ops/sign-in", {"name": "rosa", "password": PASSWORD})
    refused = client.post("/ops/sign-in/code", {"code": "123"})
    assert bare(wrong.content) | bare(refused.content) == set()
    assert left(client, "/ops/sign-in/code") == {}
