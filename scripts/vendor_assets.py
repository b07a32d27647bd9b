"""Refresh the fonts, icons and the chart library in `static/` from npm packages; their output is
committed, so nothing else needs npm.

    npm install --ignore-scripts --prefix DIR lucide-static@1.62.0 \
        @fontsource-variable/geist @fontsource/geist-mono @fontsource/stix-two-math@5.3.0 \
        uplot@1.6.32
    pip install fonttools
    python scripts/vendor_assets.py DIR
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

STATIC = Path(__file__).resolve().parent.parent / "static"

FONTS = {
    "geist.woff2": "@fontsource-variable/geist/files/geist-latin-wght-normal.woff2",
    # One weight: addresses and code are never bold, and all weights weigh 13 KB more.
    "geist-mono.woff2": "@fontsource/geist-mono/files/geist-mono-latin-400-normal.woff2",
}

FORMULAS = "@fontsource/stix-two-math/files/stix-two-math-latin-400-normal.woff2"
#: What formulas are mostly made of, an eighth of the font, with the larger forms of each. For the
#: rest a reader's machine has a font, or none.
FORMULAS_HAVE = (
    *("20-7e", "a0", "a8", "af-b1", "b4", "b7", "d7", "f7", "2c7", "2d8", "2d9", "302"),
    *("391-3c9", "3d1", "3d5", "3d6", "3f1", "3f5"),  # Greek
    *("2016", "2020", "2022", "2026", "2032-2034", "203e", "2057", "20d7"),
    *("210e", "210f", "2111", "2113", "2118", "211c", "2135", "2190-2194", "21a6", "21d0-21d4"),
    *("2200-222e", "2234", "2235", "223c", "2243", "2245", "2248", "2260-2265", "226a", "226b"),
    *("2282-2287", "2295-2299", "22a4", "22a5", "22c0-22c6", "22ee-22f1"),
    *("2308-230b", "23de", "23df", "25a1", "2713", "27e8", "27e9", "27f5-27fa"),
    *("1d434-1d467", "1d6e2-1d71b", "1d400-1d433", "1d736-1d74f", "1d7ce-1d7d9"),  # bold
    *("2102", "210d", "2115", "2119", "211a", "211d", "2124", "1d538-1d551"),  # ℝ
    *("210b", "2110", "2112", "211b", "212c", "2130", "2131", "2133", "1d49c-1d4b5"),  # ℒ
)

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
    shutil.copyfile(modules / "@fontsource/stix-two-math/LICENSE", STATIC / "fonts/OFL-stix.txt")
    subprocess.run(
        [
            *(sys.executable, "-m", "fontTools.subset", str(modules / FORMULAS), "--flavor=woff2"),
            *("--layout-features=ssty,dtls,flac", "--no-hinting", "--drop-tables+=GPOS"),
            f"--unicodes={','.join(FORMULAS_HAVE)}",
            f"--output-file={STATIC / 'fonts/formulas.woff2'}",
        ],
        check=True,
    )
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
