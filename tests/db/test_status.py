"""Parts of the site over time, and what staff announces about it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import roles
from accounts.models import User
from accounts.roles import Role
from marketplace import announcements, components, context, freshness, presence, traffic
from marketplace.models import Announcement, ComponentDay, Look
from marketplace.tasks import watch
from moderation.models import Act
from tests import factories
from tests.db import api_rows as rows

pytestmark = pytest.mark.django_db
NOON = dt.datetime(2026, 5, 1, 12, 1, 7, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Redis and the process remember longer than a test's transaction."""
    yield
    presence.client().delete(announcements.KEY, traffic.KEY, presence.TASKS, presence.WEB)
    announcements._believed = (0.0, [])
    components._held.clear()


@pytest.fixture
def admin(client: Client) -> User:
    user = User.objects.for_address(factories.address("admin"))
    roles.give(user, Role.ADMIN)
    client.force_login(user)
    return user


# --- looks ----------------------------------------------------------------------------------------


def test_a_period_is_looked_at_once_and_counted_by_day() -> None:
    rows.head(100)
    presence.client().delete(presence.TASKS, presence.WEB)
    presence.ran("probes.sweep", 12, True)
    now = timezone.now()
    assert components.watch(now) and not components.watch(now)
    seen = Look.objects.get()
    # Nothing is listed, so nothing has to be measured; nobody tells that a web process is there.
    assert seen.states == {
        "cache": "up", "worker": "up", "site": "down", "index": "up", "alerts": "up",
        "database": "up",
    }  # fmt: skip
    assert seen.database and seen.database > 1_000_000
    assert components.watch(now + components.PERIOD), "and then no task has run for minutes"
    days = {day.component: (day.up, day.down) for day in ComponentDay.objects.all()}
    assert days["database"] == (2, 0) and days["worker"] == (1, 1) and "probes" not in days


def test_what_was_seen_while_the_database_was_away_is_written_later() -> None:
    def away(execute: Any, sql: str, *given: Any) -> Any:
        raise OperationalError("the database does not answer")

    with connection.execute_wrapper(away):
        assert not components.watch(NOON)
        assert not components.watch(NOON + components.PERIOD)
    assert components.watch(NOON + 2 * components.PERIOD)
    found = list(Look.objects.order_by("at"))
    assert [one.states["database"] for one in found] == ["down", "down", "up"]
    assert "index" not in found[0].states, "what cannot be read is not judged"
    day = ComponentDay.objects.get(component="database")
    assert (day.day, day.up, day.down) == (NOON.date(), 1, 2)


def test_the_task_looks_before_it_asks_a_database_that_is_away() -> None:
    def away(execute: Any, sql: str, *given: Any) -> Any:
        raise OperationalError("the database does not answer")

    with connection.execute_wrapper(away), pytest.raises(OperationalError):
        watch()
    (seen,) = components._held.values()
    assert seen.states["database"] == "down"


def test_without_redis_only_what_needs_it_is_unknown(settings: Any) -> None:
    rows.head(100)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    states = components.look(timezone.now()).states
    assert states["cache"] == "down" and states["database"] == states["index"] == "up"
    assert not {"site", "worker"} & states.keys()


def test_pages_that_fail_are_trouble_and_a_counter_that_began_again_is_not() -> None:
    presence.client().hset(presence.WEB, "one", web_process())
    counted: dict[Any, Any] = {"page|status|2xx": 100, "page|status|5xx": 1, "relay|status|5xx": 90}
    presence.client().hset(traffic.KEY, mapping=counted)
    assert components.look(NOON).states["site"] == "up"
    Look.objects.create(at=components.period(NOON), states={}, answered=101, failed=1)
    later = NOON + components.PERIOD
    presence.client().hset(traffic.KEY, mapping={"page|status|2xx": 118, "page|status|5xx": 2})
    assert components.look(later).states["site"] == "up", "too few to judge"
    presence.client().hset(traffic.KEY, mapping={"page|status|2xx": 190, "page|status|5xx": 11})
    assert components.look(later).states["site"] == "degraded"
    presence.client().hset(traffic.KEY, mapping={"page|status|2xx": 5, "page|status|5xx": 5})
    assert components.look(later).states["site"] == "up"


def web_process() -> bytes:
    at = timezone.now().timestamp()
    return b'{"at":%f,"pid":1,"sockets":{},"memory":1,"ending":false}' % at


def part(html: str, name: str) -> str:
    found = re.search(rf'<tr [^>]*data-part="{name}".*?</tr>', html, re.DOTALL)
    assert found is not None
    return found[0]


def test_the_page_shows_days_and_grey_where_nobody_looked(client: Client) -> None:
    rows.head(100)
    html = client.get("/status").content.decode()
    assert html.count("data-part=") == len(components.COMPONENTS)
    assert "no data" in part(html, "index") and 'class="up"' not in part(html, "index")
    today = timezone.now().date()
    for back, up, degraded, down in ((0, 9, 0, 0), (1, 200, 8, 4), (2, 4, 0, 4), (100, 0, 0, 9)):
        ComponentDay.objects.create(
            component="index", day=today - dt.timedelta(days=back),
            up=up, degraded=degraded, down=down,
        )  # fmt: skip
    seen = components.period(timezone.now())
    Look.objects.create(at=seen, states={"index": "degraded"})
    shown = part(client.get("/status").content.decode(), "index")
    # A word may be five minutes old, and says so: banners know of what happened since.
    assert f'datetime="{seen:%Y-%m-%dT%H:%M}' in shown
    assert "1 up, 1 degraded, 1 down, 87 no data" in shown
    assert "96.50 %" in shown and "of 229 looks" in shown
    assert 'data-state="degraded"' in shown
    html = client.get("/status").content.decode()
    assert "Days with trouble" in html and '<td class="number">20</td>' in html


def test_the_page_costs_the_same_however_much_there_was(client: Client) -> None:
    rows.head(100)

    def cost() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert client.get("/status").status_code == 200
        return len(seen)

    announced("first")
    few = cost()
    now = timezone.now()
    for number in range(12):
        announced(f"number {number}")
        for name in components.COMPONENTS:
            ComponentDay.objects.create(
                component=name, day=now.date() - dt.timedelta(days=number), up=1, down=1
            )
    assert cost() == few


def test_growth_of_the_database_is_known_after_a_week() -> None:
    now = timezone.now()
    for days, size in ((7.1, 1_000), (3, 2_000), (0, 5_000)):
        Look.objects.create(at=now - dt.timedelta(days=days), states={}, database=size)
    assert components.growth(now, 7) == 4_000
    assert components.growth(now, 30) is None


# --- announcements --------------------------------------------------------------------------------


def announced(title: str, **given: Any) -> Announcement:
    typed = {"kind": "incident", "title": title, "text": "We look into it.", **given}
    written, errors = announcements.parse(typed, timezone.now())
    assert written is not None, errors
    Announcement.objects.update(ends_at=timezone.now())  # any number, but few at once
    row = announcements.announce(written, timezone.now())
    assert row is not None
    return row


@pytest.mark.django_db(transaction=True)
def test_an_incident_is_said_everywhere_until_it_ends(client: Client, admin: User) -> None:
    rows.head(100)
    everybody = Client()
    typed = {"kind": "incident", "title": "Chat <b>stops</b>.", "text": "We look\nat it."}
    for _twice in range(2):  # pressed twice, or sent again after a 503: everybody reads it once
        assert client.post("/ops/announcements", typed).status_code == 302
    row = Announcement.objects.get()
    page = everybody.get("/providers").content.decode()
    assert "Incident: Chat &lt;b&gt;stops&lt;/b&gt;." in page
    assert '<a class="button small" href="/status">Status</a>' in page
    html = everybody.get("/status").content.decode()
    assert f'id="announcement-{row.pk}"' in html and "We look<br>at it." in html
    say = {"act": "say", "text": "The cause is known."}
    for _twice in range(2):
        assert client.post(f"/ops/announcements/{row.pk}", say).status_code == 302
    feed = everybody.get("/status.atom").content.decode()
    assert feed.count("The cause is known.") == 1
    later = timezone.now() + dt.timedelta(hours=1)  # the same words are news again
    assert announcements.add(row, say["text"], end=False, now=later) is not None
    assert feed.count("<entry>") == 1 and f"/status#announcement-{row.pk}" in feed
    assert feed.index("The cause is known.") < feed.index("We look")
    assert "&amp;lt;b&amp;gt;" not in feed.split("<title>")[2].split("</title>")[0]
    end = {"act": "end", "text": "It works again."}
    assert client.post(f"/ops/announcements/{row.pk}", end).status_code == 302
    assert "Incident: Chat" not in everybody.get("/providers").content.decode()
    assert "It works again." in everybody.get("/status").content.decode()
    assert client.post(f"/ops/announcements/{row.pk}", end).status_code == 409
    acts = list(Act.objects.order_by("number").values_list("action", flat=True))
    assert acts == ["announced", "announcement_updated", "announcement_ended"]


def test_programs_read_the_same_as_people(client: Client) -> None:
    rows.head(100)
    Look.objects.create(at=components.period(timezone.now()), states={"index": "down"})
    ComponentDay.objects.create(component="index", day=timezone.now().date(), up=2, down=1)
    announced("Slow")
    said = client.get("/api/v1/status").json()
    parts = {part.pop("name"): part for part in said["parts"]}
    assert parts.keys() == components.COMPONENTS.keys()
    known = {"label": "Index of the chain", "state": "down", "not_down": 6666, "looks": 3}
    assert parts["index"] == known and parts["alerts"]["state"] is None
    (one,) = said["announcements"]
    assert (one["kind"], one["title"], one["state"]) == ("incident", "Slow", "open")
    assert one["updates"][0]["text"] == "We look into it." and said["version"]


def test_only_admins_announce(client: Client) -> None:
    user = User.objects.for_address(factories.address("auditor"))
    roles.give(user, Role.AUDITOR)
    client.force_login(user)
    html = client.get("/ops/announcements").content.decode()
    assert "only admins act" in html and 'data-testid="announce"' not in html
    row = announced("Slow")
    assert client.post("/ops/announcements", {"kind": "incident"}).status_code == 403
    assert client.post(f"/ops/announcements/{row.pk}", {"text": "x"}).status_code == 403


def test_what_is_wrong_is_said_at_its_field_and_nothing_is_lost(
    client: Client, admin: User
) -> None:
    typed = {
        "kind": "maintenance", "title": "Database grows", "text": "",
        "starts_at": "2020-01-01T12:00", "ends_at": "soon",
    }  # fmt: skip
    answer = client.post("/ops/announcements", typed)
    html = answer.content.decode()
    assert answer.status_code == 422 and not Announcement.objects.exists()
    assert html.count('aria-invalid="true"') == 3 and 'value="Database grows"' in html
    assert "in the next 90 days" in html and "at most 7 days later" in html
    # The calendar's last day, and a zone where the form asks for UTC, are wrong moments too.
    for start, end in (
        ("9999-12-31T00:00", "9999-12-31T01:00"),
        (f"{timezone.now():%F}T23:59+16:00", ""),
    ):
        answer = client.post("/ops/announcements", typed | {"starts_at": start, "ends_at": end})
        assert answer.status_code == 422 and "in the next 90 days" in answer.content.decode()


def test_maintenance_is_said_a_day_ahead_and_ends_by_itself() -> None:
    def moment(hours: float) -> str:
        return f"{timezone.now() + dt.timedelta(hours=hours):%Y-%m-%dT%H:%M}"

    row = announced("A new disk", kind="maintenance", starts_at=moment(30), ends_at=moment(31))
    announcements.tell()
    now = timezone.now()
    assert announcements.banner(now) is None and row.state(now) == "planned"
    near = announcements.banner(now + dt.timedelta(hours=7))
    assert near is not None and near.tone == "warn" and near.more == "/status"
    assert near.text.endswith("A new disk.")
    late = now + dt.timedelta(hours=32)
    assert announcements.banner(late) is None and row.state(late) == "over"


def test_an_incident_goes_before_what_we_see_of_the_index(rf: RequestFactory) -> None:
    def said(state: str) -> str:
        shown = context.banner_of(rf.get("/"), freshness.Shown(state))
        return shown.text if shown else ""

    announced("The node is away")
    announcements.tell()
    assert said("stale") == said("unreachable") == "Incident: The node is away."
    soon = timezone.now() + dt.timedelta(hours=1)
    begin, end = (f"{soon + dt.timedelta(hours=n):%Y-%m-%dT%H:%M}" for n in range(2))
    announced("A new disk", kind="maintenance", starts_at=begin, ends_at=end)
    announcements.tell()
    assert "cannot be reached" in said("unreachable") and "A new disk" in said("ok")


def test_pages_stand_without_redis_and_ask_it_seldom(client: Client, settings: Any) -> None:
    rows.head(100)
    announced("Slow")
    announcements.tell()
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert announcements.banner() is None
    settings.REDIS_URL = ""
    assert announcements.banner() is None, "believed for a while"
