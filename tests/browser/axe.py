"""What axe-core finds on a page; what it has read on one, it need not read again on the next."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from weakref import WeakSet

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

#: axe's rules about colours: most of its time, and the only ones that depend on the scheme.
COLOURS = ("color-contrast", "link-in-text-block")
#: WCAG's enhanced contrast (1.4.6), 7 to 1: by itself it is silent about less than 4.5.
ENHANCED = ("color-contrast", "color-contrast-enhanced")
#: What decides whether a text can be read: its colour, size, weight and shadow, whether it can be
#: used, and what is painted below; of a link also all that tells it from the words around it.
#: A table of forty rows has the kinds of one row; three elements stand for each kind.
#: Left out is what axe never judges: what nobody sees, drawings, boxes to tick, marks without a
#: letter. One of them on every page would be asked about on every page, since it never passes.
KINDS = """
() => {
  const layers = new Map([[null, ""]]);
  const below = (element) => {
    if (!layers.has(element)) {
      const look = getComputedStyle(element);
      const own = [look.backgroundColor, look.backgroundImage, look.opacity, look.filter].join();
      const bare = own === "rgba(0, 0, 0, 0),none,1,none";
      layers.set(element, below(element.parentElement) + (bare ? "" : `|${own}`));
    }
    return layers.get(element);
  };
  const look = (element) => {
    const { color, fontSize, fontWeight, position, textShadow } = getComputedStyle(element);
    const unused = element.closest(":disabled, [aria-disabled=true]") ? "unused" : "";
    return [color, fontSize, fontWeight, position, textShadow, unused].join();
  };
  const words = (element) => {
    const name = [element.localName, element.className.baseVal ?? element.className];
    return [...name, look(element), getComputedStyle(element).textDecorationLine].join();
  };
  const link = (element) =>
    element.closest("a, [role=link]") ? `${words(element)} in ${words(element.parentElement)}` : "";
  const unjudged = ".visually-hidden, .skip, svg, input:is([type=checkbox], [type=radio])";
  const marks = /^[\\s!-\\/:-@[-`{-~]*$/;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = new Set(document.body.querySelectorAll("input, select, textarea"));
  while (texts.nextNode()) {
    const { data, parentElement } = texts.currentNode;
    const mark = marks.test(parentElement.textContent) && !parentElement.closest("a");
    if (data.trim() && !mark) found.add(parentElement);
  }
  found.delete(document.body);
  window.kinds = new Map();
  for (const element of found) {
    if (!element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.closest(unjudged) || !parseFloat(getComputedStyle(element).fontSize)) continue;
    const kind = `${look(element)} ${link(element)} on ${below(element)}`;
    const like = window.kinds.get(kind) ?? [];
    if (like.length < 3) window.kinds.set(kind, [...like, element]);
  }
  return [...window.kinds.keys()];
}
"""
#: axe, where it is asked for; without the source of every element, which it would write down of all
#: that passed too (that of a table holds that of its rows again).
_BRING = f"window.bringAxe = () => {{ {AXE_SCRIPT}; axe.configure({{ noHtml: true }}); }}; null"
_BROUGHT = """
  if (typeof axe === "undefined") {
    if (!window.bringAxe) return null;
    bringAxe();
  }
  const told = (violations) => violations.map(({ id, nodes }) => [
    id,
    nodes.slice(0, 3).map(({ element, failureSummary }) => [
      element?.outerHTML.slice(0, 300) ?? "in a frame", failureSummary ?? "",
    ]),
  ]);
"""
#: axe on fresh kinds of text: what is wrong, and the kinds that passed. They are looked up again,
#: since a page that lives may have drawn itself anew since they were named.
_READ = f"""
async ({{ fresh, ...options }}) => {{
  {_BROUGHT}
  ({KINDS})();
  const like = (kind) => window.kinds.get(kind) ?? [];
  const include = fresh.flatMap(like);
  if (!include.length) return [[], []];
  const {{ violations, passes }} = await axe.run({{ include }}, options);
  // What is out of sight passes too, and by the enhanced rule what the usual one is to find.
  const passed = new Set(passes.filter((rule) => rule.id.startsWith("color-contrast"))
    .flatMap((rule) => rule.nodes.filter((node) => node.any[0]?.data?.expectedContrastRatio))
    .map((node) => node.element));
  return [told(violations), fresh.filter((kind) => like(kind).some((e) => passed.has(e)))];
}}
"""
_ALL_BUT_COLOURS = f"""
async (options) => {{
  {_BROUGHT}
  return [told((await axe.run(document, options)).violations), ({KINDS})()];
}}
"""


class _Readable:
    """Kinds of text that axe has found readable by some rules, on any page that any process of this
    run has looked at: all pages have the same head and foot."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0
        self._known: set[tuple[str, ...]] = set()

    def fresh(self, kinds: list[str], rules: tuple[str, ...]) -> list[str]:
        """Those that nobody has found readable yet."""
        if self._path.exists() and self._path.stat().st_size > self._seen:
            with self._path.open("rb") as file:
                file.seek(self._seen)
                whole, end, _ = file.read().rpartition(b"\n")  # the last may be half written
            self._seen += len(whole + end)
            self._known.update(tuple(json.loads(line)) for line in whole.splitlines())
        return [kind for kind in kinds if (kind, *rules) not in self._known]

    def add(self, kinds: Iterable[str], rules: tuple[str, ...]) -> None:
        said = "".join(f"{json.dumps([kind, *rules])}\n" for kind in kinds)
        with self._path.open("ab", buffering=0) as file:  # one write: others append as well
            file.write(said.encode())


_readable = _Readable(Path(os.environ["FORKS"].partition(":")[2]) / "readable")
#: Pages of which axe was asked something.
_asked: WeakSet[Page] = WeakSet()


def inaccessible(page: Page) -> list[str]:
    """axe-core's findings."""
    violations, kinds = _ask_axe(
        page,
        _ALL_BUT_COLOURS,
        {
            "rules": {name: {"enabled": False} for name in COLOURS},
            "resultTypes": ["violations"],
            "elementRef": True,
            "selectors": False,  # of all that passed, too
            # What a media element plays decides a rule; of style sheets none that is on asks.
            "preload": {"assets": ["media"]},
            "performanceTimer": False,
        },
    )
    return _said(violations) + _unreadable(page, kinds, COLOURS)


def unreadable(page: Page, rules: tuple[str, ...] = COLOURS) -> list[str]:
    """axe-core's findings about colours, of the kinds of text that have not passed before."""
    return _unreadable(page, page.evaluate(KINDS), rules)


def _unreadable(page: Page, kinds: list[str], rules: tuple[str, ...]) -> list[str]:
    fresh = _readable.fresh(kinds, rules)
    if not fresh:
        return []
    violations, passed = _ask_axe(
        page,
        _READ,
        {
            "fresh": fresh,
            "runOnly": {"type": "rule", "values": rules},
            "resultTypes": ["violations", "passes"],
            "elementRef": True,
            "selectors": False,  # to find one for all that passed takes longer than to judge it
            "preload": False,
            "performanceTimer": False,
        },
    )
    if not violations:
        _readable.add(passed, rules)
    return _said(violations)


def _ask_axe(page: Page, question: str, options: dict[str, Any]) -> Any:
    answer = page.evaluate(question, options)
    if answer is None:
        if page in _asked:  # half a megabyte: each of the next documents has it without being sent
            page.add_init_script(_BRING)
        _asked.add(page)
        page.evaluate(_BRING)
        answer = page.evaluate(question, options)
    return answer


def _said(violations: list[tuple[str, list[tuple[str, str]]]]) -> list[str]:
    return [
        f"{rule}: {html} {summary.splitlines()[1:2]}"
        for rule, nodes in violations
        for html, summary in nodes
    ]
