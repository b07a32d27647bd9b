"""What other sites show for a link: absolute, escaped, with a picture that is there."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from PIL import Image

from marketplace import social
from tests import factories
from tests.db import report_world
from tests.factories import PETRA

pytestmark = pytest.mark.django_db
SITE = "https://market.example"
EVIL = '"><script>alert(1)</script> ../..?#%2F'


class Head(HTMLParser):
    """The `meta` of a page by property, and its canonical address."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "meta" and (given.get("property") or "").startswith("og:"):
            self.said[str(given["property"])] = str(given["content"])
        if tag == "link" and given.get("rel") == "canonical":
            self.said["canonical"] = str(given["href"])


def test_every_kind_of_page_has_a_picture_that_is_there(client: Client, settings: Any) -> None:
    settings.SITE_URL = SITE
    cache.clear()
    factories.market(7)
    factories.service(PETRA, model=EVIL)
    run = report_world.development()
    provider = factories.address(0)
    for path, title in (
        ("/", "0G Market"),
        ("/network?x=1", "0G Market"),
        (f"/services/inference/{provider}", "qwen/qwen-2.5-7b-instruct"),
        (f"/services/inference/{provider}/changes", "qwen/qwen-2.5-7b-instruct"),
        (f"/services/inference/{PETRA}", EVIL),
        (f"/services/fine-tuning/{factories.address(5)}", "Qwen2.5-0.5B-Instruct, Qwen3-32B"),
        (f"/providers/{PETRA}", PETRA),
        ("/models/qwen%2Fqwen-2.5-7b-instruct", "qwen/qwen-2.5-7b-instruct"),
        (f"{report_world.path(run)}-{run.content_hash[:16]}", "Verification report"),
    ):
        response = client.get(path)
        head = Head()
        head.feed(response.content.decode())
        assert head.said["og:title"] == title, path
        assert head.said["canonical"] == SITE + path.partition("?")[0] == head.said["og:url"]
        picture = client.get(head.said["og:image"].removeprefix(SITE))
        assert picture.status_code == 200 and picture["Content-Type"] == "image/png", path
        with Image.open(io.BytesIO(picture.content)) as image:
            assert image.size == (1200, 630)
        assert "max-age" in picture["Cache-Control"]
        kept = {"If-None-Match": picture["ETag"]}
        again = client.get(head.said["og:image"].removeprefix(SITE), headers=kept)
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", picture["ETag"])
        assert client.get(head.said["og:image"].removeprefix(SITE)).content == picture.content
    for path in ("/og/services/inference/0x12.png", f"/og/providers/{factories.ALICE}.png",
                 "/og/models/none.png", "/og/services/chess/x.png"):  # fmt: skip
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "title", ["", "A" * 90, "word " * 40, "\u4e00" * 90, "👩‍🔬" * 40, "\u202egnp", "a\nb"]
)
def test_any_words_fit_on_a_picture(title: str) -> None:
    font = social._font(64, 650)
    lines = social.wrapped(title, font, 1_040)
    assert len(lines) <= 3 and all(font.getlength(line) <= 1_060 for line in lines)
    body = social.png(social.Card("n", title, ("x" * 500,), "Verified", "ok", "y"))
    assert body.startswith(b"\x89PNG")
