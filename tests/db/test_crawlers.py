"""What programs read first: robots, site map, llms.txt, security.txt, and docs as Markdown."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from marketplace import sitemap
from tests import factories

pytestmark = pytest.mark.django_db

SITE = "https://market.example"
NAMES = {"s": "http://www.sitemaps.org/schemas/sitemap/0.9"}


def locations(client: Client, path: str) -> list[str]:
    response = client.get(path)
    assert response.status_code == 200, path
    assert response["Content-Type"] == "application/xml; charset=utf-8"
    tree = ElementTree.fromstring(response.content)
    return [node.text or "" for node in tree.iterfind(".//s:loc", NAMES)]


def here(address: str) -> str:
    assert address.startswith(SITE + "/"), address
    return address.removeprefix(SITE)


def test_the_map_names_every_page_once_and_each_answers(
    client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SITE_URL = SITE
    monkeypatch.setattr(sitemap, "PER_FILE", 5)
    factories.market(6)
    factories.service(factories.PETRA, model="a/b & <c> ?#%2F é")
    factories.service(factories.BOB, model="../..")
    robots = client.get("/robots.txt").content.decode()
    index = re.findall(r"Sitemap: (\S+)", robots)
    files = [file for address in index for file in locations(client, here(address))]
    with CaptureQueriesContext(connection) as captured:
        pages = [here(page) for file in files for page in locations(client, here(file))]
    assert len(captured) <= 4 * len(files)
    assert len(pages) == len(set(pages))
    assert sum(page.startswith("/services/") for page in pages) == 8
    assert sum(page.startswith("/providers/") for page in pages) == 8
    for page in pages:
        assert client.get(page).status_code == 200, page
    kept_out = re.findall(r"Disallow: (\S+)", robots)
    assert "/tx/" in kept_out
    assert not [page for page in pages if page.startswith(tuple(kept_out))]
    for beyond in ("services-0", "services-99", "nothing-1"):
        assert client.get(f"/sitemap-{beyond}.xml").status_code == 404


def test_the_icon_is_there_for_whoever_read_no_page(client: Client) -> None:
    response = client.get("/favicon.ico")
    assert (response.status_code, response["Content-Type"]) == (200, "image/svg+xml")
    assert response.content == Path("static/icons/favicon.svg").read_bytes()
    assert response["Cache-Control"] == "public, max-age=604800"


def test_every_address_in_llms_txt_and_in_the_markdown_twins_answers(
    client: Client, settings: Any
) -> None:
    settings.SITE_URL = SITE
    factories.market(1)
    text = client.get("/llms.txt").content.decode()
    assert text.startswith("# 0G Market\n\n> ")
    found = [here(link) for link in re.findall(r"\]\((\S+?)\)", text)]
    assert len(found) == len(set(found)) > 15
    assert f"`GET {SITE}/api/v1/compare?s={{s}}`" in text
    twins = [path for path in found if path.endswith(".md")]
    assert len(twins) > 5 and "/docs/changelog.md" in twins
    for path in found:
        response = client.get(path)
        # One's own data asks for a token, and says so.
        own = f"{path}): needs a token" in text
        assert response.status_code == (401 if own else 200), path
        if path in twins:
            assert response["Content-Type"] == "text/markdown; charset=utf-8"
            page = html.unescape(client.get(path.removesuffix(".md")).content.decode())
            title = response.content.decode().partition("\n")[0].removeprefix("# ")
            assert f"<h1>{title}" in page and f'href="{path}"' in page
    assert client.get("/docs/nothing.md").status_code == 404


def test_a_contact_is_named_only_where_there_is_one(client: Client, settings: Any) -> None:
    assert client.get("/.well-known/security.txt").status_code == 404
    settings.SECURITY_CONTACT = ("mailto:a@market.example", "https://market.example/report")
    text = client.get("/.well-known/security.txt").content.decode()
    assert text.count("Contact: ") == 2
    assert re.search(r"^Expires: 20\d\d-\d\d-\d\dT00:00:00Z$", text, re.M)


@pytest.mark.parametrize(
    "path",
    [
        "/changes", "/api/v1/changes", "/services", "/status", "/docs/changelog", "/moderation/log",
        f"/providers/{factories.address(0)}/changes",
    ],
)  # fmt: skip
def test_every_feed_has_an_author_and_a_moment_of_its_own(client: Client, path: str) -> None:
    """RFC 4287, 4.1.1 and 4.2.15; without an entry each look was said to be a change."""
    factories.service(factories.address(0), updated_at_unix=0)
    first, again = (client.get(f"{path}.atom").content for _ in range(2))
    root = ElementTree.fromstring(first)
    assert root.findtext("{*}author/{*}name") == "0G Market"
    assert root.find("{*}link[@rel='self']") is not None
    assert first == again
