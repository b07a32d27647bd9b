"""Probing real HTTP servers: what is seen, how politely it is asked, what is counted from it."""

from __future__ import annotations

import datetime as dt
import io
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models import F
from django.utils import timezone

from attestation import trust
from attestation.selectors import ServiceKey
from ledger import selectors as ledger
from ledger.models import Service
from net.client import Client
from probes import asking, counting, fold, selectors, services, tasks
from probes.fold import CELL, DAY, HOUR
from probes.models import Bucket, Health, Probe
from tests.db import api_rows, probe_world
from tests.db.api_rows import INFERENCE, PAUL, PETRA, TUNING
from tests.db.probe_world import Peer, event, usage
from tests.db.test_verification_uploads import certificate

pytestmark = pytest.mark.django_db(transaction=True)
KEY = ServiceKey("inference", PETRA, "inference-v1.0")


@pytest.fixture
def peer(settings: Any) -> Iterator[Peer]:
    settings.ALLOW_PRIVATE_PROVIDERS = True
    api_rows.contracts()
    with probe_world.peer() as server:
        api_rows.service(PETRA, url=server.url, input_price=0, output_price=0)
        yield server


def look(**options: Any) -> Probe:
    services.run(ledger.services_of(PETRA), **options)
    return Probe.objects.latest("pk")


def health() -> selectors.HealthView:
    return selectors.health_of([KEY])[KEY]


def test_a_healthy_service_is_seen_whole_and_politely(peer: Peer, settings: Any) -> None:
    probe = look()
    assert (probe.state, probe.failure, probe.status) == ("up", "", 200)
    assert (probe.model_listed, probe.cors, probe.tls_days) == (True, True, None)
    assert (probe.speed, probe.tokens, probe.usage_last) == ("unpaid", 40, True)
    assert probe.first_token_ms is not None and probe.stream_ms is not None
    assert 20 <= probe.stream_ms <= 5_000
    assert peer.paths() == [
        "GET /robots.txt",
        "GET /v1/models",
        "OPTIONS /v1/proxy/chat/completions",
        "POST /v1/proxy/chat/completions",
    ]
    for _, _, headers in peer.asked:
        assert headers["User-Agent"] == (
            f"0g-market-probe/1.0 (+{settings.SITE_URL}/docs/how-we-measure)"
        )
        assert "Authorization" not in headers
    seen = health()
    assert (seen.state, seen.uptime_7d) == ("up", selectors.Uptime(10_000, 1, 1))
    assert seen.bar.cells == ("none",) * 27 + ("up",)
    assert seen.tokens is not None and seen.tokens.n == 1 and seen.tokens.p50 > 50
    assert not seen.example
    # The next look is a small one: no preflight, no question, no robots.txt.
    peer.asked.clear()
    assert look().speed == ""
    assert peer.paths() == ["GET /v1/models"]
    assert health().cors is True and health().usage_last is True


@pytest.mark.parametrize(
    ("manners", "state", "failure"),
    [
        ({"models": b'{"data": [{"id": "another"}]}'}, "degraded", "model"),
        ({"models": b'{"data": [{"id": "LLAMA-3"}, 7, {"id": 3}]}'}, "up", ""),
        ({"models": b'{"data": [' + b'{"id": "x"},' * 600 + b'{"id": "llama-3"}]}'}, "up", ""),
        ({"models": b"<html>"}, "degraded", "odd"),
        ({"models": b"[" * 5000}, "degraded", "odd"),
        ({"models": b'{"data": ' + b" " * (2 << 20) + b"[]}"}, "degraded", "odd"),
        ({"status": 404}, "degraded", "odd"),
        ({"status": 503}, "down", "error"),
        ({"cut": True}, "down", "broken"),
        ({"chat_status": 500}, "degraded", "speed"),
        ({"chat_status": 401}, "up", ""),
        ({"pieces": (b"data: x\n\n",)}, "degraded", "speed"),
        # Counts that cannot be: more than was asked for, or an answer that came in one piece.
        ({"pieces": (*[event(content="x")] * 9, usage(10**9))}, "up", ""),
        ({"pieces": (event(content="all"), usage(40))}, "up", ""),
    ],
)
def test_what_is_wrong_has_a_name(
    peer: Peer, manners: dict[str, Any], state: str, failure: str
) -> None:
    for name, value in manners.items():
        setattr(peer.manners, name, value)
    probe = look()
    assert (probe.state, probe.failure) == (state, failure)
    if "pieces" in manners or "chat_status" in manners:
        assert health().tokens is None
    assert health().state == state


def test_nobody_there_no_connection_and_no_private_address(peer: Peer, settings: Any) -> None:
    peer.shutdown()
    peer.server_close()
    assert look().failure == "unreachable"
    settings.ALLOW_PRIVATE_PROVIDERS = False
    services_before = len(peer.asked)
    assert look().failure == "address"
    assert len(peer.asked) == services_before


def test_the_certificate_is_read_from_a_real_handshake(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = certificate(tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(file)
    peer.socket = serving.wrap_socket(peer.socket, server_side=True)
    rows = type(api_rows.service(PAUL)).objects.filter(provider=PETRA)
    rows.update(url=peer.url.replace("http:", "https:"))
    probe = look()
    assert (probe.state, probe.failure) == ("down", "tls"), "nobody vouches for it"
    believing = ssl.create_default_context()
    believing.load_verify_locations(file)
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", believing)
    probe = look()
    assert (probe.state, probe.tls_days) == ("up", 0)
    peer.manners.status = 404
    probe = look()
    assert (probe.state, probe.tls_days) == ("degraded", 0), "a refusal shows its certificate too"


def test_robots_txt_keeps_us_out_only_by_name(peer: Peer, settings: Any) -> None:
    others = b"User-agent: *\nDisallow: /\n\nUser-agent: probe\nUser-agent:\nDisallow: /\n"
    peer.manners.robots = others
    assert not look().failure and not health().opted_out
    peer.manners.robots = b"User-agent: 0G-Market-Probe/1.0\nDisallow: /v1/\n"
    Health.objects.update(rules_at=timezone.now() - dt.timedelta(hours=25))
    peer.asked.clear()
    (found,) = services.run(ledger.services_of(PETRA))
    assert found.forbidden and peer.paths() == ["GET /robots.txt"]
    assert Probe.objects.count() == 1 and health().opted_out
    # So does one that closes only a part of what a look asks for.
    peer.manners.robots = b"User-agent: 0g-market-probe\nDisallow: /v1/proxy/\n"
    (found,) = services.run(ledger.services_of(PETRA))
    assert found.forbidden
    # The rules are asked again, not remembered for ever.
    peer.manners.robots = b""
    assert look().state == "up" and not health().opted_out
    settings.PROBE_OPT_OUT = frozenset({PETRA})
    peer.asked.clear()
    assert services.run(ledger.services_of(PETRA)) == () and peer.asked == []
    assert services.all_due() == [] and health().opted_out
    output = io.StringIO()
    call_command("probe", PETRA, stdout=output)
    assert "never probed (PROBE_OPT_OUT)" in output.getvalue()


def test_one_host_is_asked_for_one_thing_at_a_time(peer: Peer) -> None:
    peer.manners.wait = 0.05
    for number in range(4):
        api_rows.service(api_rows.address(number + 1), url=peer.url)
    assert tasks.PER_HOST < 5 == tasks.sweep(), "in rounds, so that no host holds up the others"
    assert peer.most_at_once == 1
    assert tasks.sweep() == 0, "nothing is due so soon"


def test_who_does_not_answer_is_asked_less_but_never_less_than_a_cell(settings: Any) -> None:
    settings.PROBE_INTERVAL_SECONDS = 300
    pauses = [services.pause(failures).total_seconds() for failures in range(12)]
    assert all(240 <= pause <= 300 for pause in pauses[:3]) and 480 <= pauses[3] <= 600
    assert all(720 <= pause <= 900 for pause in pauses[4:])
    assert len({services.pause(0) for _ in range(20)}) > 1


def test_a_new_url_is_another_machine(peer: Peer) -> None:
    look()
    assert health().cors is True and services.all_due() == []
    with probe_world.peer() as other:
        row = type(api_rows.service(PAUL)).objects.filter(provider=PETRA)
        row.update(url=other.url)
        assert PETRA in [listing.provider for listing in services.all_due()]
        other.manners.status = 500
        look()
    seen = health()
    assert (seen.state, seen.cors, seen.usage_last) == ("down", None, None)


def test_a_round_that_ends_late_does_not_undo_a_newer_look(peer: Peer) -> None:
    earlier = async_to_sync(services.look_at)(services.targets(ledger.services_of(PETRA)))
    peer.manners.status = 500
    look()
    services.store(earlier)
    assert health().state == "down" and Probe.objects.count() == 2


def test_what_our_own_line_lacks_is_not_counted_against_providers(settings: Any) -> None:
    settings.ALLOW_PRIVATE_PROVIDERS = True
    api_rows.contracts()
    with ExitStack() as online:
        for number in range(1, services.WITNESSES + 1):
            url = online.enter_context(probe_world.peer()).url
            api_rows.service(api_rows.address(number), url=url)
        assert tasks.sweep() == services.WITNESSES
        Probe.objects.update(at=F("at") - services.interval())
        with probe_world.peer() as gone:
            api_rows.service(PETRA, url=gone.url)
        assert tasks.sweep() == 1 + services.WITNESSES, "the others answer: it is Petra"
        assert health().state == "down"
    before = Probe.objects.count()
    Probe.objects.update(at=F("at") - services.interval())
    for due in (Health.objects.filter(provider=PETRA), Health.objects.all()):
        due.update(next_at=timezone.now())
        assert tasks.sweep() == 0 and Probe.objects.count() == before, "nobody answers"
    assert set(Health.objects.exclude(provider=PETRA).values_list("state", flat=True)) == {"up"}


def test_fine_tuning_is_asked_for_its_queue(peer: Peer) -> None:
    api_rows.tuning(PAUL, TUNING, url=peer.url)
    (found,) = services.run(ledger.services_of(PAUL))
    assert found.judged == ("up", "") and found.cors is None
    assert peer.paths() == ["GET /robots.txt", "GET /v1/task/pending"]


def test_the_command_says_what_it_saw(peer: Peer) -> None:
    output = io.StringIO()
    call_command("probe", PETRA.lower(), stdout=output)
    said = output.getvalue()
    assert said.startswith(f"{PETRA} inference llama-3: up, model list in ")
    assert "browsers may ask it" in said and "usage in its final chunk" in said
    assert Probe.objects.count() == 1
    output = io.StringIO()
    call_command("probe", stdout=output)
    assert output.getvalue() == "nothing is due\n"
    for wrong, why in (("0x12", "is not an address"), (PAUL, "offers no service")):
        with pytest.raises(CommandError, match=why):
            call_command("probe", wrong)


# --- counting -------------------------------------------------------------------------------------

NOW = dt.datetime(2026, 5, 1, 12, 7, tzinfo=dt.UTC)


def stored(at: dt.datetime, state: str, **fields: Any) -> None:
    Probe.objects.create(
        serving=INFERENCE, provider=PETRA, kind="inference", service_name="inference-v1.0",
        at=at, url="https://petra.example", state=state, **fields,
    )  # fmt: skip


def counted(now: dt.datetime = NOW) -> selectors.HealthView:
    moments = Probe.objects.values_list("serving", "provider", "at")
    counting.recount({(s, p, fold.floor(at, CELL)) for s, p, at in moments})
    row, _ = Health.objects.get_or_create(
        serving=INFERENCE, provider=PETRA, kind="inference", service_name="inference-v1.0"
    )
    row.checked_at = now
    counting.refresh([row], now)
    return selectors.health_of([KEY], now)[KEY]


def test_windows_are_counted_in_cells_and_can_be_counted_again() -> None:
    for hours in range(48):  # up for a day, then down: once a cell instead of three times
        for quarter in range(4):
            cell = fold.floor(NOW, HOUR) - hours * HOUR + quarter * CELL
            if cell > NOW:
                continue
            if hours < 24:
                stored(cell, "down", failure="unreachable")
            else:
                for minute in (1, 6, 11):
                    stored(cell + dt.timedelta(minutes=minute), "up", answer_ms=100 + hours)
    seen = counted()
    assert seen.uptime is not None
    # 24 hours and the cell that has just begun; 93 down cells and the 96 before.
    assert (seen.uptime["24h"].share, seen.uptime["24h"].cells) == (312, 96)
    assert seen.uptime["7d"] == selectors.Uptime(96 * 10_000 // 189, 93 + 288, 189)
    assert seen.uptime["90d"] == seen.uptime["7d"]
    assert seen.answer == selectors.Spread(135, 146, 96)
    before = list(Bucket.objects.order_by("span", "start").values())
    Bucket.objects.all().delete()
    assert counted() == seen
    again = list(Bucket.objects.order_by("span", "start").values())
    assert [{**row, "id": 0} for row in again] == [{**row, "id": 0} for row in before]


def test_how_fast_one_model_wrote_is_not_told_of_the_next() -> None:
    for hours in range(1, 6):
        quick = {"first_token_ms": 10, "tokens": 40, "stream_ms": 100}
        slow = {"first_token_ms": 900, "tokens": 40, "stream_ms": 4_000}
        stored(NOW - hours * HOUR, "up", answer_ms=100, **(slow if hours < 3 else quick))
    before = counted()
    assert (before.first_token, before.tokens) == (
        selectors.Spread(10, 900, 5), selectors.Spread(3_900, 97, 5)
    )  # fmt: skip
    for change, ago in (("price", 1), ("model", 2.5), ("type", 9)):
        api_rows.change(change=change, at=NOW - ago * HOUR)
    after = counted()
    assert (after.first_token, after.tokens) == (
        selectors.Spread(900, 900, 2), selectors.Spread(97, 97, 2)
    )  # fmt: skip
    # Whether it is there, and how fast it says so, is the same service's.
    assert (after.uptime, after.answer) == (before.uptime, before.answer)


def test_a_verdict_on_the_present_ages_and_example_data_says_so() -> None:
    stored(NOW - dt.timedelta(minutes=1), "up", example=True)
    assert counted().state == "none" and counted().example
    Health.objects.update(state="up")
    now = selectors.health_of([KEY], NOW)[KEY]
    later = selectors.health_of([KEY], NOW + 3 * HOUR)[KEY]
    off = selectors.health_of([KEY], NOW + 2 * DAY)[KEY]
    week = selectors.health_of([KEY], NOW + 8 * DAY)[KEY]
    assert (now.state, later.state) == ("up", "none")
    assert later.uptime == now.uptime and set(week.uptime or {}) == {"90d"}
    # A week that ended two days ago is not the last 7 days.
    assert set(off.uptime or {}) == {"90d"} and off.answer is None
    assert "up" in off.bar.cells, "the bar moves on, and says itself where it ends"
    assert week.answer is None and set(week.bar.cells) == {"none"}
    # The windows of an answer move on though nobody probes, and so must the name of it.
    assert selectors.state(NOW) != selectors.state(NOW + CELL)


def test_lists_cost_one_query_and_can_be_filtered_and_sorted(
    django_assert_num_queries: Any,
) -> None:
    api_rows.contracts()
    keys = []
    for number in range(40):
        who = api_rows.address(number + 1)
        api_rows.service(who)
        keys.append(ServiceKey("inference", who, "inference-v1.0"))
        Health.objects.create(
            serving=INFERENCE, provider=who, kind="inference", service_name="inference-v1.0",
            state="up", checked_at=timezone.now(), bar="u" * 28, bar_end=timezone.now() + CELL,
            uptime_7d=9_980 + number, probes_7d=9, cells_7d=3,
        )  # fmt: skip
    with django_assert_num_queries(1):
        found = selectors.health_of(keys)
    assert all(found[key].uptime_7d for key in keys)
    with django_assert_num_queries(1):
        condition = selectors.reliable(10_000)
    assert Service.current.filter(condition.q()).count() == 20
    ordered = Service.current.annotate(m=selectors.measured("uptime")).order_by("-m")
    assert ordered[0].provider == keys[-1].provider
    assert condition == selectors.reliable(10_000) != selectors.reliable(9_990)
    Health.objects.filter(provider=keys[0].provider).first().save()  # type: ignore[union-attr]
    assert condition != selectors.reliable(10_000), "kept lists are made anew"
    Health.objects.filter(provider=keys[-1].provider).update(checked_at=timezone.now() - DAY)
    assert Service.current.filter(condition.q()).count() == 19, "its 7 days ended a day ago"
    unknown = Service.current.annotate(m=selectors.measured("uptime")).filter(m=None)
    assert [row.provider for row in unknown] == [keys[-1].provider]


def test_storing_costs_the_same_for_one_and_for_many(
    peer: Peer, django_assert_max_num_queries: Any
) -> None:
    for number in range(9):
        api_rows.service(api_rows.address(number + 1), url=peer.url)
    targets = services.targets(services.all_due())

    async def all_of_them() -> list[asking.Found]:
        async with Client(trust.provider_policy()) as client:
            return [await asking.look(client, target) for target in targets]

    found = async_to_sync(all_of_them)()
    with django_assert_max_num_queries(18):
        services.store(found)
    assert Probe.objects.count() == 10
