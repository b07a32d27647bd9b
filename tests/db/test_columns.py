"""The columns of the list of services: chosen, said by the address, kept in the browser."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.test import Client

from ledger.models import Service
from marketplace.filters import COLUMNS, Filters
from tests import factories

pytestmark = pytest.mark.django_db


def table(html: str) -> tuple[list[str], list[str]]:
    """Heads of the list's columns, and labels of its first row's cells behind the name."""
    whole = html[html.index('<table class="table cards services') :]
    heads = re.findall(r"<th [^>]*>(?:<a [^>]*>)?([^<]+)", whole.partition("</thead>")[0])
    first = whole.partition('data-testid="service-row"')[2].partition("</tr>")[0]
    return heads, re.findall(r'data-label="([^"]+)"', first)


def test_columns_are_chosen_said_by_the_address_and_kept(client: Client) -> None:
    factories.market(30)
    usual, cells = table(client.get("/").content.decode())
    assert len(usual) == 9 and usual[1:] == cells
    to = client.get("/?sort=-uptime&page=2&q=e").content.decode()
    here = re.search(r'id="columns-to" value="([^"]+)"', to)
    assert here is not None and unescape(here[1]) == "/?q=e&sort=-uptime&page=2"
    chosen = {"columns": ["model", "input", "verification"], "rows": "compact"}
    answer = client.post("/columns", {"to": unescape(here[1]), **chosen})
    path = "/?q=e&columns=model.input.verification&rows=compact&sort=-uptime&page=2"
    assert answer["Location"] == f"{path}#columns"
    kept = answer.cookies["columns"]
    assert kept["httponly"] and kept["samesite"] == "Lax" and kept["max-age"] > 10**7
    # The address says it to everybody; this browser has it where none does.
    for visitor, at in ((Client(), path), (client, "/?sort=-uptime")):
        html = visitor.get(at).content.decode()
        assert table(html) == (["Model", "Input", "Verification"], ["Input", "Verification"]), at
        assert "chosen compact" in html and 'value="-uptime" selected' in html
        assert "columns=" not in html.partition("This list for programs")[2].partition("</p>")[0]
    order = r'data-provider="(0x\w+)"'
    assert re.findall(order, client.get("/?sort=-uptime").content.decode()) == re.findall(
        order, Client().get("/?sort=-uptime").content.decode()
    )
    assert table(client.get("/?columns=model.speed").content.decode())[0] == ["Model", "Speed"]
    assert len(table(client.get("/?tokens_in=5").content.decode())[0]) == 4, (
        "and what a month costs"
    )
    # Other lists have all of theirs, and what is sent to programs does not depend on a cookie.
    service = Service.current.order_by("created_block")[0]
    assert len(table(client.get(f"/models/{service.model}").content.decode())[0]) == 9
    assert client.get("/", headers={"accept": "text/csv"})["Location"] == "/api/v1/services.csv"
    part = client.get("/", headers={"HX-Request": "true"}).content.decode()
    assert 'id="columns-to" value="/?columns=' in part
    assert 'hx-swap-oob="innerHTML:#view-links"' in part
    assert client.post("/columns", {**chosen, "reset": "1"})["Location"] == "/#columns"
    assert table(client.get("/").content.decode())[0] == usual


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("", ""),
        ("x.<b>", ""),
        ("model", "model"),
        ("uptime.input.uptime.x", "model.input.uptime"),
        (".".join(COLUMNS), ""),
    ],
)
def test_columns_have_one_spelling(client: Client, columns: str, said: str) -> None:
    assert Filters.parse({"columns": columns}).given.get("columns", "") == said
    factories.market(3)
    client.cookies["columns"] = columns
    assert client.get("/").status_code == 200
    for to in ("https://evil.example/?q=a", "//evil.example", "", "/?q=a%00&page=x"):
        at = client.post("/columns", {"to": to, "columns": columns})["Location"]
        assert at.partition("?")[0].removesuffix("#columns") == "/"
