"""What an attacker would try at the doors of operators and staff."""

from __future__ import annotations

import json
import re
import threading
import time
from base64 import b32decode
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_otp.oath import TOTP

from accounts import roles
from accounts.errors import Problem
from accounts.models import User
from accounts.roles import Role
from attestation import challenge
from attestation.models import Trigger
from chain.models import RawLog
from ledger import selectors as ledger
from moderation import audit, reports, selectors, services
from moderation.decisions import Decision
from moderation.fold import Action
from moderation.models import Act, Report
from moderation.subjects import Subject
from operators import flows, profile, profile_domain, setup, setup_checks, setup_results
from operators.models import Profile, SetupRun
from operators.period import Period
from ops import staff
from ops.models import PasswordAccount
from tests import factories
from tests.db.operator_world import World
from tests.factories import ALICE, PETRA

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def limits_anew() -> None:
    cache.clear()


def member(client: Client, role: Role) -> User:
    user = User.objects.for_address(factories.address(f"review-{role}"))
    roles.give(user, role)
    client.force_login(user)
    session = client.session
    session["proved_at"] = int(time.time())
    session.save()
    return user


def test_the_admins_lists_answer_no_question_about_what_they_never_show(
    client: Client, quick_passwords: None
) -> None:
    """Django lets an address filter a list by any column of its table: letter by letter that would
    spell password hashes, sealed keys and people's words."""
    member(client, Role.AUDITOR)
    staff.create("root", PASSWORD, Role.ADMIN)
    for path in (
        "accounts/user/?password__startswith=md5",
        "accounts/user/?password__regex=.",
        "accounts/user/?sign_ins__session_key__startswith=a",
        "ops/passwordaccount/?recovery__contains=a",
        "ops/passwordaccount/?secret_sealed__gt=a",
        "accounts/signin/?session_key__startswith=a",
        "inference/chat/?medium__regex=.",
        "inference/chat/?owner__address__startswith=0x",
        "accounts/providerkey/?sealed__startswith=gAAAA",
        "moderation/act/?salt__startswith=a",
        "moderation/act/?area=%00",
    ):
        answer = client.get(f"/admin/{path}")
        assert answer.status_code == 400, path
    for path in (
        "accounts/user/?is_active__exact=1",
        "accounts/user/?q=root",
        "inference/chat/?medium__exact=chat",
        "accounts/user/?groups__id__exact=1",
        "ledger/service/?removed__exact=0&kind=inference",
        "inference/chat/?o=1",
    ):
        assert client.get(f"/admin/{path}").status_code == 200, path


def test_strangers_neither_lengthen_the_record_nor_learn_names_from_it(
    client: Client, quick_passwords: None
) -> None:
    """The log shows everybody how many acts there are."""
    staff.create("rosa", PASSWORD, Role.ADMIN)
    for name in ("rosa", "nobody", "Rosa "):
        answer = client.post("/ops/sign-in", {"name": name, "password": "wrong"})
        assert answer.status_code == 403 and audit.head()[0] == 0
    client.post("/ops/sign-in", {"name": "rosa", "password": PASSWORD})
    html = client.get("/ops/sign-in/code").content.decode()
    secret = re.search(r'data-testid="staff-secret">([A-Z2-7 ]+)<', html)
    assert secret
    clock = TOTP(b32decode(secret[1].replace(" ", "")))
    client.post("/ops/sign-in/code", {"code": f"{clock.token():06d}"})
    account, other = PasswordAccount.objects.get(), Client()
    other.post("/ops/sign-in", {"name": "rosa", "password": PASSWORD})
    clock.time = time.time() + 30
    assert other.post("/ops/sign-in/code", {"code": f"{clock.token():06d}"}).status_code == 302
    act = Act.objects.get(action="signed_in")
    assert json.loads(act.after)["refused_before"] == 2 and staff.refusals(account) == 0


def test_a_stranger_who_tries_a_name_keeps_its_holder_out_of_nothing(
    client: Client, quick_passwords: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    staff.create("rosa", PASSWORD, Role.ADMIN)

    def told(browser: Client, password: str = PASSWORD) -> int:
        return browser.post("/ops/sign-in", {"name": "rosa", "password": password}).status_code

    assert told(client) == 302
    html = client.get("/ops/sign-in/code").content.decode()
    secret = re.search(r'data-testid="staff-secret">([A-Z2-7 ]+)<', html)
    assert secret
    clock = TOTP(b32decode(secret[1].replace(" ", "")))
    client.post("/ops/sign-in/code", {"code": f"{clock.token():06d}"})
    monkeypatch.setattr(staff, "TRIES_OF_A_NAME", 2)
    stranger, travels = Client(REMOTE_ADDR="198.51.100.9"), Client(REMOTE_ADDR="203.0.113.7")
    assert [told(stranger, "wrong"), told(stranger, "wrong")] == [403, 429]
    assert told(travels) == 429 and told(Client()) == 302


# --- moderation -----------------------------------------------------------------------------------


def listing() -> Subject:
    factories.head()
    factories.contract()
    factories.service(PETRA)
    return Subject.service(factories.INFERENCE, PETRA)


def report(user: User, subject: Subject, **more: Any) -> Report:
    wish = reports.Wish("other", "It says something that is not so.")
    return reports.submit(user, subject, wish, **more)


def test_an_undo_does_not_fall_over_a_report_that_came_anew(client: Client) -> None:
    subject, moderator = listing(), member(client, Role.MODERATOR)
    alice = User.objects.for_address(ALICE)
    first = report(alice, subject)
    flag = Decision(Action.FLAG, "reproduced it", "It says things that are not so.")
    act = services.decide(moderator, subject, flag, item=first.item)
    second = report(alice, subject)
    assert client.post(f"/moderation/acts/{act.number}/undo").status_code == 302
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.outcome == "upheld" and second.closed_at is None


def test_of_two_who_decide_at_once_the_second_is_told(client: Client) -> None:
    """Both have read the item before either decided it."""
    subject, moderator = listing(), member(client, Role.MODERATOR)
    item = report(User.objects.for_address(ALICE), subject).item
    flag = Decision(Action.FLAG, "reproduced it", "It says things that are not so.")
    services.decide(moderator, subject, flag, item=item)
    fine = Decision(Action.APPROVE, "nothing to object to")
    with pytest.raises(Problem, match="Somebody decided this meanwhile"):
        services.decide(moderator, subject, fine, item=item)
    assert Act.objects.get().action == "flag"


def test_reports_that_come_at_once_count_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, alice = listing(), User.objects.for_address(ALICE)

    def others_first() -> None:
        for number in range(reports.PER_WALLET):
            Report.objects.create(
                reporter=alice, subject_kind="service", subject=f"{number}", category="other",
                text="…", at=timezone.now(),
            )  # fmt: skip

    monkeypatch.setattr(audit, "lock", others_first)
    with pytest.raises(Problem) as refused:
        report(alice, subject)
    assert refused.value.code == "no_more_reports"


# --- operators ------------------------------------------------------------------------------------


def test_no_day_in_the_address_bar_breaks_the_books(client: Client) -> None:
    listing()
    client.force_login(User.objects.for_address(PETRA))
    for days in ("until=0001-01-01", "since=9999-12-31", "since=0001-01-01", "until=0002-01-01"):
        assert client.get(f"/operator?{days}").status_code == 200, days
        assert client.get(f"/operator/settlements?{days}").status_code == 200, days
        assert client.get(f"/operator/earnings.csv?{days}").status_code == 200, days


def test_a_check_that_somebody_asks_for_is_not_paid_by_the_site(settings: Any) -> None:
    """Provider, wallet and bounds all allow it: still an operator's button spends nothing."""
    subject = listing()
    settings.SITE_WALLET_KEY = "11" * 32
    settings.SITE_WALLET_PROVIDERS = frozenset({PETRA})
    (row,) = ledger.services_of(subject.address)
    assert challenge._wallet(vars(row), Trigger.SCHEDULE)
    looked_at = setup_checks._target(setup_results.Subject(row, True, 1))
    with pytest.raises(challenge.NotChallenged):
        challenge._wallet(vars(looked_at.listing), Trigger.SCHEDULE)


def test_a_price_is_compared_in_the_unit_people_read() -> None:
    (row,) = ledger.services_of(listing().address)  # 1.2 0G per million tokens
    found = setup_checks.price(row, (2 * 10**12, 3 * 10**12))
    # The median as the page of the market has it: the nearest rank.
    assert found.found == "1.2 0G per 1M tokens; the median of 2 other offers is 2."
    assert (found.state, setup_checks.price(row, (10**10,)).state) == ("ok", "warn")
    absurd = setup_checks.price(row, (10**40,)).found
    assert absurd.startswith("1,200,000,000,000 neuron per unit; the median of 1 other")
    # Of embeddings the input alone is billed, and compared: 0.4 0G here.
    texts = replace(row, service_type="embedding", input_price=4 * 10**11)
    assert setup_checks.price(texts, (10**12,)).found.startswith("0.4 0G per 1M tokens")
    # Of speech whichever of the two has the price of a second.
    heard = {"model": "ear", "service_type": "speech-to-text", "input_price": 10**16}
    factories.service(ALICE, output_price=0, **heard)
    (other,) = ledger.services_of(ALICE)
    mine = replace(other, provider=PETRA, input_price=0, output_price=2 * 10**16)
    found = setup_checks.price(mine, setup_checks.rivals(mine))
    assert found.found == "0.02 0G per second; the median of 1 other offer is 0.01."
    assert found.state == "ok"


@pytest.mark.django_db(transaction=True)
def test_one_click_may_be_two_and_begins_one_check() -> None:
    user = User.objects.for_address(PETRA)
    barrier, outcomes = threading.Barrier(4), []

    def click() -> None:
        barrier.wait()
        try:
            row = SetupRun(user=user, kind="inference", url="https://provider.example")
            setup.queued(row, setup.SETUP_TASK)
            outcomes.append("made")
        except Problem as problem:
            outcomes.append(problem.code)
        connection.close()

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["already_running"] * 3 + ["made"]


def test_silent_hosts_do_not_stand_before_everybody_elses_domains() -> None:
    """Profiles outlive their stake, so names of silent hosts cost nearly nothing."""
    at = timezone.now()
    for number, domain in enumerate(("silent.invalid", "other.invalid")):
        Profile.objects.create(
            provider=factories.address(domain), name=domain, domain=domain, nonce=f"{number}",
            domain_state="waiting", message="", signature="", signed_at=at,
        )  # fmt: skip
    silent = Profile.objects.get(domain="silent.invalid")
    assert profile_domain.prove(silent, at) == "missing"
    assert [row.domain for row in profile.due(at)] == ["other.invalid"]
    assert profile.due(at + profile.EVERY).count() == 2


def test_a_models_name_is_decided_about_as_it_is_spelled(client: Client) -> None:
    """Blanks at the end would else keep a name out of reach of every decision."""
    moderator, named = member(client, Role.MODERATOR), Subject.model("somebody/model \u00a0")
    flag = Decision(Action.FLAG, "reproduced it", "It is not the model it claims.")
    services.decide(moderator, named, flag)
    assert Act.objects.get().about == named
    assert [row.about for row in selectors.in_force()] == [named]
    assert audit.verify()[0] == 1


def test_books_without_logs_are_only_of_the_time_before_there_were_any(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day whose logs are missing is not a day of older code."""
    world = World()
    world.name("a model")
    world.settle(ALICE, "success", 10)
    world.next_block(24)
    world.settle(ALICE, "success", 5)
    day = Period("", world.at.date(), world.at.date())
    assert flows.books(PETRA, day, world.block).agrees
    spent = RawLog.objects.filter(address=settings.LEDGER_ADDRESS)
    spent.filter(block_number=world.block).delete()
    lost = flows.books(PETRA, day, world.block)
    assert (lost.logged, lost.unlogged, lost.agrees) == (0, 0, False)
    spent.all().delete()
    old = flows.books(PETRA, day, world.block)
    assert (old.logged, old.unlogged, old.agrees) == (0, 5, True)
    # What was not added up is not said to be equal.
    monkeypatch.setattr(flows, "MOST_ITEMS", 0)
    client.force_login(User.objects.for_address(PETRA))
    page = client.get(f"/operator/settlements?since={day.since}&until={day.until}").content
    assert b'data-testid="books-agree"' in page and b"was not added up" in page
