"""Every page in another language: nothing is said outside of the catalogues, and what programs
read stays as it is."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from accounts.models import User
from marketplace import languages
from tests import factories
from tests.browser import pagecheck
from tests.db import unmarked
from tests.db.permission_world import CANARY, World, routes
from tests.db.test_permissions import own, spelled, table

pytestmark = pytest.mark.django_db

GERMAN = {"HTTP_ACCEPT_LANGUAGE": "de"}
#: Who is asked to read a page: the first of these who may.
READERS = (("user", 1), ("operator", 3), ("admin", 5))
#: What the rows of this test hold, the network's own terms, and what a record says of its acts.
DATA = frozenset(re.findall(r"\w+", f"{CANARY} asked answered told data Getting started")) | {
    *("dstack", "cryptopilot", "standard", "centralized", "decentralized", "ZKML"),
    *("Init", "Training", "Trained", "Delivering", "Delivered", "Finished"),
    *("moderator", "moderation", "provider"),
}


PROGRAMS = {
    "list": "/api/v1/services",
    "csv": "/api/v1/services.csv",
    "refusal": "/api/v1/services/inference/0x12",
    "feed": "/changes.atom",
    "days": "/network/days.csv",
    "badge": f"/badge/{factories.address(0)}.svg",
    "for crawlers": "/llms.txt",
    "metrics": "/healthz",
}


@pytest.fixture
def world(db: None, settings: Any) -> World:
    settings.CHAIN_RPC_URLS = ("http://127.0.0.1:9",)
    made = World()
    for client in made.clients.values():
        client.defaults.update(GERMAN)
    return made


def test_no_page_says_a_word_that_cannot_be_translated(world: World) -> None:
    """Every page of the site, as somebody sees it who may."""
    rows, unread = table(), []
    with unmarked.bracketed("de"):
        for route in filter(own, routes()):
            line = rows.get(("GET", spelled(route)), ())
            may = [name for name, place in READERS if line and line[place] == "200"][:1]
            if line and line[0] == "200" and line[1:] != line[:1] * 6:
                may.append("anonymous")
            for visitor in may:
                body = world.ask(visitor, "GET", route)[1].decode(errors="replace")
                if "<html" in body[:200]:
                    unread += [
                        f"{visitor} at {spelled(route)}: {text}"
                        for text in unmarked.words(body, DATA)
                    ]
    assert not unread, "\n".join(unread)


def test_no_list_and_no_failure_does_either(client: Client) -> None:
    """Public pages in the states that the other test does not have."""
    client.defaults.update(GERMAN)
    unread = set()
    with unmarked.bracketed("de"):
        for make in (factories.head, lambda: factories.market(30)):
            make()
            for path in ("/nothing-here", *(path() for path in pagecheck.PATHS)):
                page = client.get(path).content.decode()
                unread |= {
                    f"{path}: {text}"
                    for text in unmarked.words(page)
                    # A page of the documentation is called what it is called.
                    if not (path.startswith("/docs") and text.endswith("· 0G Market"))
                }
    assert not unread, "\n".join(sorted(unread))


def test_programs_read_english_whatever_is_asked(client: Client) -> None:
    factories.market(3)

    def read() -> dict[str, bytes]:
        answers: dict[str, Any] = {name: client.get(path) for name, path in PROGRAMS.items()}
        return {
            name: b"".join(answer) if answer.streaming else answer.content
            for name, answer in answers.items()
        }

    client.defaults["HTTP_X_REQUEST_ID"] = "the-same-for-all"
    english = read()
    client.defaults.update(GERMAN)
    with unmarked.bracketed("de"):
        assert read() == english
    assert all(english.values())


def test_whoever_chose_a_language_reads_it(client: Client) -> None:
    factories.market(3)
    client.defaults.update(GERMAN)
    page = client.get("/")
    assert page["Content-Language"] == "de" and '<html lang="de"' in page.content.decode()
    assert {"Accept-Language", "Cookie"} <= set(page["Vary"].split(", "))
    assert "Modelle" in page.content.decode() and "words-de.js" in page.content.decode()
    chosen = client.post("/language", {"language": "en", "next": "/models?q=x"})
    assert chosen["Location"] == "/models?q=x"
    page = client.get("/")
    assert page["Content-Language"] == "en" and "words-de.js" not in page.content.decode()
    alice = User.objects.for_address(factories.ALICE)
    client.force_login(alice)
    client.post("/language", {"language": "de"})
    alice.refresh_from_db()
    assert alice.language == alice.reads == "de", "what is sent to her follows"
    # Another site's address is not gone to, a language that is not there not spoken.
    chosen = client.post("/language", {"language": "fr", "next": "https://elsewhere.example/"})
    assert chosen["Location"] == "/"
    alice.refresh_from_db()
    assert alice.language == "de", "nor written to her"
    assert client.get("/")["Content-Language"] == "de"


@pytest.mark.parametrize(
    ("accepted", "spoken"),
    [
        ("", "en"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en-GB,de;q=0.9", "en"),
        ("fr,it;q=0.9,de;q=0.1", "de"),
        ("de;q=0,en", "en"),
        ("*", "en"),
        ("de" + "x" * 100_000, "en"),
        ("\x00;q=,,;;de", "en"),
    ],
)
def test_browsers_ask_for_languages_in_every_way(
    client: Client, accepted: str, spoken: str
) -> None:
    answer = client.get("/status", headers={"accept-language": accepted})
    assert answer["Content-Language"] == spoken


async def test_a_socket_speaks_as_its_page_does() -> None:
    """Other cookies of the browser, which nobody here wrote, may look like anything."""
    heard = []

    async def consumer(scope: Any, receive: Any, send: Any) -> None:
        heard.append(translation.get_language())

    for cookie in ('odd={"a": [1]}; django_language=de', "a b; \xff=\xfe;django_language=de;=", ""):
        scope = {"path": "/ws/head", "headers": [(b"cookie", cookie.encode("latin-1"))]}
        await languages.Spoken(consumer)(scope, None, None)
    assert heard == ["de", "de", "en"]


def test_numbers_are_written_in_one_way(client: Client) -> None:
    """Amounts are copied between pages, wallets and programs."""
    factories.market(3)
    number = re.compile(r'data-(?:neuron|value|block|count)="[^"]*"|\b\d[\d,]*\.\d+')
    english = number.findall(client.get("/").content.decode())
    german = number.findall(client.get("/", headers={"accept-language": "de"}).content.decode())
    assert english == german and len(english) > 10


def test_what_is_not_there_is_said_to_readers(client: Client) -> None:
    """Notes for programmers, ours and Django's, stay off the page."""
    client.force_login(User.objects.for_address(factories.ALICE))
    conversation = "/playground/chat/00000000-0000-0000-0000-000000000000"
    report = "/moderation/report?about=service&key=x"
    edit = "/operator/listing/x/edit"
    missing = (conversation, report, "/account/transactions/1", edit, "/shared/nope")
    with unmarked.bracketed("de"):
        for path in missing:
            answer = client.get(path, headers={"accept-language": "de"})
            body = re.search(r"<main.*</main>", answer.content.decode(), re.DOTALL)
            assert answer.status_code == 404 and body, path
            assert unmarked.words(body[0]) == set(), path
