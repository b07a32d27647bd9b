"""What pages of documentation say of numbers, buttons, codes and tests is what the code has."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_args

from alerts.kinds import SORTS
from inference import failures
from inference.openai import errors

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SPELLED = {1: "a", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight",
           9: "nine", 10: "ten", 20: "twenty", 30: "thirty", 50: "fifty"}  # fmt: skip
UNITS: dict[str, Any] = {
    "kB": 1_000,
    "million": 1_000_000,
    "MiB": 1 << 20,
    "minutes": 60,
    "whole seconds": dt.timedelta(seconds=1),
    "whole minutes": dt.timedelta(minutes=1),
    "hours of seconds": 3_600,
    "days of seconds": 86_400,
    "hours": dt.timedelta(hours=1),
    "days": dt.timedelta(days=1),
}

#: What a page says, with the constant of the code where a number stands, and its unit if another.
SAID: dict[str, tuple[str, ...]] = {
    "alerts": (
        "You can have {alerts.services.MOST_RULES} rules",
        "at most {alerts.services.MOST_A_DAY} things a day",
        "see {alerts.own_service.DAYS} days or less, and again at {alerts.own_service.LAST_DAYS} |",
        "last {alerts.past.WINDOW:days} days before you make a rule"
        " ({probes.retention.KEPT_PROBES:days} of outages",
        "good once and for {alerts.telegram.CODE_LIVES:whole minutes} minutes",
        "incoming webhook there); {alerts.hooks.MOST} in all",
        "{alerts.deliver.PATIENCE:days} days of nothing but failures",
        "once a day at {alerts.schedule.DIGEST_HOUR}:00 UTC",
        "signs as well for {alerts.hooks.OVERLAP:hours} hours",
        "or that comes within {alerts.models.CLAIM:whole seconds} seconds",
    ),
    "api": (
        "{marketplace.limits.API.per_minute} requests per minute",
        "an export as CSV and the bundle of a verification count as {marketplace.limits.CSV_COST}",
        "a preview of a transaction as {marketplace.limits.PREVIEW_COST}.",
        "too many sockets ({marketplace.consumers.MOST_PER_ADDRESS} of one address)",
        "{marketplace.consumers.MOST_SHOWN} of each list at most",
        "{marketplace.dumps.KEPT} nights are kept",
        "`page_size` is at most {ledger.selectors.MAX_PAGE_SIZE}.",
        "reaches {marketplace.schemas.MAX_DEPTH} items deep",
        "first {attestation.published.ADDRESS_CHARS} digits or more",
    ),
    "broker": (
        "replaced after {provider.confirmations.REPLACE_SECONDS} seconds",
        "at most once in {provider.settle.KICK_SECONDS} seconds",
        "at most {provider.sharing.FRESH_SECONDS} seconds old",
        "a session of {provider.admin.guard.SESSION_SECONDS:hours of seconds} hours",
        "bodies of {provider.bodies.MAX_BODY_BYTES:MiB} MiB",
    ),
    "chat": (
        "at most {inference.options.MAX_TOKENS} tokens",
        "takes up to {inference.options.MOST_TOKENS},",
        "more than {inference.relay.MAX_ANSWER_CHARS} characters or"
        " {inference.relay.MAX_ANSWER_BYTES:MiB} MB",
        "larger than {inference.relay.MAX_PACKED_BYTES:MiB} MB when it is packed",
        "may have {inference.opening.MAX_PROMPT_CHARS} characters",
        "a system prompt {inference.options.MAX_SYSTEM_CHARS}.",
        "newest {inference.context.MAX_CONTEXT_TURNS} questions and answers",
        "more than {inference.context.MAX_CONTEXT_CHARS} characters together",
        "ask {inference.opening.QUESTIONS_PER_MINUTE} questions a minute",
        "have {inference.opening.MAX_OPEN_TURNS} answers written at once",
        "Of one person {inference.volume.A_DAY:MiB} MB are stored in a day",
        "and {inference.volume.BESIDE:kB} kB for the headers and the signature of each",
        "holds {inference.opening.MAX_TURNS} answers",
        "and {inference.shares.MOST} links",
        "{inference.presets.MOST} presets",
        "more than {inference.formulas.MAX_CHARS} characters, and what goes beyond some"
        " {inference.formulas.MAX_ANSWER} characters of formulas in one answer, or"
        " {inference.formulas.MAX_PAGE} on one page",
        "drop up to {inference.prompts.MAX_PICTURES}.",
        "at most {inference.attachments.LONGEST_SIDE} pixels",
        "(which can be undone for {inference.conversations.UNDO_FOR:whole minutes} minute)",
        "of up to {inference.options.MAX_TOOLS}, and which of them is called",
        "last {inference.presets.MOST_VERSIONS} earlier texts",
        "the newest {inference.shares.SHOWN_TURNS} answers, fewer of long ones"
        " ({inference.shares.SHOWN_BYTES:kB} kB)",
        "can open {inference.views_shares.READ_PER_MINUTE} a minute",
        "newest {inference.selectors.SHOWN_TURNS} answers"
        " ({inference.selectors.SHOWN_BYTES:kB} kB)",
        "after the newest {inference.selectors.SHOWN_CONVERSATIONS}.",
        "newest {inference.search.LOOKED_AT} answers"
        " ({inference.search.LOOKED_AT_BYTES:MiB} MB at most)",
    ),
    "deploy": ("holds at most {marketplace.consumers.MOST} open pages",),
    "fine-tuning": (
        "Of a log the first {finetune.broker.MOST_LOG_BYTES:MiB} MB are kept",
        "{finetune.follow.MOST_TAKEN:MiB} MB in all",
        "{finetune.wizard.MOST_DRAFTS} drafts are kept",
        "Of one person {finetune.follow.MOST_TASKS} tasks at one provider are taken in",
        "and {finetune.follow.MOST_OF_ONE:MiB} MB of logs kept",
        "up to {finetune.files.MAX_BYTES:MiB} MB can be kept",
        "{finetune.services.MOST_DATASETS} files, {finetune.files.QUOTA_BYTES:MiB} MB together",
    ),
    "how-the-index-works": (
        "at most {chain.sync.DENSE} final blocks",
        "comparing lists every {ledger.project.LOOK_BLOCKS} blocks",
    ),
    "how-we-measure": (
        "At most {probes.stream.MAX_TOKENS} tokens",
        "fewer than {probes.stream.LEAST_PIECES} pieces",
        "Probes are kept for {probes.retention.KEPT_PROBES:days} days",
        "below {inference.timings.LEAST_ANSWERS} answers of"
        " {inference.timings.LEAST_PEOPLE} people",
    ),
    "how-money-moves": (
        "up to {accounts.keys_lasting.MAX_DAYS} days",
        "(0 to {protocol.keys.MAX_PERSISTENT_TOKEN_ID})",
        "unlocked, {accounts.refunds.CHUNK} per transaction",
        "Where {accounts.facts.MAX_REFUNDS} requests are open",
    ),
    "moderation": (
        "within {moderation.services.PROPOSAL_FOR:hours} hours",
        "that works for {moderation.services.UNDO_FOR:whole minutes} minute.",
        "{moderation.reports.SHORTEST} to {moderation.reports.LONGEST} characters",
        "{moderation.reports.PER_WALLET} reports a day",
        "a network address {moderation.reports.PER_ADDRESS};",
        "{moderation.reports.MOST_SPAM} that moderators found",
        "within {moderation.reports.PAUSE:days} days pause",
    ),
    "operators": (
        "fewer than {operators.wallets.FEW} settlements",
        "will not last {operators.customers.SOON_DAYS} days",
        "about {operators.gas.FIXED_GAS} gas for a batch and {operators.gas.ITEM_GAS} for each",
    ),
    "pictures-and-speech": (
        "(up to {inference.media.pictures.MAX_PROMPT_CHARS} characters)",
        "(up to {inference.media.pictures.MOST}), and press",
        "at most {inference.media.uploads.LONGEST_SIDE} pixels",
        "up to {inference.media.pictures.MAX_PICTURE_BYTES:MiB} MB and"
        " {inference.media.uploads.MAX_SHOWN_PIXELS:million} million pixels",
        "Up to {inference.media.recordings.MAX_SECONDS:minutes} minutes",
        "More than {inference.media.recordings.PIECE_SECONDS:minutes} minutes is sent in pieces",
        "up to {inference.media.vectors.MAX_TEXTS} of"
        " {inference.media.vectors.MAX_TEXT_CHARS} characters",
        "(up to {inference.media.vectors.MAX_DIMENSION})",
        "in up to {inference.media.vectors.MAX_ANSWER_BYTES:MiB} MB",
        "ask {inference.media.services.REQUESTS_PER_MINUTE} times a minute",
        "have {inference.media.services.MAX_OPEN} requests open",
    ),
    "relay": (
        "`max_tokens` becomes {inference.openai.asks.USUAL_MAX_TOKENS}",
        "more than {inference.openai.asks.MAX_PARTS} fields",
        "a field of more than {inference.openai.asks.MAX_FIELD_BYTES:kB} kB",
        "({inference.openai.choose.MOST_CHOICES} at most)",
        "chat {inference.openai.asks.JSON_BYTES:MiB} MiB",
        "forms {inference.openai.asks.FORM_BYTES:MiB} MiB",
        "({accounts.tokens.DEFAULT_PER_MINUTE} unless you say otherwise, at most"
        " {accounts.tokens.MOST_PER_MINUTE})",
        "may have {inference.openai.app.MOST_OPEN} requests open",
        "hold up to {inference.openai.room.SHARE_BYTES:MiB} MB",
        "may ask {inference.openai.app.MOST_A_DAY} times",
        "{accounts.tokens.DEFAULT_DAYS} days unless you choose otherwise",
        "valid for {accounts.tokens.OVERLAP:hours} hours",
        "up to {accounts.tokens.MOST_LISTED} of each",
        "have {accounts.tokens.MOST_TOKENS} tokens",
        "and {inference.openai.outcome.MOST_PICTURE_TOKENS} for each picture, film or sound",
    ),
    "run-a-provider": (
        "the end of the answer, for {provider.serve.KEEP_SIGNATURES_SECONDS:days of seconds} days",
        "batches of up to {provider.settle.MAX_ITEMS}",
        "reserved for as {provider.meter.PICTURE_TOKENS} tokens",
        "up to {provider.asks.MAX_INPUTS} texts",
        "{operators.notes.MOST} notes may be open",
        "up to {operators.notes.AHEAD:days} days ahead",
        "for {operators.notes.LONGEST:days} days at most",
    ),
    "runbook": (
        "at most {chain.selectors.BEHIND_BLOCKS} blocks behind",
        "{ops.staff.RECOVERY_CODES} recovery codes",
        "{ops.staff.TRIES} wrong codes",
        "{ops.staff.TRIES} passwords the network address, {ops.staff.TRIES_OF_A_NAME} for one name",
    ),
    "start-moderator": (
        "For {moderation.services.UNDO_FOR:whole minutes} minute *Undo*",
        "at least {moderation.reports.SHORTEST} characters",
    ),
    "what-is-verified": (
        "without an account: {marketplace.views_verify.CHECKS.per_minute} a minute",
        "report of up to {attestation.engine.limits.MAX_BODY_BYTES:MiB} MB",
        "archive of pictures {attestation.services.MAX_UPLOAD_BYTES:MiB} MB",
        "a conversation {inference.answers.MAX_FILE_BYTES:MiB} MB",
        "grey after {attestation.selectors.EXPIRED_AFTER:hours} hours",
        "disappears after {attestation.selectors.DROPPED_AFTER:hours}.",
        "every {attestation.tasks.INTERVAL:hours} hours",
    ),
}


def number(name: str) -> int:
    """The constant `package.module.NAME`, or `…NAME:unit` in that unit, which has to come out."""
    path, _, unit = name.partition(":")
    value = resolve_name(path)
    whole, rest = divmod(value, UNITS[unit]) if unit else (value, 0)
    assert not rest and isinstance(whole, int), name
    return whole


def test_numbers_are_those_of_the_code() -> None:
    wrong = []
    for page, sentences in SAID.items():
        text = " ".join((DOCS / f"{page}.md").read_text().split())
        for sentence in sentences:
            pattern = ""
            for words, name in re.findall(r"([^{]*)(?:\{([^}]+)\})?", sentence):
                pattern += re.escape(words)
                if name:
                    n = number(name)
                    ways = [f"{n:,}", f"{n:02}", SPELLED.get(n, f"{n}")]
                    pattern += f"(?i:{'|'.join(ways)})"
            if not re.search(pattern, text):
                wrong.append(f"docs/{page}.md: {pattern}")
    assert not wrong


def messages() -> Iterator[str]:
    """All words of the site, in English."""
    for catalogue in (ROOT / "locale").glob("*/de/LC_MESSAGES/*.po"):
        found = re.findall(r'^msgid(?:_plural)? ((?:".*"\n)+)', catalogue.read_text(), re.M)
        yield from ("".join(re.findall(r'"(.*)"', text)).replace('\\"', '"') for text in found)


#: What begins with a capital in italics and is no name: a question, a sentence with a value in it.
NOT_OF_THE_SITE = {
    "How do I get my money back?",
    "User 1",
}


def test_names_in_italics_are_those_of_the_site() -> None:
    """Buttons, tabs, states and notices are called as their pages call them."""
    known = "\n".join(messages()).replace("’", "'")
    checked, wrong = 0, []
    for path in sorted({*DOCS.glob("*.md")} - {DOCS / "performance.md"}):
        text = re.sub(r"^```.*?^```|`[^`]*`", "", path.read_text(), flags=re.M | re.S)
        for found in re.findall(r"(?<![*\w])\*([A-Z][^*]+)\*(?![*\w])", text):
            name = " ".join(found.replace("’", "'").split())
            checked += 1
            # A name in the middle of a longer sentence of the site is written small there.
            if name[1:] not in known and name not in NOT_OF_THE_SITE:
                wrong.append(f"{path.name}: {name}")
    assert checked > 80 and not wrong
    # In quotation marks, those of the broker's own page.
    leaving = (
        (DOCS / "run-a-provider.md").read_text().partition("## Leaving")[2].partition("\n## ")[0]
    )
    buttons = re.findall("“([^”]+)”", leaving)
    broker = (ROOT / "provider/admin/page.py").read_text()
    assert len(buttons) == 3 and not [name for name in buttons if f'"{name}"' not in broker]


def test_every_error_of_the_relay_is_in_its_table() -> None:
    page = (DOCS / "relay.md").read_text()
    documented = set(re.findall(r"`([a-z_]+)`", page[page.index("## Errors") :]))
    doors = "".join(path.read_text() for path in (ROOT / "inference/openai").glob("*.py"))
    own = set(re.findall(r'ApiError\(\s*\d{3}, "([a-z_]+)"', doors))
    left = {"disconnected", "stopped"}  # whoever left reads no answer
    assert left < own
    assert own - left | set(get_args(failures.Kind)) <= documented
    assert errors._FAILED.keys() == set(get_args(failures.Kind))


def test_every_alert_is_on_its_page() -> None:
    page = (DOCS / "alerts.md").read_text()
    labels = [sort.label.rpartition(": ")[2] for sort in SORTS.values()]
    assert len(labels) > 20
    assert not [label for label in labels if not re.search(rf"^\|.*{re.escape(label)}", page, re.M)]


def names_of_tests(path: Path) -> list[str]:
    files = [path] if path.is_file() else sorted(path.rglob("test_*.py"))
    return [
        f"{file.name} {name}"
        for file in files
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)", file.read_text(), re.M)
    ]


def test_commands_behind_claims_find_their_tests() -> None:
    """A word of `-k` that no test has any more shows less than its page says."""
    checked, wrong = 0, []
    for page in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]:
        commands = re.findall(r"`(?:test|\./run test) (tests/[^`\n]+)`", page.read_text())
        for files, _, choice in (command.partition(" -k ") for command in commands):
            names = [name for file in files.split() for name in names_of_tests(ROOT / file)]
            for word in set(re.findall(r"\w+", choice)) - {"or", "and", "not"}:
                checked += 1
                if not any(word in name for name in names):
                    wrong.append(f"{page.name}: {files} -k {word}")
    assert checked > 80 and not wrong
