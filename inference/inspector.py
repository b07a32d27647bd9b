"""One request as it went over the wire: bytes, headers, times, hashes, and how to send it again."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from django.utils.translation import gettext as _

from inference.export import bytes_of
from inference.media import words
from inference.models import Turn
from inference.pages_turn import TurnView

SHOWN_CHARS = 60_000
SHOWN_PIECES = 300
PATH = "/v1/proxy/chat/completions"
#: A program's request had others, which are not kept.
_CHAT_HEADERS = (("Content-Type", "application/json"), ("Accept", "text/event-stream"))
#: A shell takes no longer argument; larger bodies are sent from a file.
MAX_ARGUMENT = 60_000
_PICTURE = re.compile(r"(data:image/[a-z]{1,8};base64,)([A-Za-z0-9+/=]{200,})")


@dataclass(frozen=True)
class Raw:
    """Bytes as text; `cut` where more was received than is shown, `lost` where they are gone."""

    text: str
    size: int
    cut: bool = False
    lost: bool = False


@dataclass(frozen=True)
class Piece:
    """What one read of the answer brought: `ms` after it was asked, so many bytes, and which; ""
    where those were not kept.
    """

    ms: int
    size: int
    text: str


@dataclass(frozen=True)
class InspectPage:
    """The request inspector. `token` names the program whose request it was: then the bytes (`size`
    of those sent) only passed through (`inference.openai`). `signature` is the provider's reply as
    it came, "" where there is none. `status` is the HTTP status of what failed, 0 where there was
    none, or no failure. `pieces`: the first of them.
    """

    turn: TurnView
    url: str
    sent_headers: tuple[tuple[str, str], ...]
    request: Raw
    got_headers: tuple[tuple[str, str], ...]
    response: Raw
    asked_at: datetime
    total_ms: int
    curl: str
    python: str
    token: str = ""
    size: int = 0
    signature: str = ""
    status: int = 0
    pieces: tuple[Piece, ...] = ()
    most_pieces: int = SHOWN_PIECES


def page(turn: Turn) -> InspectPage:
    """Everything kept about a request. The key it was sent with is not."""
    url = turn.url.rstrip("/") + (f"/v1/proxy/{turn.endpoint}" if turn.endpoint else PATH)
    body = bytes_of(turn, "request") or b""
    received = bytes_of(turn, "response")
    view = TurnView.of(turn, laid=False)
    if turn.endpoint and turn.failure:
        # The chat's sentences name the chat's time limits.
        view = replace(view, ending=words.failure(turn.failure))
    return InspectPage(
        turn=view,
        url=url,
        sent_headers=(
            ("Authorization", _("Bearer app-sk-… (never shown)")),
            *(() if turn.endpoint else _CHAT_HEADERS),
        ),
        request=_raw(_pretty(body), len(body)),
        got_headers=tuple((str(k), str(v)) for k, v in turn.response_headers.items()),
        response=(
            Raw("", turn.response_bytes, lost=True)
            if not received and turn.response_bytes
            else _raw((received or b"").decode("utf-8", "replace"), turn.response_bytes)
        ),
        asked_at=turn.created_at,
        total_ms=turn.total_ms,
        curl=_curl(url, body),
        python=_python(url, body),
        token=turn.token.label if turn.token is not None else "",
        size=turn.request_bytes,
        signature=json.dumps(turn.signature, indent=2)[:SHOWN_CHARS] if turn.signature else "",
        status=turn.failure_status,
        pieces=tuple(_pieces(turn, received or b"")),
    )


def _pieces(turn: Turn, received: bytes) -> Iterator[Piece]:
    start = 0
    for ms, size in turn.arrivals[:SHOWN_PIECES]:
        yield Piece(ms, size, received[start : start + size].decode("utf-8", "replace"))
        start += size


def _raw(text: str, size: int) -> Raw:
    return Raw(text[:SHOWN_CHARS], size, cut=len(text) > SHOWN_CHARS)


def _pretty(body: bytes) -> str:
    try:
        text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
        return _PICTURE.sub(
            lambda found: (
                _("%(found)s… (%(found2)s characters)")
                % {"found": found[1], "found2": f"{len(found[2]):,}"}
            ),
            text,
        )
    except ValueError:
        return body.decode("utf-8", "replace")


def _curl(url: str, body: bytes) -> str:
    """A shell command that sends exactly the same bytes; `ZG_KEY` is a key of one's own."""
    text = body.decode("utf-8", "replace")
    data = shlex.quote(text) if len(body) <= MAX_ARGUMENT else "@request.json"
    return (
        f"curl -N {shlex.quote(url)} \\\n"
        '  -H "Authorization: Bearer $ZG_KEY" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  --data-{'raw' if len(body) <= MAX_ARGUMENT else 'binary'} {data}"
    )


def _python(url: str, body: bytes) -> str:
    data = repr(body) if len(body) <= MAX_ARGUMENT else 'open("request.json", "rb").read()'
    return (
        "import os\nfrom urllib.request import Request, urlopen\n\n"
        f"request = Request(\n    {url!r},\n    data={data},\n"
        '    headers={"Authorization": "Bearer " + os.environ["ZG_KEY"],'
        ' "Content-Type": "application/json"},\n)\n'
        "with urlopen(request) as answer:\n    for line in answer:\n"
        '        print(line.decode(), end="")\n'
    )
