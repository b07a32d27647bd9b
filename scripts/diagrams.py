"""Draws the diagrams of the documentation: docs/images/*.svg.

    ./run exec -- python -m scripts.diagrams

A drawing is boxes and arrows with words; the site gives it the colours of the page, and the style
inside the file is for whoever opens it alone. `tests/pure/test_pictures.py` fails while a file is
not what this draws.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
WIDTH = 640
STYLE = (
    "<style>text{font-family:system-ui,sans-serif}rect{fill:#fff;stroke:#8b8795}"
    ".accent rect{fill:#f4ecfc;stroke:#7a12bd}.ok rect{fill:#e8f6ec;stroke:#1f7a45}"
    ".group rect{fill:#f5f4f7;stroke:#d9d7de}path{fill:none;stroke:#63606b}"
    "marker path{fill:#63606b;stroke:none}.small{fill:#63606b}</style>"
)


@dataclass(frozen=True)
class Box:
    """Left upper corner, size, a name, and lines about it. `kind`: plain, accent, ok or group (a
    frame around others, named at its top)."""

    x: int
    y: int
    width: int
    height: int
    name: str
    about: tuple[str, ...] = ()
    kind: str = "plain"


@dataclass(frozen=True)
class Arrow:
    """Along points; `said` stands at a place of its own, centred unless `side` says otherwise."""

    points: tuple[tuple[int, int], ...]
    said: tuple[str, ...] = ()
    at: tuple[int, int] = (0, 0)
    side: str = "middle"
    dashed: bool = False


@dataclass(frozen=True)
class Drawing:
    """`title` and `text` say in words what the drawing shows."""

    name: str
    title: str
    text: str
    height: int
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...] = field(default=())


ESCROW = Drawing(
    "escrow",
    "The escrow",
    "Money goes from your wallet by deposit into your compute account, and from there by transfer "
    "into a sub-account for each provider. A provider's settlements can take from its sub-account "
    "only. Back: a refund from a sub-account to the compute account takes a lock time, a "
    "withdrawal to the wallet is immediate.",
    330,
    (
        Box(10, 90, 120, 70, "Your wallet", ("0G tokens",)),
        Box(190, 10, 440, 225, "LedgerManager, on chain", kind="group"),
        Box(215, 90, 150, 70, "Compute account", ("available · locked",), "accent"),
        Box(455, 60, 155, 60, "Sub-account", ("at provider A",), "accent"),
        Box(455, 150, 155, 60, "Sub-account", ("at provider B",), "accent"),
        Box(455, 280, 155, 40, "Provider B"),
    ),
    (
        Arrow(((130, 110), (213, 110)), ("deposit",), (165, 102)),
        Arrow(((215, 142), (132, 142)), ("withdraw",), (163, 158)),
        Arrow(((365, 105), (453, 85)), ("transfer",), (408, 82)),
        Arrow(((365, 130), (453, 175))),
        Arrow(((455, 190), (290, 190), (290, 162)), ("refund: locked", "for 24 hours"),
              (330, 207), "start"),
        Arrow(((532, 210), (532, 278)), ("settlement",), (542, 258), "start"),
    ),
)  # fmt: skip

REFUND = Drawing(
    "refund",
    "The life of a refund",
    "A first retrieve request puts money of a sub-account under refund. While the lock time runs, "
    "a settlement may still charge it, and a transfer to the same provider takes the request "
    "back. After the lock time the same call pays it to the compute account.",
    310,
    (
        Box(10, 20, 170, 70, "Spendable", ("in the sub-account",), "accent"),
        Box(235, 20, 170, 70, "Refund, locked", ("24 hours by default",)),
        Box(460, 20, 170, 70, "Refund, unlocked", ("waits to be collected",)),
        Box(460, 210, 170, 70, "Compute account", ("withdraw at once",), "ok"),
        Box(235, 210, 170, 70, "Charged", ("a settlement may take", "what is under refund")),
    ),
    (
        Arrow(((180, 45), (233, 45)), ("retrieve",), (207, 37)),
        Arrow(((405, 55), (458, 55)), ("time",), (431, 47)),
        Arrow(((545, 90), (545, 208)), ("retrieve", "again"), (555, 145), "start"),
        Arrow(((320, 90), (320, 208)), ("settlement,", "newest refund first"), (330, 145),
              "start", True),
        Arrow(((265, 90), (265, 125), (95, 125), (95, 92)), ("a transfer to this provider",
              "takes the request back"), (95, 146), "middle", True),
    ),
)  # fmt: skip

PROOF = Drawing(
    "proof",
    "The proof of an answer",
    "The site hashes the request as it sent it and the answer as it received it. The provider "
    "signs a text with both hashes. The site compares the provider's two hashes with its own, and "
    "the address that signed with the signer that the chain names.",
    330,
    (
        Box(10, 20, 180, 60, "Request", ("bytes as sent",)),
        Box(10, 110, 180, 60, "Answer", ("bytes as received",)),
        Box(10, 230, 180, 60, "Chain", ("signer of the service",)),
        Box(240, 20, 150, 150, "This site", ("SHA-256 of both,", "compared with",
            "what was signed"), "accent"),
        Box(465, 20, 165, 150, "Its machine", ("holds the key, signs", "the request’s hash",
            "and the answer’s")),
        Box(240, 230, 150, 60, "Who signed?", ("recovered address",), "accent"),
        Box(465, 230, 165, 60, "Verdict", ("verified · rewritten", "altered · failed …"), "ok"),
    ),
    (
        Arrow(((190, 50), (238, 50))),
        Arrow(((190, 140), (238, 140))),
        Arrow(((465, 95), (392, 95)), ("signature",), (428, 87)),
        Arrow(((190, 260), (238, 260))),
        Arrow(((315, 170), (315, 228))),
        Arrow(((390, 260), (463, 260))),
    ),
)  # fmt: skip

ATTESTATION = Drawing(
    "attestation",
    "The attestation chain",
    "Intel's root vouches for the platform's certificate, which vouches for the TDX quote. The "
    "quote holds measurements, which fix boot and compose file, and report data, which name the "
    "signing key and the site's random number. NVIDIA's root vouches for the GPUs' reports, which "
    "carry the same number. The signing key must be the one that the chain names.",
    400,
    (
        Box(10, 10, 180, 50, "Intel’s root", ("pinned in the code",)),
        Box(10, 100, 180, 60, "Platform", ("certificate, firmware,", "revocation")),
        Box(10, 200, 180, 60, "TDX quote", ("the machine’s statement",), "accent"),
        Box(240, 170, 180, 60, "Measurements", ("boot, kernel, event log",)),
        Box(240, 250, 180, 60, "Report data", ("signing key, our nonce",)),
        Box(450, 170, 180, 60, "Compose file", ("images by digest",)),
        Box(450, 250, 180, 60, "Signer on chain", ("must be the same key",), "ok"),
        Box(10, 330, 180, 50, "NVIDIA’s root", ("pinned in the code",)),
        Box(240, 330, 180, 50, "GPU reports", ("measured firmware",)),
        Box(450, 330, 180, 50, "Published values", ("of that driver and VBIOS",)),
    ),
    (
        Arrow(((100, 60), (100, 98)), ("signs",), (110, 84), "start"),
        Arrow(((100, 160), (100, 198)), ("signs",), (110, 184), "start"),
        Arrow(((190, 220), (238, 202))),
        Arrow(((190, 242), (238, 276))),
        Arrow(((420, 200), (448, 200))),
        Arrow(((420, 280), (448, 280))),
        Arrow(((190, 355), (238, 355)), ("signs",), (214, 347)),
        Arrow(((420, 355), (448, 355))),
        Arrow(((330, 328), (330, 312)), dashed=True),
    ),
)  # fmt: skip

INDEX = Drawing(
    "index",
    "From a log to a page",
    "The follower asks a node for block ranges, another where it fails; near the head it checks "
    "that headers connect and that no log is missing. It stores the raw facts. In the same "
    "transaction they are folded into final rows; blocks that are not final yet become pending "
    "rows on top. Pages and the API read both. Every ten minutes rows are compared with views of "
    "the contracts.",
    380,
    (
        Box(10, 20, 150, 60, "Nodes", ("RPC and websocket",)),
        Box(225, 20, 190, 60, "manage.py follow", ("ranges, hashes, proofs",), "accent"),
        Box(225, 130, 390, 150, "one transaction in PostgreSQL", kind="group"),
        Box(245, 170, 150, 90, "Raw facts", ("blocks, transactions,", "logs, views")),
        Box(470, 160, 130, 50, "Final rows", kind="ok"),
        Box(470, 220, 130, 50, "Pending rows", ("not final yet",)),
        Box(10, 180, 165, 60, "check_index", ("rows against views",)),
        Box(375, 320, 240, 50, "Pages and API", ("with the block they are of",), "accent"),
    ),
    (
        Arrow(((160, 50), (223, 50)), ("facts",), (191, 42)),
        Arrow(((320, 80), (320, 168)), ("store",), (330, 108), "start"),
        Arrow(((395, 200), (468, 187)), ("fold",), (432, 185)),
        Arrow(((395, 232), (468, 243))),
        Arrow(((535, 270), (535, 318))),
        Arrow(((85, 80), (85, 178)), ("views",), (95, 130), "start"),
        Arrow(((175, 222), (205, 222), (205, 305), (440, 305), (440, 258), (468, 258)),
              ("compare",), (230, 322), "start", True),
    ),
)  # fmt: skip

DRAWINGS = (ESCROW, REFUND, PROOF, ATTESTATION, INDEX)


def svg(drawing: Drawing) -> str:
    """The file's text. Ids begin with its name, because several stand in one page."""
    name = drawing.name
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {drawing.height}" '
        f'role="img" aria-labelledby="{name}-title {name}-text">',
        STYLE,
        f'<title id="{name}-title">{escape(drawing.title)}</title>',
        f'<desc id="{name}-text">{escape(drawing.text)}</desc>',
        f'<marker id="{name}-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0l8 4-8 4z"/></marker>',
        *map(_box, drawing.boxes),
        *(_arrow(one, name) for one in drawing.arrows),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _box(box: Box) -> str:
    group = box.kind == "group"
    middle = box.x + (12 if group else box.width // 2)
    anchor = "start" if group else "middle"
    lines = len(box.about)
    first = box.y + (20 if group else box.height // 2 + 5 - 8 * lines)
    words = f'<text x="{middle}" y="{first}" font-size="15" font-weight="600">{escape(box.name)}'
    parts = [
        f'<g class="{box.kind}" text-anchor="{anchor}">',
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="8"/>',
        f"{words}</text>" if not group else _small(box.name, middle, first),
        *(_small(text, middle, first + 17 * n) for n, text in enumerate(box.about, 1)),
        "</g>",
    ]
    return "".join(parts)


def _small(text: str, x: int, y: int) -> str:
    return f'<text class="small" x="{x}" y="{y}" font-size="13">{escape(text)}</text>'


def _arrow(arrow: Arrow, name: str) -> str:
    path = "L".join(f"{x} {y}" for x, y in arrow.points)
    dashes = ' stroke-dasharray="4 4"' if arrow.dashed else ""
    x, y = arrow.at
    words = "".join(_small(text, x, y + 16 * n) for n, text in enumerate(arrow.said))
    line = f'<path d="M{path}"{dashes} stroke-width="1.5" marker-end="url(#{name}-tip)"/>'
    return f'<g text-anchor="{arrow.side}">{line}{words}</g>'


def files() -> dict[str, str]:
    """`name of the file -> its text`."""
    return {f"{one.name}.svg": svg(one) for one in DRAWINGS}


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for file, text in files().items():
        (IMAGES / file).write_text(text)
