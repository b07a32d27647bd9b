"""Moderation: two persons hide, everybody can read why, and nobody's money is ever touched."""

from __future__ import annotations

import datetime as dt
import json
import re
import subprocess
import sys
from html import unescape
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from accounts import roles
from accounts.errors import Problem
from accounts.models import User
from accounts.roles import Role
from alerts import services as alerts
from alerts import words
from alerts.kinds import Kind
from alerts.services import Wish
from attestation.models import Fact, Finding, Standing
from attestation.selectors import BASIS
from inference import readiness
from inference.conversations import create_chat
from inference.errors import NotReady
from inference.openai import asks, choose
from inference.opening import open_turn
from ledger import selectors as ledger
from ledger import statistics
from ledger.models import Service
from moderation import forms, looking, queue, reports, selectors, services
from moderation.decisions import Decision
from moderation.fold import Action
from moderation.models import Act, Category, Effect, Item, ItemKind, Outcome, Report
from moderation.subjects import Subject
from operators.models import Note, Profile
from tests import factories
from tests.factories import ALICE, BOB, CHARLIE, INFERENCE, PETRA

pytestmark = pytest.mark.django_db
MODERATORS = (factories.address("moderator 1"), factories.address("moderator 2"))
SERVICE = Subject.service(INFERENCE, PETRA)
HIDE = Decision(Action.PROPOSE_HIDE, "reproduced it", "It returned other people’s text.", hours=24)
MODEL = "somebody/their-model"
LISTS = (
    "/", f"/?q={PETRA}", "/models", "/providers", "/search?q=their-model",
    "/sitemap-services-1.xml", "/sitemap-providers-1.xml", "/api/v1/services",
    "/api/v1/services.csv", "/services.atom", "/api/v1/models", "/api/v1/providers",
)  # fmt: skip


def staff(address: str, role: Role = Role.MODERATOR) -> User:
    user = User.objects.for_address(address)
    roles.give(user, role)
    return user


@pytest.fixture
def one() -> User:
    return staff(MODERATORS[0])


@pytest.fixture
def two() -> User:
    return staff(MODERATORS[1], Role.ADMIN)


@pytest.fixture(autouse=True)
def network() -> None:
    factories.market(3)
    factories.service(PETRA, model=MODEL)
    factories.purse()
    factories.sub_account()


def signed_in(user: User | str) -> Client:
    client = Client()
    client.force_login(User.objects.for_address(user) if isinstance(user, str) else user)
    return client


def hide(one: User, two: User, now: dt.datetime | None = None) -> Act:
    return services.confirm(two, services.decide(one, SERVICE, HIDE, now=now).number, now=now)


def listed(path: str) -> bool:
    """Whether a list names the listing: its provider, or the model that it alone offers."""
    response = Client().get(path)
    if response.status_code == 404:
        return False
    assert response.status_code == 200, path
    body = b"".join(response) if response.streaming else response.content
    marks = (
        f"/services/inference/{PETRA}", f"/providers/{PETRA}", f'data-provider="{PETRA}"',
        f'"provider": "{PETRA}"', f'"provider":"{PETRA}"', f"inference,{PETRA}", f'"{MODEL}"',
        "/models/somebody", f'"address": "{PETRA}"', f'"address":"{PETRA}"',
    )  # fmt: skip
    return any(mark in body.decode() for mark in marks)


def test_hidden_leaves_every_list_and_stays_by_link(one: User, two: User) -> None:
    paths = [path for path in LISTS if Client().get(path).status_code == 200]
    assert len(paths) >= 9
    assert [path for path in paths if not listed(path)] == []
    before = statistics.listed()
    watcher, page = Client(), f"/services/inference/{PETRA}"
    watcher.post("/watch", {"watch": f"inference/{PETRA}", "next": "/"})
    assert 'data-testid="gone"' not in watcher.get("/?watched=1").content.decode()
    picture = f"/og/providers/{PETRA}.png"
    drawn, as_before = (Client().get(at)["ETag"] for at in (picture, f"/og/models/{MODEL}.png"))
    act = hide(one, two)
    assert [path for path in paths if listed(path)] == []
    for path in (f"/badge/{PETRA}.svg", f"/badge/{PETRA}.svg?show=uptime"):
        assert "Hidden by moderators" in Client().get(path).content.decode()
    assert Client().get(picture)["ETag"] != drawn, "the same card, but for its word"
    watched = watcher.get("/?watched=1").content.decode()
    assert "moderators have hidden them" in watched and f'href="{page}"' in watched
    gone = Client().get(f"/models/{MODEL}")
    assert gone.status_code == 404 and f'href="{page}"' in gone.content.decode()
    assert "Moderators hid every service of this model" in gone.content.decode()
    shared = Client().get(f"/og/models/{MODEL}.png")
    assert shared.status_code == 200 and shared["ETag"] != as_before, "as its page says"
    after = statistics.listed()
    assert after.services == before.services - 1 and after.providers == before.providers - 1
    for path in (f"/services/inference/{PETRA}", f"/services/inference/{PETRA}/raw"):
        html = Client().get(path).content.decode()
        assert "Hidden by moderators on" in html and "returned other people" in html
        assert "reproduced it" not in html, "the reason is for staff"
    body = Client().get(f"/api/v1/services/inference/{PETRA}").json()
    assert body["moderation"]["state"] == "hidden"
    beside = Client().get(f"/api/v1/compare?s=inference/{PETRA}").json()["services"][0]
    assert beside["moderation"] == body["moderation"]
    listed_too = Service.current.filter(kind="inference").exclude(provider=PETRA).first()
    assert listed_too is not None
    both = f"?s=inference/{PETRA}&s=inference/{listed_too.provider}"
    compared = Client().get(f"/compare{both}").content.decode()
    assert compared.count("hidden by moderators") == 1 and HIDE.public_text in compared
    assert body["moderation"]["reason"] == HIDE.public_text
    funds = [signed_in(ALICE).get("/account").content.decode(), ""]  # marked there, no more
    log = Client().get("/moderation/log").content.decode()
    assert HIDE.public_text in log and "reproduced it" not in log and "audit-head" in log
    assert f'data-number="{act.number}"' in log and 'data-action="propose_hide"' not in log
    services.decide(one, SERVICE, Decision(Action.UNHIDE, "fixed"))
    assert [path for path in paths if not listed(path)] == []
    funds[1] = signed_in(ALICE).get("/account").content.decode()
    assert ["hidden by moderators" in html for html in funds] == [True, False]


WORDS = (
    *(f"/providers/{PETRA}", f"/services/inference/{PETRA}", "/changes", "/changes.atom"),
    *(f"/providers/{PETRA}/changes.atom", "/api/v1/notes", f"/api/v1/providers/{PETRA}"),
)


@pytest.mark.parametrize("whole", [False, True], ids=["its service", "the provider"])
def test_what_a_hidden_provider_says_about_itself_is_heard_nowhere(
    one: User, two: User, whole: bool
) -> None:
    now = timezone.now()
    said = {"provider": PETRA, "message": "m", "signature": "0x12", "signed_at": now}
    Note.objects.create(
        kind="incident", text="Buy my coin", starts_at=now, ends_at=None, nonce="n1", **said
    )
    Profile.objects.create(name="Coin Cloud", nonce="n2", **said)

    def heard() -> dict[str, str]:
        return {path: Client().get(path).content.decode() for path in WORDS}

    assert all("Buy my coin" in page for page in heard().values())
    about = Subject.provider_of(PETRA) if whole else SERVICE
    services.confirm(two, services.decide(one, about, HIDE).number)
    for path, page in heard().items():
        assert "Buy my coin" not in page and "Coin Cloud" not in page, path
    factories.service(PETRA, kind="fine-tuning")  # a second one, which nobody hid
    told = [path for path, page in heard().items() if "Buy my coin" in page]
    assert told == ([] if whole else [path for path in WORDS if path != WORDS[1]])
    services.decide(one, about, Decision(Action.UNHIDE, "fixed"))
    assert all("Buy my coin" in page for page in heard().values())


def test_a_decision_ends_by_the_clock_of_its_reader(one: User, two: User) -> None:
    long_ago = timezone.now() - dt.timedelta(hours=23, minutes=59)
    act = hide(one, two, long_ago)
    assert act.until == long_ago + dt.timedelta(hours=24)
    version = ledger.listings_version()
    assert selectors.is_hidden(INFERENCE, PETRA)
    later = act.until + dt.timedelta(seconds=1)
    assert not selectors.is_hidden(INFERENCE, PETRA, later)
    assert selectors.version()[1] != selectors.version(later)[1]
    # Nothing runs and nothing is written: the same row, an hour later.
    Effect.objects.filter(kind="hidden").update(until=timezone.now() - dt.timedelta(seconds=1))
    assert ledger.listings_version() != version, "what was kept of the lists goes"
    assert listed("/api/v1/services") and listed("/")
    assert "Hidden by" not in Client().get(f"/services/inference/{PETRA}").content.decode()


def test_of_two_that_hide_the_one_that_lasts_is_told(one: User, two: User) -> None:
    whole = Subject.provider_of(PETRA)
    lasting = Decision(Action.PROPOSE_HIDE, "all of it", "All of it is wrong.")
    services.confirm(two, services.decide(one, whole, lasting).number)
    hide(one, two)
    found = Client().get(f"/api/v1/services/inference/{PETRA}").json()["moderation"]
    assert (found["reason"], found["until"]) == ("All of it is wrong.", None)


MONEY = (
    "/account", "/account?action=retrieve&account=inference-v1.0:{0}", "/account/refunds",
    "/account?action=withdraw", "/account/transactions", "/account/keys", "/account/analytics",
    f"/accounts/{ALICE}", f"/api/v1/accounts/{ALICE}", f"/api/v1/accounts/{ALICE}/movements",
)  # fmt: skip


def test_hiding_touches_nobody_s_money(one: User, two: User) -> None:
    alice = signed_in(ALICE)
    varies = re.compile(
        r'(csrf|nonce|X-CSRFToken|request)[^>]*|value="[A-Za-z0-9]{64}"|<time[^>]*>[^<]*|'
        r"data-lag[^ >]*|\d+ (s|min) ago|[0-9a-f-]{36}|[> ][0-9a-f]{16}\b|data-target-unix=.\d+."
    )

    def seen() -> list[str]:
        pages = [alice.get(path.format(PETRA)) for path in MONEY]
        assert {page.status_code for page in pages} == {200}
        return [varies.sub("", page.content.decode()) for page in pages]

    before = seen()
    assert PETRA in before[0]
    hide(one, two)
    services.confirm(
        two, services.decide(one, Subject.provider_of(PETRA), HIDE).number
    )  # and the whole provider
    mark = ' <span class="badge bad">hidden by moderators</span>'
    for path, was, is_ in zip(MONEY, before, seen(), strict=True):
        changed = [
            line for line in is_.replace(mark, "").splitlines() if line not in was.splitlines()
        ]
        assert not changed, path
    for path in (f"/services/inference/{PETRA}", f"/providers/{PETRA}"):
        html = alice.get(path).content.decode()
        found = re.search(r'href="([^"]*)" data-testid="hidden-retrieve"', html)
        assert found and "and can take it back" in html
        form = alice.get(found[1].replace("&amp;", "&")).content.decode()
        assert 'data-testid="tx-amount"' in form or "retrieve" in form.lower()
        assert "hidden-retrieve" not in Client().get(path).content.decode()


def test_one_person_never_hides(one: User, two: User) -> None:
    proposal = services.decide(one, SERVICE, HIDE)
    assert not selectors.is_hidden(INFERENCE, PETRA), "a proposal does nothing"
    assert "other people" not in Client().get(f"/services/inference/{PETRA}").content.decode()
    with pytest.raises(Problem, match="Two persons"):
        services.confirm(one, proposal.number)
    auditor = staff(BOB, Role.AUDITOR)
    for nobody in (auditor, User.objects.for_address(CHARLIE)):
        with pytest.raises(Problem, match="role of moderator"):
            services.confirm(nobody, proposal.number)
    late = timezone.now() + services.PROPOSAL_FOR
    with pytest.raises(Problem, match="ended"):
        services.confirm(two, proposal.number, now=late)
    looking.sweep(late)
    assert not Item.objects.filter(kind=ItemKind.PROPOSAL, closed_at=None).exists()
    services.decline(two, proposal.number, "not enough")
    with pytest.raises(Problem, match="answered"):
        services.confirm(two, proposal.number)
    with pytest.raises(Problem, match="cannot be decided"):
        services.decide(one, SERVICE, Decision(Action.HIDE, "alone", "alone"))
    again = services.decide(one, SERVICE, HIDE)
    assert services.confirm(two, again.number).said["proposed_by"] == one.address
    call_command("verify_audit", stdout=StringIO())
    # Somebody with the database's password hides another one past all persons.
    Effect.objects.create(
        subject_kind="provider", subject=BOB, provider=BOB, kind="hidden", number=again.number,
        at=again.at, actor="nobody",
    )  # fmt: skip
    with pytest.raises(SystemExit):
        call_command("verify_audit", stdout=StringIO(), stderr=StringIO())


def test_nobody_judges_what_is_their_own(one: User, two: User) -> None:
    provider = staff(PETRA, Role.ADMIN)
    kept = services.decide(provider, SERVICE, Decision(Action.NOTE, "mine"))
    assert kept.action == Action.NOTE, "a note decides nothing"
    proposal = services.decide(one, SERVICE, HIDE)
    with pytest.raises(Problem, match="your own wallet"):
        services.decline(provider, proposal.number, "I disagree")
    services.confirm(two, proposal.number)
    for subject in (SERVICE, Subject.provider_of(PETRA)):
        for action in (Action.APPROVE, Action.UNHIDE, Action.LABEL):
            with pytest.raises(Problem, match="your own wallet"):
                services.decide(provider, subject, Decision(action, "mine", label="official"))
    model = Subject.model(Service.current.get(provider=PETRA).model)
    with pytest.raises(Problem, match="your own wallet"):
        services.decide(provider, model, Decision(Action.LABEL, "mine", label="official"))
    services.decide(one, model, Decision(Action.LABEL, "known", label="official"))
    path = f"/moderation/report?about=service&key={SERVICE.key}"
    assert "report-decide" not in signed_in(PETRA).get(path).content.decode()
    assert "report-decide" in signed_in(one.address).get(path).content.decode()
    assert "report-decide" not in signed_in(BOB).get(path).content.decode()
    assert selectors.is_hidden(INFERENCE, PETRA)
    # Nor is it theirs to read who complained; what they typed themselves is.
    reports.submit(User.objects.for_address(ALICE), SERVICE, reports.Wish(Category.PRIVACY, TEXT))
    for key in (f"service&key={SERVICE.key}", f"user&key={ALICE}"):
        page = signed_in(PETRA).get(f"/moderation?about={key}").content.decode()
        assert 'data-testid="report-text"' not in page, key
        assert ('data-testid="own-subject"' in page) is not ("decide-form" in page)
        page = signed_in(one).get(f"/moderation?about={key}").content.decode()
        assert 'data-testid="report-text"' in page and "own-subject" not in page
    mine = reports.Wish(Category.APPEAL, "It is my own word, and mine to read.")
    reports.submit(User.objects.for_address(PETRA), SERVICE, mine)
    page = signed_in(PETRA).get(f"/moderation?about=service&key={SERVICE.key}").content.decode()
    assert mine.text in page and ALICE not in page


def test_undo_is_an_act_and_has_its_time(one: User, two: User) -> None:
    flagged = services.decide(one, SERVICE, Decision(Action.FLAG, "moved", "It moved."))
    assert selectors.of_listing(ledger.services_of(PETRA)[0]).state == "flagged"
    with pytest.raises(Problem, match="your own"):
        services.undo(two, flagged.number)
    with pytest.raises(Problem, match="too late"):
        services.undo(one, flagged.number, now=flagged.at + services.UNDO_FOR * 2)
    services.undo(one, flagged.number)
    assert not selectors.of_listing(ledger.services_of(PETRA)[0]).any
    assert Act.objects.count() == 2
    log = Client().get("/moderation/log").content.decode()
    assert "undone" in log and f"takes back {flagged.number}" in log


def test_labels_are_declared_and_filter_lists(one: User) -> None:
    services.decide(one, SERVICE, Decision(Action.LABEL, "by contract", "", 24, "Official"))
    # What stands in the field beside is no label of a flag.
    flag = Decision(Action.FLAG, "odd", "Odd weights.", label="Beta")
    assert not services.decide(one, Subject.model(MODEL), flag).said
    found = Client().get("/api/v1/services?label=official").json()["items"]
    assert [row["provider"] for row in found] == [PETRA]
    (label,) = found[0]["moderation"]["labels"]
    assert (label["label"], label["author"]) == ("official", one.address) and label["until"]
    assert found[0]["moderation"]["state"] == "flagged"
    html = Client().get("/?label=official").content.decode()
    assert "Labelled “official”" in html and f'data-provider="{PETRA}"' in html
    assert Client().get("/api/v1/services?label=_flagged").json()["count"] == 1
    assert Client().get("/api/v1/services?label=beta").json()["count"] == 0
    page = Client().get(f"/services/inference/{PETRA}").content.decode()
    assert "Declared by moderators, not checked" in page and "Odd weights." in page


# --- the queue ------------------------------------------------------------------------------------


def finding(kind: str, **more: Any) -> Finding:
    return Finding.objects.create(
        **{
            "kind": kind, "provider": PETRA, "service_kind": "inference",
            "service_name": "inference-v1.0", "subject": kind, "opened_at": timezone.now(),
            "detail": {"from": "pass", "to": "<script>fail"}, **more,
        }
    )  # fmt: skip


def test_the_sweep_finds_once_and_lets_go() -> None:
    for fact in (Fact.URL_CHANGED, Fact.SAME_GPU, Fact.REGRESSION):
        finding(fact)
    factories.change(change="signer", before={"tee_signer": "a"}, after={"tee_signer": "b"})
    assert looking.sweep() == 4 + 4
    assert looking.sweep() == looking.sweep() == 0
    waiting = Item.objects.filter(closed_at=None, subject=SERVICE.key).order_by("-risk")
    assert [item.kind for item in waiting] == ["url", "signer", "hardware", "regression", "new"]
    assert waiting[0].risk == 60 + 5, "users hold 3 0G there"
    Standing.objects.create(
        provider=PETRA, kind="inference", service_name="inference-v1.0", overall="fail",
        checked_at=timezone.now() - dt.timedelta(hours=30),  # which does not wear off
        basis=Service.objects.filter(provider=PETRA).values(*BASIS).get(),
    )  # fmt: skip
    assert looking.sweep() == 0
    assert [item.risk for item in waiting.filter(kind="new")] == [20 + 25 + 5]
    assert (waiting[1].about["before"], waiting[1].about["after"]) == ("a", "b")
    Finding.objects.update(closed_at=timezone.now())
    ledger_rows = Service.objects.filter(provider=PETRA)
    ledger_rows.update(removed=True)
    looking.sweep()
    assert [item.kind for item in waiting.all()] == ["signer"]
    ledger_rows.update(removed=False)
    assert looking.sweep() == 0, "the same registration is not new again"


def test_the_desk_works_without_script(one: User, two: User) -> None:
    looking.sweep()
    finding(Fact.SAME_GPU, other_provider=BOB)
    looking.sweep()
    mine, other = signed_in(one), signed_in(two)
    html = mine.get("/moderation").content.decode()
    assert html.count('data-testid="queue-row"') == 5 and "One GPU behind two providers" in html
    assert "<script>fail" not in html
    worse: dict[str, object] = {"to": "fail", "from": "dev-pass", "endpoint": "broker"}
    worse |= {"rows": ["bind.ack"], "to_level": 3, "from_level": 0}
    worse["rows_before"] = {"tdx.qvl": "pass"}
    finding(Fact.REGRESSION, detail=worse)
    price = {"before": {"input_price": "4000"}, "after": {"input_price": "9000"}}
    factories.change(PETRA, change="price", block=11, **price)
    stake = {"before": {"stake": "0"}, "after": {"stake": str(100 * factories.ONE)}}
    factories.change(PETRA, change="stake", block=12, **stake)
    looking.sweep()
    regression = Item.objects.get(kind=ItemKind.REGRESSION)
    html = mine.get(f"/moderation?item={regression.pk}").content.decode()
    turn = html.partition('data-testid="finding-turn"')[2].partition("</p>")[0]
    assert re.findall('data-verdict="([^"]+)"', turn) == ["dev-pass", "fail"]
    assert "the broker’s machine" in html and ">bind.ack<" in html
    assert "level" not in html and "tdx.qvl" not in html
    assert "input price 4,000 neuron" in html and "input price 9,000 neuron" in html
    assert "stake 0 0G" in html and "stake 100 0G" in html
    item = Item.objects.get(kind=ItemKind.HARDWARE)
    mine.post(f"/moderation/items/{item.pk}/claim", {"act": "claim"})
    assert "claimed" in other.get("/moderation").content.decode()
    by_address = f"/moderation?mine=1&about={item.subject_kind}&key={item.subject}"
    assert "claimed</span>" in other.get(by_address).content.decode()
    given = {"item": str(item.pk), "act": "propose_hide", "template": "shared", "hours": "24"}
    preview = mine.post("/moderation/decide", {**given, "preview": "1"}).content.decode()
    assert 'data-testid="preview"' in preview and Act.objects.count() == 0
    odd = mine.post("/moderation/decide", {**given, "preview": "1", "hours": "²"})
    assert odd.status_code == mine.get("/moderation?kind=appeal").status_code == 200
    assert mine.get("/moderation?about=service&key=%00").status_code == 200
    empty = mine.post("/moderation/decide", {"item": str(item.pk), "act": "flag"})
    assert empty.status_code == 400 and "A reason is missing" in empty.content.decode()
    sent = mine.post("/moderation/decide", given)
    assert sent.status_code == 302
    (proposal,) = Act.objects.all()
    done = mine.get(sent["Location"]).content.decode()
    assert 'data-testid="undo"' in done and "somebody else confirms" in done
    assert "In force" not in done, "nothing is, while a proposal waits"
    noted = mine.post(
        "/moderation/decide", {"item": str(regression.pk), "act": "note", "reason": "Odd."}
    )
    note = mine.get(noted["Location"]).context["page"].done.number
    taken = mine.get(mine.post(f"/moderation/acts/{note}/undo")["Location"]).content.decode()
    assert f"Taken back. That is act {note + 1} of the record." in taken
    assert (
        'data-testid="undone"' not in other.get(f"/moderation?undone={note + 1}").content.decode()
    )
    refused = mine.post(f"/moderation/proposals/{proposal.pk}", {"act": "confirm"})
    assert refused.status_code == 409
    path = f"/moderation/proposals/{proposal.pk}"
    confirmed, pressed_twice = (other.post(path, {"act": "confirm"}) for _ in range(2))
    assert confirmed.status_code == pressed_twice.status_code == 302
    assert confirmed["Location"] == pressed_twice["Location"]
    assert selectors.is_hidden(INFERENCE, PETRA)
    assert not Item.objects.filter(kind__in=("proposal", "hardware"), closed_at=None).exists()
    again = mine.post("/moderation/decide", given)
    assert again.status_code == 409 and "meanwhile" in again.content.decode()
    auditor = signed_in(staff(BOB, Role.AUDITOR))
    read = auditor.get(f"/moderation?item={item.pk}").content.decode()
    assert "handed over evidence" in read and "decide-form" not in read
    assert "The evidence is of a machine" in auditor.get("/moderation/record").content.decode()


def test_a_decision_that_is_sent_twice_is_one_act(one: User) -> None:
    """Two presses of a button: the log says it once for ever, and the undo takes back all of it."""
    mine = signed_in(one)

    def twice(**given: str) -> str:
        """Where both lead: to the undo of one act."""
        said = {"reason": "seen", "public_text": "It lies.", "hours": "24", **given}
        first, again = (mine.post("/moderation/decide", said) for _ in range(2))
        assert (first.status_code, first["Location"]) == (again.status_code, again["Location"])
        return str(first["Location"])

    about = {"about": SERVICE.kind, "key": SERVICE.key}
    assert "done=1" in twice(**about, act="flag")
    mine.post("/moderation/acts/1/undo")
    assert not Effect.objects.exists()
    assert "done=3" in twice(**about, act="flag")
    assert "done=4" in twice(**about, act="flag", reason="and again")
    assert "done=5" in twice(**about, act="propose_hide")
    looking.sweep()
    item = Item.objects.get(kind=ItemKind.NEW, subject=SERVICE.key)
    assert "done=6" in twice(item=str(item.pk), act="approve")
    assert Act.objects.count() == 6


def test_doors_are_closed_to_everybody_else(one: User) -> None:
    looking.sweep()
    item = Item.objects.first()
    assert item is not None
    posts = (
        "/moderation/decide", "/moderation/proposals/1", "/moderation/acts/1/undo",
        f"/moderation/items/{item.pk}/claim",
    )  # fmt: skip
    user, auditor = signed_in(CHARLIE), signed_in(staff(BOB, Role.AUDITOR))
    given = {"item": str(item.pk), "act": "approve", "reason": "because"}
    for path in posts:
        assert {c.post(path, given).status_code for c in (Client(), user, auditor)} == {403}, path
    for path in ("/moderation", "/moderation/record"):
        assert [c.get(path).status_code for c in (Client(), user, auditor)] == [403, 403, 200]
    assert Act.objects.count() == 0
    assert b"audit-head" not in Client().get("/moderation/log").content, "nothing to prove yet"


def test_queries_do_not_grow(one: User) -> None:
    client = signed_in(one)
    paths = ("/moderation", "/moderation/log", "/moderation/record", "/account/reports")

    def counted() -> list[int]:
        found = []
        for path in paths:
            client.get(path)
            with CaptureQueriesContext(connection) as captured:
                assert client.get(path).status_code == 200
            found.append(len(captured))
        return found

    looking.sweep()
    services.decide(one, SERVICE, Decision(Action.FLAG, "because", "said"))
    few = counted()
    for number in range(12):
        address = factories.address(f"more {number}")
        factories.service(address, model=f"model-{number}")
        about = Subject.service(INFERENCE, address)
        services.decide(one, about, Decision(Action.FLAG, "because", "said"))
    looking.sweep()
    assert counted() == few and max(few) <= 30


# --- reports --------------------------------------------------------------------------------------

TEXT = "It answered with somebody else’s conversation, twice today."


def test_the_queue_has_pages_and_a_search(one: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "SHOWN", 2)
    looking.sweep()
    mine, seen = signed_in(one), list[str]()
    count = Item.objects.count()
    assert count > 3
    for number in range(1, (count + 1) // 2 + 1):
        page = mine.get(f"/moderation?page={number}").content.decode()
        rows = re.findall(r'href="/moderation\?([^"]*)item=(\d+)#evidence"', page)
        assert {kept for kept, _ in rows} == {"" if number == 1 else f"page={number}&amp;"}
        seen += [item for _, item in rows]
    assert sorted(map(int, seen)) == sorted(Item.objects.values_list("pk", flat=True))
    # Whoever decides goes on below, in the part of the list that was open.
    for most, path, at in ((2, "kind=new&page=2", 0), (3, "kind=new", 1)):
        monkeypatch.setattr(queue, "SHOWN", most)
        rows = mine.get(f"/moderation?{path}").context["page"].rows
        here, below = (row.item for row in rows[at : at + 2])
        opened = mine.get(f"/moderation?{path}&item={here.pk}")
        form = re.search(r'action="(/moderation/decide[^"]*)"', opened.content.decode())
        assert form
        decide, given = unescape(form[1]), {"item": str(here.pk), "act": "approve"}
        refused = mine.post(decide, given).context["page"]
        assert (refused.query, refused.evidence.item.item) == (path, here)
        sent = mine.post(decide, {**given, "reason": "Looked at."})
        then = mine.get(sent["Location"]).context["page"]
        assert (then.query, then.evidence.item.item) == (path, below)
    monkeypatch.setattr(queue, "SHOWN", 50)
    for text, found in (
        ("their-MODEL", {PETRA}),
        (PETRA[:20].lower(), {PETRA}),
        ("nobody's", set()),
        ("\0nobody", set()),
    ):
        shown = mine.get("/moderation", {"q": text, "kind": "new"})
        assert {row.item.concerns.address for row in shown.context["page"].rows} == found, text
        assert 'name="kind" value="new"' in shown.content.decode()
    assert "Nothing like this is here" in mine.get("/moderation?q=nothing").content.decode()


def test_reports_are_merged_answered_and_limited(one: User) -> None:
    alice, bob = signed_in(ALICE), signed_in(BOB)
    path = f"/moderation/report?about=service&key={SERVICE.key}"
    assert "Connect your wallet" in Client().get(path).content.decode()
    assert "5 of 5 left" in alice.get(path).content.decode()
    given = {"about": "service", "key": SERVICE.key, "category": "wrong_answers", "text": TEXT}
    assert alice.post("/moderation/report", {**given, "text": "bad"}).status_code == 400
    wrong = {**given, "evidence": "javascript:alert(1)"}
    assert alice.post("/moderation/report", wrong).status_code == 400
    assert alice.post("/moderation/report", {**given, "category": "appeal"}).status_code == 400
    assert alice.post("/moderation/report", {**given, "key": "x"}).status_code == 404
    assert alice.post("/moderation/report", given)["Location"] == "/account/reports?sent=1"
    assert alice.post("/moderation/report", given).status_code == 409
    assert bob.post("/moderation/report", given).status_code == 302
    # A browser counts a new line as one character and sends two.
    lines = {**given, "category": "money", "text": "a\r\n" * 999 + "b"}
    assert bob.post("/moderation/report", lines).status_code == 302
    typed = forms.typed({"act": "note", "reason": lines["text"]})
    assert forms.decision(typed).checked(SERVICE).reason == "a\n" * 999 + "b"
    alone = Report.objects.get(category="money")
    alone.delete()  # as its author is erased
    looking.sweep()
    assert Item.objects.get(about__category="money").closed_at, "nobody says it any more"
    (item,) = Item.objects.filter(kind=ItemKind.REPORT, closed_at=None)
    assert item.reports.count() == 2 and "8: 2 persons report it" in item.why
    waits = alice.get("/account/reports").content.decode()
    assert "waits" in waits and "/account/alerts?kind=report#new" in waits
    # What people wrote about may be another listing by now.
    desk, moved = signed_in(one), f"/moderation?item={item.pk}"
    now = timezone.now()
    factories.change(PETRA, block=7, at=now - dt.timedelta(days=1))
    assert "moved-since" not in desk.get(moved).content.decode()
    evil = {"url": "https://b.example/<b>"}
    factories.change(
        PETRA, change="url", before={"url": "https://a.example"}, after=evil, block=9, at=now
    )
    shown = desk.get(moved).content.decode().partition('data-testid="moved-since"')[2]
    notice = shown.partition("</ul>")[0]
    assert "block 9" in notice and "block 7" not in notice
    assert "https://a.example" in notice and "https://b.example/&lt;b&gt;" in notice
    hostile = "<img src=x onerror=alert(1)> \u202e" + TEXT
    bob.post("/moderation/report", {**given, "category": "other", "text": hostile})
    staffed = signed_in(one).get("/moderation?kind=report").content.decode()
    assert TEXT in staffed and "<img src=x" not in staffed and "\u202e" not in staffed
    flag = Decision(Action.FLAG, "seen", "We saw it too.")
    services.decide(one, SERVICE, flag, item=item)
    told = alice.get("/account/reports").content.decode()
    assert 'data-outcome="upheld"' in told and "We saw it too." in told
    assert alice.post("/moderation/report", given).status_code == 302, "anew, after an answer"


def test_spam_pauses_a_wallet_and_two_persons_block_it(one: User, two: User) -> None:
    alice = User.objects.for_address(ALICE)
    for number in range(reports.MOST_SPAM):
        wish = reports.Wish(Category.values[number], TEXT)
        report = reports.submit(alice, SERVICE, wish)
        spam = Decision(Action.ANSWER, "nonsense", outcome=Outcome.SPAM)
        services.decide(one, SERVICE, spam, item=report.item)
    assert set(Report.objects.values_list("outcome", flat=True)) == {"spam"}
    with pytest.raises(Problem, match="were none"):
        reports.submit(alice, SERVICE, reports.Wish(Category.OTHER, TEXT))
    later = timezone.now() + reports.PAUSE + dt.timedelta(days=1)
    assert reports.allowance(alice, later).left == reports.PER_WALLET
    about = Subject.user(ALICE)
    # It is between a wallet and the site: nothing of it is for the public.
    desk = f"/moderation?about=user&key={ALICE}"
    form = signed_in(one).get(desk).content.decode()
    assert "act-block" in form
    for said in ("public_text", "act-preview", "on the listing", "Endpoint moved", "often said"):
        assert said not in form, said
    proposed = services.decide(one, about, Decision(Action.PROPOSE_BLOCK, "false reports"))
    assert not selectors.is_blocked(ALICE)
    asked = signed_in(two).get(desk).content.decode()
    assert "Reason: false reports" in asked and "For the public" not in asked
    services.confirm(two, proposed.number)
    assert reports.allowance(alice, later).why.startswith("Moderators have blocked")
    assert "false reports" not in Client().get("/moderation/log").content.decode()
    assert signed_in(alice).get("/account").status_code == 200
    bob = User.objects.for_address(BOB)
    categories = [c for c in reports.categories(SERVICE) if c != Category.APPEAL]
    for category in categories[: reports.PER_WALLET]:
        reports.submit(bob, SERVICE, reports.Wish(category, TEXT))
    with pytest.raises(Problem, match="a day are the most"):
        reports.submit(bob, SERVICE, reports.Wish(categories[-1], TEXT))


def test_the_provider_appeals(one: User, two: User) -> None:
    petra = signed_in(PETRA)
    path = f"/moderation/report?about=service&key={SERVICE.key}"
    assert "Appeal" in petra.get(path).content.decode()
    # Whoever is judged is heard, also where they may report nothing any more.
    block = Decision(Action.PROPOSE_BLOCK, "reports its rivals")
    services.confirm(two, services.decide(one, Subject.user(PETRA), block).number)
    assert "Moderators have blocked" in petra.get(path).content.decode()
    services.decide(one, SERVICE, Decision(Action.FLAG, "seen", "It lies."))
    assert "Appeal" in petra.get(path).content.decode()
    rival = f"/moderation/report?about=provider&key={factories.address(0)}"
    assert "Moderators have blocked" in petra.get(rival).content.decode()
    given = {"about": "service", "key": SERVICE.key, "category": "appeal", "text": TEXT}
    assert petra.post("/moderation/report", given).status_code == 302
    (item,) = Item.objects.filter(kind=ItemKind.APPEAL)
    assert item.risk == 75
    # What is flagged all the same was not acted on in the sense of who appealed.
    services.decide(one, SERVICE, Decision(Action.FLAG, "still so", "It still does."), item=item)
    told = petra.get("/account/reports").content.decode()
    assert 'data-outcome="declined"' in told and "It still does." in told


# --- the log's twins ------------------------------------------------------------------------------


def test_the_log_is_a_feed_a_table_and_a_proof(one: User, two: User, tmp_path: Path) -> None:
    hide(one, two)
    services.decide(one, SERVICE, Decision(Action.NOTE, "private note"))
    services.decide(one, SERVICE, Decision(Action.LABEL, "x y z", label="=cmd"[1:] + " beta"))
    Service.objects.update(model="\u202eqwen \U0001f469\u200d\U0001f52c\x01")
    atom = Client().get("/moderation/log.atom")
    assert "\ufffdqwen \U0001f469\u200d\U0001f52c\ufffd by 0x" in atom.content.decode()
    assert atom["Content-Type"].startswith("application/atom+xml")
    assert "Hidden: " in atom.content.decode() and "private note" not in atom.content.decode()
    table = b"".join(Client().get(f"/moderation/log.csv?provider={PETRA}")).decode()
    assert [line.split(",")[2] for line in table.splitlines()[1:]] == ["label", "hide"]
    assert "No decision matches" in Client().get(f"/moderation/log?provider={BOB}").content.decode()
    exported = Client().get("/moderation/log.json")
    text = exported.content.decode()
    assert "private note" not in text and "reproduced it" not in text
    assert [sorted(e["open"])[:2] for e in exported.json()["entries"]][2] == ["at", "number"]
    file = tmp_path / "log.json"
    file.write_bytes(exported.content)
    said = StringIO()
    call_command("verify_audit", str(file), stdout=said)
    assert "4 entries, whole" in said.getvalue()
    page = (Path(__file__).parents[2] / "docs/moderation.md").read_text()
    (printed,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    for told, whole in ((text, True), (text.replace('"label"', '"flag"'), False)):
        file.write_text(told)
        ours = subprocess.run(
            [sys.executable, "-c", printed, str(file)], capture_output=True, text=True, check=False
        )
        assert (ours.stdout == "True\n") is whole, ours.stderr
    rest = json.loads(Client().get("/moderation/log.json?after=2").content)
    assert len(rest["entries"]) == 2 and rest["previous"] == Act.objects.get(pk=2).hash


# --- asking ---------------------------------------------------------------------------------------


def test_asking_a_hidden_service_takes_one_more_word(one: User, two: User) -> None:
    factories.sub_account(BOB)
    factories.purse(BOB)
    alice, listing = User.objects.for_address(ALICE), ledger.services_of(PETRA)[0]
    assert readiness.check(alice, listing).ready
    hide(one, two)
    assert readiness.check(alice, listing).code == "hidden"
    assert readiness.check(alice, listing, named=True).ready, "a program that names it goes on"
    assert [x.provider for x in choose.candidates(MODEL, asks.CHAT, ())] == []
    assert [x.provider for x in choose.candidates(MODEL, asks.CHAT, (), everything=True)] == [PETRA]
    client = signed_in(alice)
    page = client.get(f"/playground/chat?provider={PETRA}").content.decode()
    found = re.search(r'href="([^"]*)" data-testid="hidden-gate"', page)
    assert found and f'value="{PETRA}" selected' in page
    assert f'value="{PETRA}"' not in client.get("/playground/chat").content.decode()
    path = found[1].replace("&amp;", "&")
    asked = client.get(path).content.decode()
    assert HIDE.public_text in asked
    for then, goes in (
        (f"/playground/chat?provider={PETRA}", f"/playground/chat?provider={PETRA}"),
        ("/playground/embeddings", "/playground/embeddings"),
        ("//evil.example", "/playground/chat"),
    ):
        sent = client.post("/moderation/anyway", {"key": SERVICE.key, "then": then})
        assert sent["Location"] == goes
    assert readiness.check(alice, listing).ready
    assert readiness.check(User.objects.for_address(BOB), listing).code == "hidden"
    services.decide(one, SERVICE, Decision(Action.UNHIDE, "fixed"))
    hide(one, two)
    assert readiness.check(alice, listing).code == "hidden", "another decision asks anew"
    chat = create_chat(alice, PETRA)
    with pytest.raises(NotReady, match="Moderators hid"):
        open_turn(chat, "still there?", process="test")


def test_the_inbox_tells_what_came_of_a_report(one: User) -> None:
    alice = User.objects.for_address(ALICE)
    early = reports.submit(alice, SERVICE, reports.Wish(Category.MONEY, TEXT))
    fine = Decision(Action.APPROVE, "looked", "Prices fit what was settled.")
    services.decide(one, SERVICE, fine, item=early.item)
    alerts.add(alice, Wish(Kind.REPORT))
    late = reports.submit(alice, SERVICE, reports.Wish(Category.PRIVACY, TEXT))
    alerts.sweep()
    assert not alice.notifications.exists()
    services.decide(one, SERVICE, fine, item=late.item)
    alerts.sweep()
    alerts.sweep()
    (told,) = alice.notifications.all()
    assert "nothing to do" in told.title and told.text == fine.public_text


def test_the_provider_is_told_what_was_decided_about_its_service(one: User, two: User) -> None:
    petra = User.objects.for_address(PETRA)
    factories.service(CHARLIE, model=MODEL)
    for user in (petra, User.objects.for_address(CHARLIE)):
        alerts.add(user, Wish(Kind.DECIDED))
    flag = Decision(Action.FLAG, "looked", "It asked for more than its listed prices.")
    undone = services.decide(one, SERVICE, flag)
    services.undo(one, undone.number)
    services.decide(one, SERVICE, Decision(Action.NOTE, "for colleagues"))
    services.decide(one, SERVICE, flag)
    hide(one, two)
    services.decide(one, Subject.provider_of(PETRA), Decision(Action.LABEL, "new", label="beta"))
    assert alerts.sweep() == 0, "whoever decided may still take it back"
    later = timezone.now() + services.UNDO_FOR
    assert alerts.sweep(later) == 3 and alerts.sweep(later) == 0
    told = {row.title: row for row in petra.notifications.all()}
    hidden = told["Moderators hid your service inference-v1.0"]
    assert hidden.text == HIDE.public_text and "reproduced" not in str(vars(hidden))
    assert hidden.path.startswith("/moderation/report?about=service&key=")
    assert "Moderators flagged your service inference-v1.0" in told
    assert "Moderators labelled all your services: beta" in told
    mine = signed_in(petra)
    assert "category" in mine.get(hidden.path).content.decode(), "the appeal"
    with translation.override("de"):
        assert (
            words.translated(hidden.title)
            == "Moderatoren haben Ihren Dienst inference-v1.0 ausgeblendet"
        )
    page = mine.get("/operator").content.decode()
    banners = re.findall(r'data-kind="decided"(.*?)</div>', page, re.DOTALL)
    assert len(banners) == 2 and "Moderators hid inference-v1.0" in banners[0]
    assert HIDE.public_text.replace("’", "’") in banners[0]
    past = mine.get("/account/alerts?kind=decided&preview=1").content.decode()
    assert "this would have told you nothing" in past, "not before it can be taken back no more"
    # What is decided about a model stands on each listing of it; its appeal is about one's own.
    named = Decision(Action.FLAG, "looked", "Its weights are another model's.")
    services.decide(one, Subject.model(MODEL), named)
    of_it = Client().get(f"/models/{MODEL}").content.decode()
    assert "Its weights are another" in of_it and f"report?about=model&amp;key={MODEL}" in of_it
    assert alerts.sweep(later + services.UNDO_FOR) == 2
    for address in (PETRA, CHARLIE):
        title = f"Moderators flagged your model {MODEL}"
        of_model = User.objects.for_address(address).notifications.get(title=title)
        form = signed_in(address).get(of_model.path).content.decode()
        assert 'value="appeal" selected' in form


def test_staff_reads_of_an_appeal_what_it_is_about(one: User, two: User) -> None:
    """Also where that was decided about the whole provider, its other page, or the model."""
    whole = Subject.provider_of(PETRA)
    hidden = services.confirm(two, services.decide(one, whole, HIDE).number)
    services.decide(one, Subject.model(MODEL), Decision(Action.LABEL, "new", label="beta"))
    appealed = reports.submit(
        User.objects.for_address(PETRA), SERVICE, reports.Wish(Category.APPEAL, TEXT)
    )
    assert appealed.item is not None
    desk = signed_in(one)
    page = desk.get(f"/moderation?item={appealed.item.pk}").content.decode()
    force = re.findall(r'data-testid="force" data-kind="(\w+)"(.*?)</li>', page, re.DOTALL)
    assert [kind for kind, _ in force] == ["label", "hidden"]
    assert "Nobody decided anything" not in page
    assert f"decided about Provider {PETRA[:6]}" in force[1][1]
    given = dict(re.findall(r'name="(about|key)" value="([^"]*)"', force[1][1]))
    desk.post("/moderation/decide", {**given, "act": "unhide", "reason": "moved back"})
    assert not selectors.is_hidden(INFERENCE, PETRA) and Act.objects.latest("pk").about == whole
    assert Act.objects.latest("pk").number > hidden.number
    # And the other way: of a provider what holds about one of its services.
    hide(one, two)
    there = desk.get(f"/moderation?about=provider&key={PETRA}").content.decode()
    assert 'data-kind="hidden"' in there and f'name="key" value="{SERVICE.key}"' in there
