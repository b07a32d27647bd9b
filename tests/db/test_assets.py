"""Static files, which Django never sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from asgiref.testing import ApplicationCommunicator
from django.conf import settings

pytestmark = pytest.mark.django_db(transaction=True)

FILE = "/static/js/app.js"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


async def ask(path: str, method: str = "GET", **headers: str) -> Answer:
    from marketplace.asgi import application

    given = {
        "host": "testserver",
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), text.encode()) for name, text in given.items()],
    }
    communicator: Any = ApplicationCommunicator
    site = communicator(application, scope)
    await site.send_input({"type": "http.request"})
    start, last = await site.receive_output(20), await site.receive_output(20)
    body = last.get("body", b"")
    while last.get("more_body"):
        last = await site.receive_output(20)
        body += last.get("body", b"")
    await site.wait()
    told = {name.decode().lower(): text.decode() for name, text in start["headers"]}
    return Answer(start["status"], told, body)


async def test_a_file_is_sent_once_and_whole() -> None:
    whole = await ask(FILE)
    assert (whole.status, whole.body) == (200, (Path(settings.BASE_DIR) / FILE[1:]).read_bytes())
    assert whole.headers["content-type"].startswith("text/javascript")
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "max-age=" in whole.headers["cache-control"]
    again = await ask(FILE, if_none_match=whole.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    part = await ask(FILE, range="bytes=2-5")
    assert (part.status, part.body) == (206, whole.body[2:6])
    head = await ask(FILE, "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert (await ask(FILE, "POST")).status == 405


@pytest.mark.parametrize(
    "path",
    ["js/none.js", "js/", "", "../manage.py", "js/../../manage.py", "/etc/passwd", "js\\app.js"],
)
async def test_what_is_no_file_is_a_page_that_is_missing(path: str) -> None:
    answer = await ask(f"/static/{path}")
    assert answer.status == 404 and b"Request id" in answer.body
