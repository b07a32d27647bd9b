"""The words of the site: collected from templates, Python and JavaScript, and their translations.

    python -m scripts.messages extract [area ...]   put new messages into the catalogues, drop old
    python -m scripts.messages compile [area ...]   what Django and the browser read
    python -m scripts.messages check   [area ...]   exit code 1: what is missing or does not fit

The source language is English: a message is the English text. An area has one catalogue for pages
(`django.po`, compiled to `django.mo`) and one for scripts (`djangojs.po`; all areas' together are
compiled to `static/js/words-<language>.js`). Python: `_ gettext ngettext pgettext gettext_noop N_`
and their lazy forms; JavaScript: `t("...", values)` and `tn("one", "many", n, values)`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from json import dumps
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from scripts.messages_check import faults
from scripts.messages_find import Found, in_javascript, in_python, in_template

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("de",)
DOMAINS = ("django", "djangojs")
COMMON = "common"
#: Folders of templates and Python, and beginnings of a script's name; what is in none is common.
FOLDERS = {
    "accounts": ("accounts", "alerts", "ledger"),
    "operators": ("operators",),
    "inference": ("inference",),
    "finetune": ("finetune",),
    "attestation": ("attestation", "probes"),
    "moderation": ("moderation",),
    "ops": ("ops",),
    COMMON: ("marketplace", "net", "chain", "protocol"),
}
SCRIPTS = {
    "accounts": (
        *("funds", "inbox", "keys", "providerkey", "reveal", "statement", "tokens", "wallet"),
        "transactions",
    ),
    "operators": ("listing",),
    "inference": (*("chat", "images", "mask", "price", "recorder", "speech", "transcript", "wav"),),
    "finetune": ("tuning",),
    "moderation": ("moderation",),
}
#: The catalogues' dates would change with every run, and say nothing.
_NO_DATE = datetime(2026, 1, 1, tzinfo=UTC)


def area_of(name: str) -> str:
    """The area of a file, `name` relative to the repository."""
    parts = Path(name).parts
    if parts[:2] == ("static", "js"):
        names = SCRIPTS.items()
        return next((area for area, begin in names if parts[-1].startswith(begin)), COMMON)
    folder = parts[1] if parts[0] == "templates" and len(parts) > 2 else parts[0]
    return next((area for area, folders in FOLDERS.items() if folder in folders), COMMON)


def sources(domain: str) -> Iterator[tuple[str, Callable[[str], Iterator[Found]]]]:
    """Every file that may hold words, relative to the repository, and its reader."""
    if domain == "djangojs":
        for path in sorted((ROOT / "static" / "js").glob("*.js")):
            if not path.name.startswith("words"):
                yield path.relative_to(ROOT).as_posix(), in_javascript
        return
    for path in sorted((ROOT / "templates").rglob("*.html")):
        yield path.relative_to(ROOT).as_posix(), in_template
    for folder in sorted(name for names in FOLDERS.values() for name in names):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), in_python


def collect(area: str, domain: str) -> Catalog:
    """The messages of an area without translations. Raises SyntaxError: what no reader may skip."""
    catalog = Catalog(domain=domain)
    for name, reader in sources(domain):
        if area_of(name) != area:
            continue
        try:
            for found in reader((ROOT / name).read_text()):
                catalog.add(found.id, locations=[(name, 0)], context=found.context)
        except SyntaxError as error:
            raise SyntaxError(f"{name}: {error}") from None
    return catalog


def po_path(area: str, language: str, domain: str) -> Path:
    return ROOT / "locale" / area / language / "LC_MESSAGES" / f"{domain}.po"


@cache
def read(area: str, language: str, domain: str) -> Catalog:
    path = po_path(area, language, domain)
    if not path.exists():
        return Catalog(locale=language, domain=domain)
    with path.open("rb") as file:
        return read_po(file, locale=language, domain=domain)


def merged(area: str, language: str, domain: str) -> Catalog:
    """What the area's sources say now, with the translations that are known: its own, else those
    of the same message elsewhere."""
    known = [read(one, language, domain) for one in (area, *(a for a in FOLDERS if a != area))]
    catalog = Catalog(
        locale=language,
        domain=domain,
        project="0G Market",
        header_comment=f"# The words of 0G Market: {area}. CONTRIBUTING.md, 'Add or change words'.",
        fuzzy=False,
        creation_date=_NO_DATE,
        revision_date=_NO_DATE,
        last_translator="",
        language_team="",
    )
    for message in collect(area, domain):
        if not message.id:
            continue
        old = [one.get(message.id, message.context) for one in known]
        translated = next((one.string for one in old if one and complete(one)), None)
        kept = old[0]
        catalog.add(
            message.id,
            translated or None,
            locations=message.locations,
            user_comments=kept.user_comments if kept else (),
            context=message.context,
        )
    return catalog


def complete(message: Message) -> bool:
    texts = message.string if isinstance(message.string, (list, tuple)) else [message.string]
    return bool(texts) and all(texts) and not message.fuzzy


def po_bytes(catalog: Catalog) -> bytes:
    out = BytesIO()
    write_po(out, catalog, width=100, sort_by_file=True, include_lineno=False)
    return out.getvalue()


def mo_bytes(catalog: Catalog) -> bytes:
    out = BytesIO()
    catalog.creation_date = catalog.revision_date = _NO_DATE
    write_mo(out, catalog)
    return out.getvalue()


def script(language: str) -> bytes:
    """The module that teaches `words.js` a language: all areas' messages."""
    known: dict[str, str | list[str]] = {}
    for area in FOLDERS:
        for message in read(area, language, "djangojs"):
            if message.id and complete(message):
                one = message.id if isinstance(message.id, str) else message.id[0]
                string = message.string
                known[one] = string if isinstance(string, str) else list(string or ())
    written = {key: dumps(text, ensure_ascii=False) for key, text in sorted(known.items())}
    lines = [f"{dumps(key, ensure_ascii=False)}: {text}" for key, text in written.items()]
    return (
        "// Made by `python -m scripts.messages compile`; the translations are in locale/.\n"
        'import { learn } from "./words.js";\n\nlearn({\n' + ",\n".join(lines) + "\n});\n"
    ).encode()


def outputs(areas: Sequence[str]) -> Iterator[tuple[Path, bytes]]:
    """What `compile` writes."""
    for language in LANGUAGES:
        for area in areas:
            path = po_path(area, language, "django")
            if path.exists():
                yield path.with_suffix(".mo"), mo_bytes(read(area, language, "django"))
        yield ROOT / "static" / "js" / f"words-{language}.js", script(language)


def extract(areas: Sequence[str]) -> int:
    for language in LANGUAGES:
        for area in areas:
            for domain in DOMAINS:
                catalog = merged(area, language, domain)
                path = po_path(area, language, domain)
                if not len(catalog):
                    path.unlink(missing_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(po_bytes(catalog))
                read.cache_clear()
                missing = sum(1 for one in catalog if one.id and not complete(one))
                print(f"{path.relative_to(ROOT)}: {len(catalog)} messages, {missing} to translate")
    return 0


def compile_(areas: Sequence[str]) -> int:
    for path, content in outputs(areas):
        path.write_bytes(content)
    return 0


def check(areas: Sequence[str]) -> int:
    """One line for each thing wrong; 0 when there is none."""
    wrong: list[str] = []
    for language in LANGUAGES:
        for domain in DOMAINS:
            said: dict[object, tuple[str, object]] = {}
            for area in FOLDERS:
                catalog = read(area, language, domain)
                path = po_path(area, language, domain)
                name = path.relative_to(ROOT)
                for message in filter(complete, catalog):
                    key = (message.context, message.id)
                    first = said.setdefault(key, (area, message.string))
                    if message.id and area in areas and first[1] != message.string:
                        wrong.append(f"{name}: {message.id!r} reads otherwise in {first[0]}")
                if area not in areas:
                    continue
                now = merged(area, language, domain)
                there = path.read_bytes() if path.exists() else b""
                if there != (po_bytes(now) if len(now) else b""):
                    wrong.append(f"{name}: not up to date (scripts.messages extract {area})")
                wrong += [f"{name}: {line}" for one in now if one.id for line in faults(one)]
    for path, content in outputs(areas):
        if not path.exists() or path.read_bytes() != content:
            wrong.append(f"{path.relative_to(ROOT)}: not compiled (scripts.messages compile)")
    print("\n".join(wrong) or f"note: {len(FOLDERS)} areas, complete in {', '.join(LANGUAGES)}")
    return 1 if wrong else 0


COMMANDS = {"extract": extract, "compile": compile_, "check": check}


def main(arguments: Sequence[str]) -> int:
    command, *areas = arguments or [""]
    unknown = set(areas) - set(FOLDERS)
    if command not in COMMANDS or unknown:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return COMMANDS[command](areas or list(FOLDERS))
    except SyntaxError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
