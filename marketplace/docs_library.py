"""Which pages the documentation has, and in which order: the Markdown files of `docs/` and those
that the repository keeps at its root, each in one section."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext_noop

CHANGELOG = "changelog"
DECISIONS = "decisions"
#: Pages that stand at the root of the repository, where whoever clones it looks for them.
ROOT_PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")


@dataclass(frozen=True)
class Section:
    """Pages for one purpose. `text` says for whom; the words are those of the frame, so they are
    translated where they are shown."""

    slug: str
    title: str
    text: str
    pages: tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """One page as it was written. `path` is the file's place in the repository."""

    slug: str
    title: str
    path: str
    section: str
    source: str


#: Who reads this, what they want, and the page that takes them through it from the beginning.
AUDIENCES = (
    ("start-user", "message-square", gettext_noop("Use models"),
     gettext_noop("Pay from your wallet, ask, and see what was proven.")),
    ("start-developer", "box", gettext_noop("Build on it"),
     gettext_noop("Read the API, and ask models from your programs.")),
    ("start-operator", "server", gettext_noop("Offer a service"),
     gettext_noop("Run a broker, get paid, keep the books.")),
    ("start-moderator", "shield", gettext_noop("Moderate"),
     gettext_noop("Work the queue, decide in the open.")),
    ("start-host", "monitor", gettext_noop("Host the site"),
     gettext_noop("Put it on the internet and keep it running.")),
)  # fmt: skip

SECTIONS = (
    Section(
        "start",
        gettext_noop("Getting started"),
        gettext_noop("From nothing to a first result, on your own machine."),
        ("getting-started", *(slug for slug, *_ in AUDIENCES)),
    ),
    Section(
        "use",
        gettext_noop("Using the market"),
        gettext_noop("What the pages do, and what happens to your words and your money."),
        ("chat", "pictures-and-speech", "fine-tuning", "alerts"),
    ),
    Section(
        "concepts",
        gettext_noop("How it works"),
        gettext_noop("Money, proofs and measurements, with pictures."),
        (
            "how-money-moves",
            "contract-rules",
            "what-is-verified",
            "attestation",
            "how-the-index-works",
            "how-we-measure",
        ),
    ),
    Section(
        "build",
        gettext_noop("Programs"),
        gettext_noop("The JSON API, the relay for OpenAI’s clients, and recipes."),
        ("api", "relay", "recipes"),
    ),
    Section(
        "operate",
        gettext_noop("Providers"),
        gettext_noop("Running a broker and reading its books."),
        ("run-a-provider", "broker", "operators"),
    ),
    Section(
        "host",
        gettext_noop("Hosting and moderating"),
        gettext_noop("Running the site for others."),
        ("deploy", "runbook", "faults", "moderation", "reference"),
    ),
    Section(
        "maintain",
        gettext_noop("For maintainers"),
        gettext_noop("The code, what it claims, and the command that shows each claim."),
        (
            "architecture",
            "contributing",
            "security",
            "performance",
            "index-claims",
            "discovery-claims",
            "playground-claims",
            "tuning-claims",
            "operators-claims",
            "production-claims",
            CHANGELOG,
        ),
    ),
    Section(
        DECISIONS,
        gettext_noop("Decisions"),
        gettext_noop("Why it is built as it is, one page each."),
        (),
    ),
)


def folder() -> Path:
    return Path(settings.BASE_DIR) / "docs"


@cache
def documents() -> dict[str, Document]:
    """`slug -> page`, in reading order. A file that no section names is for maintainers."""
    files = _files()
    placed = [(slug, one.slug) for one in SECTIONS for slug in one.pages if slug in files]
    known = {slug for slug, _ in placed}
    for slug, path in sorted(files.items()):
        if slug not in known:
            placed.append((slug, DECISIONS if path.parent.name == DECISIONS else "maintain"))
    rank = {one.slug: number for number, one in enumerate(SECTIONS)}
    placed.sort(key=lambda pair: rank[pair[1]])
    return {slug: _read(slug, files[slug], section) for slug, section in placed}


def _files() -> dict[str, Path]:
    root = Path(settings.BASE_DIR)
    found = {path.stem: path for path in folder().rglob("*.md")}
    return found | {Path(name).stem.lower(): root / name for name in ROOT_PAGES}


def _read(slug: str, path: Path, section: str) -> Document:
    text = path.read_text()
    title = text.partition("\n")[0].removeprefix("# ").strip()
    return Document(
        slug, title, path.relative_to(settings.BASE_DIR).as_posix(), section, text.strip() + "\n"
    )


@cache
def by_path() -> dict[str, str]:
    """`path in the repository -> slug`."""
    return {one.path: one.slug for one in documents().values()}


def titles() -> dict[str, str]:
    """`slug -> title` of every page, in reading order."""
    return {slug: one.title for slug, one in documents().items()}
