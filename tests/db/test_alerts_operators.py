"""What operators are told about their own service, once, and not again before it ended."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from alerts import own_service, services
from alerts.kinds import Kind
from alerts.models import Held, Rule
from alerts.services import Wish
from ledger.models import Projection, Service
from operators import debts
from operators.models import Debt
from probes.models import Health
from tests import factories
from tests.db.operator_world import SECOND
from tests.db.plans import plans
from tests.factories import ALICE, BOB, INFERENCE, ONE, PETRA

pytestmark = pytest.mark.django_db


@pytest.fixture
def petra(settings: Any) -> User:
    settings.CHAIN_RPC_URLS = ("http://127.0.0.1:9",)  # nobody there
    cache.clear()
    factories.head()
    factories.contract()
    factories.service()
    Projection.objects.create(name="ledger", version=3, final_block=4_100_000)
    return User.objects.for_address(PETRA)


def told(user: User) -> list[str]:
    found = [row.title for row in user.notifications.order_by("at", "pk")]
    user.notifications.all().delete()
    return found


def test_a_certificate_that_ends_is_told_twice_and_after_it_was_renewed_anew(petra: User) -> None:
    services.add(petra, Wish(Kind.CERTIFICATE))
    bob = User.objects.for_address(BOB)
    services.add(bob, Wish(Kind.CERTIFICATE))  # offers nothing
    Health.objects.create(
        serving=INFERENCE, provider=PETRA, kind="inference", service_name="inference-v1.0",
        tls_days=15, checked_at=timezone.now(),
    )  # fmt: skip
    assert services.sweep() == 0
    for days, titles in (
        (14, ["The certificate of your inference-v1.0 ends in 14 d"]),
        (13, []),
        (3, ["The certificate of your inference-v1.0 ends in 3 d"]),
        (-1, []),
        (90, []),
        (0, ["The certificate of your inference-v1.0 ends in 0 d"]),
        (90, []),
        (-1, ["The certificate of your inference-v1.0 has ended"]),
        (90, []),
    ):
        Health.objects.update(tls_days=days)
        services.sweep()
        services.sweep()
        assert told(petra) == titles, days
    # It was seen when it last answered, four days ago; looks since then saw none.
    down = timezone.now() - dt.timedelta(days=4, hours=1)
    Health.objects.update(tls_days=6, state="down", since=down)
    services.sweep()
    assert told(petra) == ["The certificate of your inference-v1.0 ends in 2 d"]
    Service.objects.update(removed=True)
    services.sweep()
    assert not Held.objects.exists() and not bob.notifications.exists()


def test_the_certificate_of_a_second_contract_is_shown_where_it_is(petra: User) -> None:
    factories.contract(address=SECOND, service_name="inference-v1.1", recommended=False)
    factories.service(serving=SECOND)
    services.add(petra, Wish(Kind.CERTIFICATE))
    Health.objects.create(
        serving=SECOND, provider=PETRA, kind="inference", service_name="inference-v1.1",
        tls_days=9, checked_at=timezone.now(),
    )  # fmt: skip
    services.sweep()
    path = f"/services/inference/{PETRA}/performance?service_name=inference-v1.1"
    assert petra.notifications.get().path == path


def test_fees_that_were_not_paid_are_told_once_for_each_final_transaction(
    petra: User, client: Client
) -> None:
    factories.settlement(status="no_tee_signer", settled=0, unsettled=9 * ONE)  # before the rule
    services.add(petra, Wish(Kind.UNPAID))
    later = timezone.now() + dt.timedelta(seconds=1)
    assert services.sweep() == 0
    batch: dict[str, Any] = {"tx_hash": factories.tx_hash("batch"), "at": later}
    factories.settlement(user=ALICE, status="partial", settled=1, unsettled=ONE, **batch)
    factories.settlement(user=BOB, status="no_tee_signer", settled=0, unsettled=ONE, **batch)
    dropped = factories.tx_hash("written off")  # by its operator, who asked for nothing
    factories.settlement(at=later, tx_hash=dropped, status="abandoned", settled=0)
    whole = factories.tx_hash("whole")
    factories.settlement(at=later, tx_hash=whole)
    not_final = factories.tx_hash("not final")
    factories.settlement(at=later, status="partial", unsettled=1, tx_hash=not_final, pending=True)
    assert services.sweep() == 1 and services.sweep() == 0
    row = petra.notifications.get()
    assert row.title == "2 0G of your fees were not paid"
    assert row.path == f"/operator/settlements/{batch['tx_hash']}"
    client.force_login(petra)
    past = client.get("/account/alerts?kind=unpaid&preview=1").content.decode()
    assert "9 0G of your fees were not paid" in past


def test_settlements_of_before_are_not_read_again(petra: User) -> None:
    """A broker settles every few minutes for years, and its owner's rule is looked at all the
    time."""
    for number in range(100):
        who = {"provider": factories.address(number % 10), "user": factories.address(number)}
        factories.settlement(**who, block=4_000_000 + number, log_index=number)
    # Others go on since then: else to look there for ours would be as good.
    later = timezone.now() + dt.timedelta(minutes=1)
    for number in range(100, 300):
        who = {"provider": factories.address(number % 10), "user": factories.address(number)}
        factories.settlement(**who, block=4_000_000 + number, log_index=number, at=later)
    with CaptureQueriesContext(connection) as asked:
        own_service.unpaid_since([PETRA], timezone.now())
    plan = plans([asked[0]["sql"]], "ledger_settlement")[0]
    assert re.search(r"Index Cond: .*provider.* AND \(block >= ", plan), plan


def test_what_a_broker_owes_is_told_by_its_own_word_and_silence_changes_nothing(
    petra: User,
) -> None:
    services.add(petra, Wish(Kind.UNSETTLED, threshold=5 * ONE))
    services.add(petra, Wish(Kind.LOW_GAS, threshold=ONE))
    now = timezone.now()
    debt = Debt.objects.create(
        provider=PETRA, serving=INFERENCE, asked_at=now, counted_at=now, fee=6 * ONE
    )
    services.add(User.objects.for_address(BOB), Wish(Kind.UNSETTLED, threshold=ONE))
    assert services.sweep() == 1 and services.sweep() == 0
    # nobody's node and workers are kept busy for a wallet that offers nothing
    assert cache.get(f"alerts:debts:{PETRA}") and not cache.get(f"alerts:debts:{BOB}")
    assert told(petra) == ["6 0G is not settled yet, says your broker"]
    Debt.objects.filter(pk=debt.pk).update(error="no answer")
    assert services.sweep() == 0 and Held.objects.count() == 1
    # Nor is it less because one of two brokers says nothing for once.
    factories.service(PETRA, serving=SECOND)
    other = Debt.objects.create(
        provider=PETRA, serving=SECOND, asked_at=now, counted_at=now, fee=ONE
    )
    assert services.sweep() == 0 and Held.objects.count() == 1
    Debt.objects.filter(pk=debt.pk).update(error=debts.NOT_SHARED, fee=0)
    assert services.sweep() == 0 and not Held.objects.exists()
    Debt.objects.filter(pk=debt.pk).update(error="", fee=ONE)
    Debt.objects.filter(pk=other.pk).update(fee=9 * ONE)
    assert services.sweep() == 1
    # Of a service that is not offered any more nobody asks.
    Debt.objects.filter(pk=other.pk).update(error="no answer")
    Service.objects.filter(serving=SECOND).update(removed=True)
    assert services.sweep() == 0 and not Held.objects.exists()


def test_only_operators_are_offered_these_and_eight_come_in_one_go(
    petra: User, client: Client
) -> None:
    alice = User.objects.for_address(ALICE)
    client.force_login(alice)
    page = client.get("/account/alerts").content.decode()
    assert 'value="low_gas"' not in page and "rules-operator" not in page
    client.force_login(petra)
    page = client.get("/account/alerts").content.decode()
    assert 'value="low_gas"' in page and "rules-operator" in page
    client.post("/account/alerts/usual", {"for": "operator"})
    assert Rule.objects.filter(user=petra).count() == 8
    assert Rule.objects.get(kind=Kind.PROVIDER_DOWN).provider == PETRA
    page = client.get("/account/alerts").content.decode()
    assert "rules-operator" not in page and "My own wallet falls below 0.5 0G" in page
    assert own_service.offers(PETRA) and not own_service.offers(ALICE)
