"""The documentation: every page is reachable, every link leads somewhere, and what somebody asks
is found."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from urllib.parse import urljoin

import pytest
from django.test import Client
from django.urls import resolve

from marketplace import docs_html, docs_search, releases
from marketplace import docs_library as library

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parent.parent.parent


def links(text: str) -> list[str]:
    """Targets of links and pictures in Markdown, code left out."""
    text = re.sub(r"^```.*?^```|`[^`]*`", "", text, flags=re.M | re.S)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(slug: str) -> set[str]:
    return {heading.anchor for heading in docs_html.headings(slug)}


def leads_somewhere(link: str, path: Path) -> bool:
    """Another site, a path of this one, a file of the repository or a heading of a page."""
    if re.match(r"(?:https?|mailto):", link):
        return True
    name, _, anchor = link.partition("#")
    if name.startswith("/"):
        slug = name.removeprefix("/docs/")
        resolve(name.partition("?")[0])
        return (
            slug == name
            or bool(Path(slug).suffix)
            or (slug in library.documents() and (not anchor or anchor in anchors(slug)))
        )
    file = (path.parent / name).resolve() if name else path
    slug = library.by_path().get(file.relative_to(ROOT).as_posix(), "")
    return file.exists() and (not anchor or (bool(slug) and anchor in anchors(slug)))


def test_every_link_leads_to_what_it_names() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {link}"
        for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for link in links(path.read_text())
        if not leads_somewhere(link, path)
    ]
    assert broken == []


def test_every_page_is_on_the_index_between_its_neighbours(client: Client) -> None:
    files = {path.stem for path in (ROOT / "docs").rglob("*.md")}
    assert files < set(library.documents())
    index = client.get("/docs").content.decode()
    before = ""
    known = {f"/docs/{slug}{end}" for slug in library.documents() for end in ("", ".md")}
    known |= {"/docs", "/docs/changelog.atom"}
    for slug, document in library.documents().items():
        assert f'href="/docs/{slug}"' in index
        page = client.get(f"/docs/{slug}").content.decode()
        assert page.count("<h1>") == 1 and document.path in page
        assert f'rel="prev" href="/docs/{before}"' in page or not before
        # What the rendered page links to in the documentation exists there.
        for to, anchor in re.findall(r'href="/docs/([a-z0-9-]+)#([^"]+)"', page):
            assert anchor in anchors(to), (slug, to, anchor)
        for name in re.findall(r'src="(/docs/images/[^"]+)"', page):
            assert client.get(name)["Content-Type"] in ("image/png", "image/svg+xml")
        assert not re.findall(r'href="[^"]+\.md[#"]', page.replace(f"/docs/{slug}.md", ""))
        # So does what its Markdown links to, from where that is read.
        written = client.get(f"/docs/{slug}.md").content.decode()
        for link in links(written):
            to = urljoin(f"/docs/{slug}.md", link).partition("#")[0]
            ours = link.startswith("/docs") or not re.match(r"[a-z]+:|/", link)
            assert not ours or to in known or to.startswith("/docs/images/"), (slug, link)
        before = slug


@pytest.mark.parametrize(
    ("question", "path"),
    [
        ("How long does a refund take?", "/docs/contract-rules#refunds"),
        ("refunds lock", "/docs/how-money-moves#getting-money-back"),
        ("the verdict under an answer", "/docs/what-is-verified#the-verdict-under-each-answer"),
        ("webhook-signature", "/docs/alerts#webhooks"),
        ("restore a backup", "/docs/deploy#backup-restore-rebuild"),
        ("JSON API", "/docs/api"),
        ("hide moderator", "/docs/moderation#what-can-be-decided"),
    ],
)
def test_what_people_ask_is_found(client: Client, question: str, path: str) -> None:
    results, _ = docs_search.find(question)
    assert path in [result.path for result in results[:3]]
    page = client.get("/docs", {"q": question}).content.decode()
    assert f'href="{path}"' in page and "<mark>" in page


def test_a_passage_shows_what_was_asked_for_and_runs_nothing(client: Client) -> None:
    (first, *others), every = docs_search.find("penalty of an acknowledgement")
    told = "".join(piece.text for piece in first.text)
    assert every and len(told) < 300 and len(others) >= docs_search.SUGGESTED
    assert {"penalty", "acknowledgement"} & {piece.text for piece in first.text if piece.hit}
    page = client.get("/docs", {"q": "<script>alert(1)</script> refund"}).content.decode()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    nothing = client.get("/docs?q=zzzzzz").content.decode()
    assert "Nothing here says" in nothing and '<a href="/docs">all pages</a>' in nothing
    some = client.get("/docs?q=refund+zzzzzz").content.decode()
    assert "No passage has all words" in some
    for q in ("", "%00", "x" * 3_000, "%F0%9F%92%A9", "((((", "the+of"):
        assert client.get(f"/docs?q={q}").status_code == 200


def test_a_wrong_address_leads_to_what_was_meant(client: Client) -> None:
    answer = client.get("/docs/moving-money")
    assert answer.status_code == 404 and 'href="/docs/how-money-moves' in answer.content.decode()
    assert client.get("/docs/zzzz").status_code == 404
    for name in ("nothing.png", "..%2fapi.md", "%2e%2e", "home.PNG"):
        assert client.get(f"/docs/images/{name}").status_code == 404
    german = client.get("/docs/images/nothing", headers={"Accept-Language": "de"})
    assert german["Content-Language"] == "de" and "no such picture" not in german.content.decode()


def test_a_page_can_be_jumped_to_copied_and_read_as_it_was_written(client: Client) -> None:
    page = client.get("/docs/chat").content.decode()
    assert '<h2 id="presets-and-reading-along"><a href="#presets-and-reading-along">' in page
    assert page.count('data-copy="import base64') == 1 and '<span class="hk">import</span>' in page
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert client.get("/docs/chat.md").content.decode() == (ROOT / "docs/chat.md").read_text()


def test_the_changelog_is_a_feed_of_versions_and_the_foot_names_the_newest(client: Client) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = releases.releases()
    assert releases.version() == project["version"] == known[0].version
    days = [one.day for one in known]
    assert days == sorted(days, reverse=True)
    # Every section is dated: what is not would be missing in the feed.
    assert [one.anchor for one in known] == anchors_in_order("changelog")
    feed = client.get("/docs/changelog.atom")
    assert feed["Content-Type"].startswith("application/atom+xml")
    text = feed.content.decode()
    assert text.count("<entry>") == len(known) and f"0G Market {known[-1].version}" in text
    assert f'/docs/changelog#{known[0].anchor}"' in text and 'href="/' not in text
    page = client.get("/docs/changelog").content.decode()
    assert f">Changelog {known[0].version}</a>" in page
    assert 'type="application/atom+xml"' in page
    assert client.get("/docs/chat").content.decode().count("application/atom+xml") == 0


#: Lines of versions that are closed.
CLOSED = {"0.1.0": 35}


def test_a_closed_version_gets_no_more_lines() -> None:
    found = {one.version: one.html.count("<li>") for one in releases.releases()}
    assert CLOSED.items() <= found.items(), "a new line stands at the top, in the newest version"


def anchors_in_order(slug: str) -> list[str]:
    return [heading.anchor for heading in docs_html.headings(slug) if heading.level == 2]
