"""Whether the words that an exported conversation shows are those of the bytes beside them. Pure.

The bytes are what was sent, received and signed. The words stand beside them for people, and
anybody can write others there: they have to be read out of the bytes again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from inference import tools, wire
from inference.relay import MAX_ANSWER_CHARS
from inference.thoughts import Thoughts, told_apart
from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits
from protocol.marks import marks

#: `unread`: the file is too long to say.
Words = Literal["same", "others", "unread"]
#: Lines of all answers of a file; a token has two. What has more values than tokens have takes as
#: long as so many lines: anybody who had one answer signed may repeat it in a file.
MAX_LINES = 600_000
_MARKS_A_LINE = 10
_SLICE = 64 << 10
_REQUEST = JsonLimits(max_bytes=16 << 20)


class Reader:
    """Reads the answers of one file, up to a number of lines of all of them."""

    def __init__(self) -> None:
        self._left = MAX_LINES

    def compare(self, turn: Mapping[str, Any], request: bytes, response: bytes) -> Words:
        """Hold `question`, `answer` and `reasoning` of an entry against its bytes; what it leaves
        out claims nothing.
        """
        asked, said, thought = (turn.get(x) or "" for x in ("question", "answer", "reasoning"))
        if not all(isinstance(x, str) for x in (asked, said, thought)):
            return "others"
        try:
            if asked:
                self._spend(request)
                if not _asks(request, asked, turn.get("results")):
                    return "others"
            if not said and not thought:
                return "same"
            readings, whole = self._read(response)
        except _TooLong:
            return "unread"
        fits = any(
            _fits(said, text, whole=whole) and _fits(thought, reasoning, whole=whole)
            for text, reasoning in readings
        )
        return "same" if fits else "others"

    def _spend(self, data: bytes, lines: int = 0) -> None:
        """Raises _TooLong."""
        self._left -= max(lines, marks(data) // _MARKS_A_LINE)
        if self._left < 0:
            raise _TooLong

    def _read(self, response: bytes) -> tuple[list[tuple[str, str]], bool]:
        """Text and reasoning, as `inference.relay` tells them apart, as they were sent, which is
        how older files have them, and as `Turn.answer` tells stored ones apart once more; and
        whether all of it was shown. Raises _TooLong."""
        thoughts, whole = Thoughts(), True
        parts = [(list[str](), list[str]()) for _ in range(2)]
        try:
            for piece in self._pieces(response):
                for (texts, reasons), read in zip(
                    parts, (thoughts.take(piece), piece), strict=True
                ):
                    texts.append(read.text)
                    reasons.append(read.reasoning)
                whole = whole and not piece.error
        except wire.BadStream:
            whole = False
        readings = [("".join(texts), "".join(reasons)) for texts, reasons in parts]
        text, thought = told_apart(readings[0][0])
        readings.append((text, readings[0][1] + thought))
        return readings, whole and sum(map(len, readings[1])) <= MAX_ANSWER_CHARS

    def _pieces(self, response: bytes) -> Iterator[wire.Piece]:
        if response.lstrip()[:1] == b"{":
            self._spend(response)
            yield wire.read_body(response)
            return
        parser, reader = wire.EventParser(), wire.ChunkReader()
        for begin in range(0, len(response), _SLICE):
            data = response[begin : begin + _SLICE]
            self._spend(data, data.count(b"\n") + data.count(b"\r"))
            for piece in reader.read(parser.feed(data)):
                yield piece
                if piece.done:
                    return


class _TooLong(Exception):
    """More than is read of one file."""


def _fits(shown: str, said: str, *, whole: bool) -> bool:
    """Of what failed on its way a part may have been kept."""
    return not shown or shown == said or (not whole and said.startswith(shown))


def _asks(request: bytes, question: str, results: object) -> bool:
    """Whether the newest message of a request is this question; where calls of functions are told
    in words (`inference.context`), after their results.
    """
    try:
        asked = strictjson.loads(request, _REQUEST)["messages"][-1]
        content = asked["content"]
        if isinstance(content, list):
            content = next(part["text"] for part in content if part["type"] == "text")
    except (BadAnswer, LookupError, TypeError, StopIteration):
        return False
    if asked.get("role") != "user" or not isinstance(content, str):
        return False
    given = results if isinstance(results, list) else ()
    told = [
        tools.ToolResult("", str(x.get("name")), str(x.get("content"))).words
        for x in given
        if isinstance(x, dict)
    ]
    return content in (question, "\n\n".join([*told, question]))
