"""Refresh the fonts, icons and the chart library in `static/` from npm packages; their output is
committed, so nothing else needs npm.

    npm install --ignore-scripts --prefix DIR lucide-static@1.62.0 \
        @fontsource-variable/geist @fontsource/geist-mono uplot@1.6.32
    python scripts/vendor_assets.py DIR
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

STATIC = Path(__file__).resolve().parent.parent / "static"

FONTS = {
    "geist.woff2": "@fontsource-variable/geist/files/geist-latin-wght-normal.woff2",
    # One weight: addresses and code are never bold, and all weights weigh 13 KB more.
    "geist-mono.woff2": "@fontsource/geist-mono/files/geist-mono-latin-400-normal.woff2",
}

#: Loaded by pages with charts alone (`templates/ui/chart.html`).
CHARTS = {
    "uplot.min.js": "dist/uPlot.iife.min.js",
    "uplot.min.css": "dist/uPlot.min.css",
    "LICENSE.uplot.txt": "LICENSE",
}

#: Every icon a template names; `tests/pure/test_css.py` fails on one that is missing or unused.
ICONS = (
    "activity",
    "arrow-down",
    "arrow-right",
    "arrow-up",
    "arrow-up-down",
    "bell",
    "box",
    "check",
    "chevron-down",
    "chevron-left",
    "chevron-right",
    "circle-alert",
    "circle-check",
    "circle-dashed",
    "clock",
    "copy",
    "database",
    "download",
    "external-link",
    "house",
    "image",
    "info",
    "menu",
    "message-square",
    "mic",
    "monitor",
    "moon",
    "refresh-cw",
    "search",
    "search-x",
    "server",
    "shield",
    "shield-check",
    "shield-half",
    "shield-minus",
    "shield-x",
    "square",
    "star",
    "sun",
    "trash-2",
    "triangle-alert",
    "unplug",
    "wallet",
    "x",
)


def symbol(name: str, source: str) -> str:
    """One `<symbol>` of a lucide file, without its own width, height, class and stroke."""
    body = re.search(r"<svg[^>]*>(.*)</svg>", source, re.S)
    if body is None:
        raise SystemExit(f"{name}: not an SVG file")
    paths = re.sub(r"\s+", " ", body[1]).replace("> <", "><").strip()
    return f'<symbol id="{name}" viewBox="0 0 24 24">{paths}</symbol>'


def main(modules: Path) -> None:
    for target, source in FONTS.items():
        shutil.copyfile(modules / source, STATIC / "fonts" / target)
    shutil.copyfile(modules / "@fontsource-variable/geist/LICENSE", STATIC / "fonts/OFL.txt")
    icons = modules / "lucide-static"
    symbols = "\n".join(symbol(name, (icons / f"icons/{name}.svg").read_text()) for name in ICONS)
    (STATIC / "icons/sprite.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg">\n'
        f"<!-- lucide, ISC licence: see LICENSE.txt -->\n{symbols}\n</svg>\n"
    )
    shutil.copyfile(icons / "LICENSE", STATIC / "icons/LICENSE.txt")
    for target, source in CHARTS.items():
        shutil.copyfile(modules / "uplot" / source, STATIC / "vendor" / target)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]) / "node_modules")
