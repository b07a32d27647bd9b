"""Every link of every page leads somewhere: followed from the front page, signed out and signed
in."""

from __future__ import annotations

import dataclasses
import re
import time
from collections import Counter
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from lxml import etree, html

from accounts.models import User
from ledger.models import Service
from marketplace import limits
from tests import factories
from tests.db.test_pages import PATHS
from tests.factories import ALICE, BOB, PETRA

pytestmark = pytest.mark.django_db

ORIGIN = "http://testserver"
#: Guides lead whoever works there to doors that are shut for others.
STAFF = ("/moderation", "/ops")
_DATA = re.compile(r"0x[0-9a-fA-F]{40}|[0-9a-f]{8}-[0-9a-f-]{27}|\d+")


def links(body: str) -> tuple[set[str], set[str]]:
    """Everything on a page that a browser may ask for with GET, and the names it can jump to."""
    found, names = set(), {""}
    for element in html.document_fromstring(body).iter(etree.Element):
        given = element.attrib
        names.add(given.get("id", ""))
        if element.tag == "form" and given.get("method", "get").lower() == "get":
            found.add(given.get("action", ""))
        if element.tag != "use":
            found.update(str(given[name]) for name in ("href", "src", "hx-get") if name in given)
    return found, names


def world() -> None:
    """A market in which every kind of page has something to show."""
    factories.head()
    factories.market(27)
    factories.service(PETRA, model="../.. ?#%2F <b>&\u202e", url="javascript:alert(1)")
    factories.service(factories.address("tuner"), kind="fine-tuning", model_list=["a"])
    factories.service(factories.address("gone"), removed=True)
    Service.objects.filter(provider=factories.address(1)).update(service_type="odd / type & more")
    for number in range(60):
        factories.change(PETRA, block=number)
        factories.settlement(PETRA, ALICE if number % 2 else BOB, block=number)
    factories.purse(ALICE)
    factories.sub_account(ALICE, PETRA)


def features(address: str, alike: tuple[str, ...]) -> set[tuple[str, str]]:
    """What an address has to offer: its path, and each of its parameters there. Combinations of
    parameters are as many as there are filters; each of them alone must lead somewhere."""
    parts = urlsplit(address)
    path = _DATA.sub("#", parts.path)
    path = next((f"{start}#" for start in alike if path.startswith(start)), path)
    told = ("type", "kind", "verified", "sort", "window", "action")
    found = {(path, "")}
    for key, values in parse_qs(parts.query).items():
        value = _DATA.sub("#", ",".join(values)) if key in told else ""
        found.add((path, f"{key}={value}"))
    return found


def crawl(
    client: Client,
    *starts: str,
    of_a_kind: int,
    alike: tuple[str, ...],
    seen: Counter[tuple[str, str]],
) -> tuple[set[str], list[str]]:
    """Visited addresses, and what is wrong with links. Of addresses of one kind so many are
    followed: rows of a list differ in their data only. Those that begin `alike` are of one kind;
    a parameter is followed once. `seen` counts what was followed."""
    waiting, visited, wrong = [(start, "") for start in starts], set(), []
    while waiting:
        address, source = waiting.pop()
        if address in visited:
            continue
        visited.add(address)
        offered = features(address, alike)
        if all(seen[one] >= (1 if one[1] else of_a_kind) for one in offered):
            continue
        seen.update(offered)
        if address.startswith("/static/"):  # before Django (tests/db/test_assets.py)
            if finders.find(address.removeprefix("/static/")) is None:
                wrong.append(f"{address} on {source}: no such file")
            continue
        response = client.get(address, headers={"host": "testserver"})
        if response.status_code in (301, 302):
            waiting.append((urljoin(address, response["Location"]), address))
            continue
        if response.status_code == 403 and address in STAFF and source.startswith("/docs/"):
            continue  # a guide for those who may
        if response.status_code != 200:
            wrong.append(f"{address} on {source}: {response.status_code}")
            continue
        if not response.get("Content-Type", "").startswith("text/html"):
            continue
        found, names = links(response.content.decode())
        for link in sorted(found):
            target = urlsplit(urljoin(ORIGIN + address, link))
            if link.startswith("#") and len(link) > 1 and unquote(link[1:]) not in names:
                wrong.append(f"{link} on {address}: nothing of this name")
            if target.scheme not in ("http", "https"):
                wrong.append(f"{link} on {address}: not a web address")
            # A transaction's page asks the chain, which is not here (tests/live has it).
            elif f"{target.scheme}://{target.netloc}" == ORIGIN and target.path[:4] != "/tx/":
                waiting.append(
                    (target.path + (f"?{target.query}" if target.query else ""), address)
                )
    return visited, wrong


def signed_in(who: str) -> Client:
    client = Client()
    client.force_login(User.objects.for_address(who))
    session = client.session
    session["proved_at"] = int(time.time())  # as if signed just now: exports ask for that
    session.save()
    return client


#: Where pages differ by who reads them.
OWN = ("/account", "/fine-tuning", "/operator", "/playground", "/providers/", "/watch")


def test_no_link_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crawler is one caller: the API's limit is not what is tried here."""
    generous = dataclasses.replace(limits.API, per_minute=10**6, burst=10**6)
    monkeypatch.setattr(limits, "API", generous)
    world()
    seen: Counter[tuple[str, str]] = Counter()
    visited, wrong = crawl(Client(), "/", *PATHS[1:], of_a_kind=2, alike=("/models/",), seen=seen)
    assert wrong == []
    public = {"/models", "/providers", "/changes", "/network", "/status", "/api/docs", "/docs"}
    public |= {"/account", f"/providers/{PETRA}", "/changes.atom", "/search"}
    assert public <= paths(visited) and len(visited) > 90

    # What everybody reads was followed twice as far by who is signed out, and each guide: there
    # each page once more, and not each of its parameters.
    for path, parameter in list(seen):
        if not parameter or path.startswith(OWN) or path == "/":
            del seen[path, parameter]
    alike = ("/models/", "/docs/")
    visited, wrong = crawl(signed_in(ALICE), "/", of_a_kind=1, alike=alike, seen=seen)
    assert wrong == [], "Alice"
    own = {"/account/refunds", "/account/transactions", "/account/keys"}
    assert public | own <= paths(visited) and len(visited) > 90

    # Charlie is new here and owns nothing; the filters of the list are Alice's, too.
    for kind in [kind for kind in seen if kind[0].startswith(OWN) or kind == ("/", "")]:
        del seen[kind]
    visited, wrong = crawl(signed_in(factories.CHARLIE), "/", of_a_kind=1, alike=alike, seen=seen)
    assert wrong == [], "Charlie"
    assert own | {"/account"} <= paths(visited) and len(visited) > 30


def paths(visited: set[str]) -> set[str]:
    return {urlsplit(address).path for address in visited}
