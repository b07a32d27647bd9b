"""Public data dumps: whole, of one moment, checkable, and nothing in them that is not public."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from ledger.models import Ledger, Service, Settlement
from marketplace import disk, dumps
from marketplace.tasks import dump
from moderation.models import Effect, EffectKind
from tests.db import api_rows as rows

NOW = dt.datetime(2026, 5, 1, 0, 3, tzinfo=dt.UTC)


@pytest.fixture
def folder(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    room = disk.DiskSpace(free=30 << 30, total=100 << 30)  # whatever this machine has left
    monkeypatch.setattr(dumps, "space", lambda _: room)
    settings.DATA_DIR = str(tmp_path / "data")
    return tmp_path / "data"


def table(folder: Path, name: str, day: str = "2026-05-01") -> list[dict[str, str]]:
    with gzip.open(folder / day / f"{name}.csv.gz", "rt", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.django_db(transaction=True)
def test_a_dump_is_whole_final_checkable_and_without_what_is_hidden(
    client: Client, folder: Path
) -> None:
    rows.head(100)
    rows.contracts()
    rows.service(rows.PETRA, model='=cmd|"x"', additional_info='{"a":1}', input_price=rows.HUGE)
    rows.service(rows.PAUL)
    rows.tuning(rows.PETRA, quota={"cpuCount": 2**64, "type": "ü"})
    Service.objects.filter(provider=rows.PETRA).update(pending=False)
    Ledger.objects.create(user=rows.ALICE, available=7, total=9, exists=True, block=3)
    Ledger.objects.create(user=rows.ALICE, available=8, total=9, exists=True, block=4, pending=True)
    Settlement.objects.create(
        serving=rows.INFERENCE, provider=rows.PETRA, user=rows.ALICE, status="success",
        settled=10**30, unsettled=0, block=5, at=rows.NOON, tx_hash="0x" + "12" * 32,
    )  # fmt: skip
    Effect.objects.create(
        subject_kind="provider", subject=rows.PAUL, provider=rows.PAUL, kind=EffectKind.HIDDEN,
        number=1, at=NOW, actor="m",
    )  # fmt: skip
    made = dumps.make(NOW)
    assert made is not None and made.day == "2026-05-01" and made.final_block == 98
    petra, tuning = table(folder, "services")
    assert tuning["quota"] == '{"type":"ü","cpuCount":18446744073709551616}', "as long as it is"
    assert petra["provider"] == rows.PETRA and petra["input_price"] == str(rows.HUGE)
    assert petra["model"] == '\'=cmd|"x"' and petra["removed"] == "false"
    assert [row["available"] for row in table(folder, "ledgers")] == ["7"], "final rows only"
    assert table(folder, "settlements")[0]["settled"] == str(10**30)
    schema = orjson.loads((folder / made.day / "schema.json").read_bytes())
    written = (folder / made.day / "SHA256SUMS").read_text().splitlines()
    sums = {name: sha for sha, name in (line.split("  ") for line in written)}
    assert sums.keys() == {one["file"] for one in schema["tables"]} | {"schema.json"}
    for one in schema["tables"]:
        packed = (folder / made.day / one["file"]).read_bytes()
        assert hashlib.sha256(packed).hexdigest() == sums[one["file"]] == one["sha256"]
        header = next(csv.reader(io.StringIO(gzip.decompress(packed).decode())))
        assert header == [column["name"] for column in one["columns"]]
    there = {path.name for path in (folder / made.day).iterdir()}
    assert there == {"SHA256SUMS", *sums} and len(sums) == len(dumps.TABLES) + 1
    page = client.get("/data").content.decode()
    assert "were hidden by moderators when it was made" in page, "others may be hidden since"
    assert "Dump of 2026-05-01" in page and "/data/2026-05-01/settlements.csv.gz" in page
    answer = client.get("/data/2026-05-01/settlements.csv.gz")
    body = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    assert hashlib.sha256(body).hexdigest() == sums["settlements.csv.gz"]
    assert answer["Content-Type"] == "application/gzip"
    assert answer["Cache-Control"] == "public, max-age=3600"
    assert answer["Content-Disposition"] == 'attachment; filename="settlements.csv.gz"'
    # Once a day, whoever asks.
    assert dumps.make(NOW + dt.timedelta(hours=20)) is None


@pytest.mark.django_db(transaction=True)
def test_a_week_is_kept_and_what_a_dead_process_left_goes(folder: Path) -> None:
    for number in range(9):
        assert dumps.make(NOW + dt.timedelta(days=number))
    assert [one.day for one in dumps.found()] == [f"2026-05-0{n}" for n in range(9, 2, -1)]
    left = folder / ".making-2026-05-10"
    left.mkdir()
    assert dumps.make(NOW + dt.timedelta(days=9)) is None, "somebody makes it"
    old = timezone.now().timestamp() - 10 * dumps.ABANDONED
    os.utime(left, (old, old))
    later = dt.datetime.fromtimestamp(old, dt.UTC) + dt.timedelta(seconds=2 * dumps.ABANDONED)
    assert dumps.make(later) and not left.exists()


@pytest.mark.django_db
def test_nothing_else_can_be_asked_for(client: Client, folder: Path) -> None:
    day = folder / "2026-05-01"
    day.mkdir(parents=True)
    (day / "schema.json").write_bytes(b'{"tables":[],"made_at":"2026-05-01","final_block":1}')
    (folder / "secret").write_text("x")
    (day / "other").write_text("x")
    for path in ("2026-05-01/other", "2026-05-01/..%2fsecret", "..%2fdata/secret", "%2e%2e/secret",
                 "2026-05-02/schema.json", ".making-2026-05-01/schema.json"):  # fmt: skip
        assert client.get(f"/data/{path}").status_code == 404, path
    assert client.get("/data/2026-05-01/schema.json").status_code == 200


@pytest.mark.django_db
def test_a_site_without_a_folder_says_so(client: Client, folder: Path, settings: Any) -> None:
    assert "No dump yet" in client.get("/data").content.decode()
    settings.DATA_DIR = ""
    assert "makes no data dumps" in client.get("/data").content.decode()
    assert dump() is False
    with pytest.raises(CommandError, match="DATA_DIR is not set"):
        call_command("dump_data")
