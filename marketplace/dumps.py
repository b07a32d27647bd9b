"""What the chain says and what we verified, as files for whoever wants all of it: made once a day,
each whole and of one moment, with a schema and checksums, kept for a week under DATA_DIR.

Only final rows, and nothing of any account of this site. Listings that were hidden by moderators
when a dump was made are left out of it with their changes; what is hidden later stays in dumps of
before until these go. Money is whole, whoever it is about.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop as N_

from accounts.csv_files import lines
from attestation.models import Outcome, Verification
from chain import selectors as chain
from chain.fields import AddressField, HashField, NeuronField
from ledger.models import (
    Ledger,
    Movement,
    Service,
    ServiceChange,
    ServingContract,
    Settlement,
    SubAccount,
)
from marketplace.disk import space
from moderation import selectors as moderation

log = logging.getLogger(__name__)

KEPT = 7
BATCH = 2_000
SCHEMA, SUMS = "schema.json", "SHA256SUMS"
#: One that is not whole after so long was left by a process that died (seconds).
ABANDONED = 6 * 3600
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Table:
    """One file: `columns` (names with blanks between) of `rows`, in the order of the primary key.
    `text` is translated where it is shown."""

    name: str
    text: str
    columns: str
    rows: Callable[[dt.datetime], QuerySet[Any]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns.split())

    @property
    def file(self) -> str:
        return f"{self.name}.csv.gz"


_PLACE = "block at tx_hash log_index sequence"
TABLES = (
    Table(
        "contracts",
        N_("Serving contracts"),
        "address kind service_name recommended start_block lock_time_seconds",
        lambda now: ServingContract.objects.filter(pending=False),
    ),
    Table(
        "services",
        N_("Listings as they are, removed ones too"),
        "serving provider kind removed service_type model verifiability url input_price "
        "output_price price_per_token quota model_list occupied additional_info tee_signer "
        "tee_signer_acknowledged stake created_block block updated_at_unix",
        lambda now: Service.objects.filter(moderation.shown(now), pending=False),
    ),
    Table(
        "changes",
        N_("Every change of a listing"),
        f"{_PLACE} serving provider change before after",
        lambda now: ServiceChange.objects.filter(moderation.shown(now), pending=False),
    ),
    Table(
        "settlements",
        N_("Every settled item"),
        f"{_PLACE} serving provider user status settled unsettled",
        lambda now: Settlement.objects.filter(pending=False),
    ),
    Table(
        "movements",
        N_("Every change of a balance"),
        f"{_PLACE} user kind balance serving provider amount balance_after pending_change source",
        lambda now: Movement.objects.filter(pending=False),
    ),
    Table(
        "ledgers",
        N_("Main balances"),
        "user available total exists block",
        lambda now: Ledger.objects.filter(pending=False),
    ),
    Table(
        "sub_accounts",
        N_("Balances at providers"),
        "user provider serving balance pending_refund acknowledged block",
        lambda now: SubAccount.objects.filter(pending=False),
    ),
    Table(
        "verifications",
        N_("Every judged run of evidence checks; its report is at /verifications/ID"),
        "id provider kind service_name endpoint trigger started_at finished_at overall "
        "development block onchain_signer attested_signer compose_hash mr_td engine_version "
        "policy_version content_hash",
        lambda now: Verification.objects.filter(outcome=Outcome.JUDGED).exclude(provider=""),
    ),
)


@dataclass(frozen=True)
class File:
    name: str
    text: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Dump:
    """A whole dump; `files` without schema and checksums."""

    day: str
    made_at: dt.datetime
    final_block: int
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def folder() -> Path | None:
    """Where dumps lie; None where this site makes none."""
    return Path(settings.DATA_DIR) if settings.DATA_DIR else None


def make(now: dt.datetime | None = None) -> Dump | None:
    """The dump of this day (UTC); None where it is there, is being made, or there is no room."""
    now, root = now or timezone.now(), folder()
    if root is None or (root / f"{now:%Y-%m-%d}").exists():
        return None
    root.mkdir(parents=True, exist_ok=True)
    _sweep(root, now)
    room = space(root)
    if room.low:
        log.warning("no data dump: %d bytes are free in DATA_DIR", room.free)
        return None
    making = root / f".making-{now:%Y-%m-%d}"
    try:
        making.mkdir()  # whoever makes the folder makes the dump
    except FileExistsError:
        return None
    try:
        _write_all(making, now)
        making.rename(root / f"{now:%Y-%m-%d}")
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    for old in _days(root)[KEPT:]:
        shutil.rmtree(root / old, ignore_errors=True)
    return read(f"{now:%Y-%m-%d}")


def _sweep(root: Path, now: dt.datetime) -> None:
    for path in root.glob(".making-*"):
        if now.timestamp() - path.stat().st_mtime > ABANDONED:
            shutil.rmtree(path, ignore_errors=True)


def _write_all(making: Path, now: dt.datetime) -> None:
    """Every table as of one moment: a snapshot of the database, which holds nobody up."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        final = chain.head(now).final_block
        tables = [_write(making, table, now) for table in TABLES]
    schema = {
        "made_at": now.isoformat(timespec="seconds"),
        "network": settings.NETWORK.name,
        "chain_id": settings.CHAIN_ID,
        "final_block": final,
        "csv": "UTF-8, a header line, CRLF; a text that a spreadsheet would run begins with a '",
        "left_out": "listings that were hidden by moderators when it was made, with their changes",
        "tables": tables,
    }
    (making / SCHEMA).write_bytes(orjson.dumps(schema, option=orjson.OPT_INDENT_2))
    sums = {table["file"]: table["sha256"] for table in tables}
    sums[SCHEMA] = hashlib.sha256((making / SCHEMA).read_bytes()).hexdigest()
    (making / SUMS).write_text("".join(f"{sha}  {name}\n" for name, sha in sums.items()))


def _write(making: Path, table: Table, now: dt.datetime) -> dict[str, Any]:
    path, count = making / table.file, 0
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        packed.write(lines([table.names]))
        rows = table.rows(now).order_by("pk").values_list(*table.names)
        for batch in _batches(rows):
            packed.write(lines([[_plain(value) for value in row] for row in batch]))
            count += len(batch)
    with path.open("rb") as written:
        sha = hashlib.file_digest(written, "sha256").hexdigest()
    fields = {f.attname: f for f in table.rows(now).model._meta.concrete_fields}
    return {
        "file": table.file,
        "text": table.text,
        "rows": count,
        "bytes": path.stat().st_size,
        "sha256": sha,
        "columns": [
            {"name": name, "type": _type(fields[name]), "text": str(fields[name].help_text)}
            for name in table.names
        ],
    }


def _batches(rows: QuerySet[Any, Any]) -> Iterator[tuple[Any, ...]]:
    rest = rows.iterator(chunk_size=BATCH)
    while batch := tuple(islice(rest, BATCH)):
        yield batch


def _plain(value: Any) -> Any:
    """JSON as JSON, truth as JSON says it, everything else as in other CSV files. Numbers of any
    length: a stranger's uint256 is one, and orjson ends at 64 bits."""
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, bool):
        return str(value).lower()
    return value


def _type(field: models.Field[Any, Any]) -> str:
    kinds: tuple[tuple[Any, str], ...] = (
        (NeuronField, "neuron, a whole number of any length"),
        (AddressField, "address, EIP-55"),
        (HashField, "hash, hex"),
        (models.BooleanField, "true or false"),
        (models.DateTimeField, "ISO 8601, UTC"),
        (models.JSONField, "JSON"),
        (models.IntegerField, "whole number"),
    )
    return next((word for kind, word in kinds if isinstance(field, kind)), "text")


# --- what is there --------------------------------------------------------------------------------


def _days(root: Path) -> list[str]:
    """Whole dumps, the newest first."""
    names = (path.name for path in root.iterdir()) if root.is_dir() else ()
    return sorted((name for name in names if _DAY.fullmatch(name)), reverse=True)


def found() -> tuple[Dump, ...]:
    """All that are kept, the newest first."""
    root = folder()
    return tuple(filter(None, map(read, _days(root)[:KEPT]))) if root is not None else ()


def read(day: str) -> Dump | None:
    """What its schema says; None where there is no such dump."""
    root = folder()
    if root is None or not _DAY.fullmatch(day):
        return None
    try:
        said = orjson.loads((root / day / SCHEMA).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    files = tuple(
        File(one["file"], one["text"], one["rows"], one["bytes"], one["sha256"])
        for one in said["tables"]
    )
    made_at = dt.datetime.fromisoformat(said["made_at"])
    return Dump(day, made_at, said["final_block"], files)


def path_of(day: str, name: str) -> Path | None:
    """The file of that name in that dump, if the dump has it: nothing else can be asked for."""
    dump, root = read(day), folder()
    if dump is None or root is None or name not in {SCHEMA, SUMS, *(f.name for f in dump.files)}:
        return None
    path = root / day / name
    return path if path.is_file() else None
