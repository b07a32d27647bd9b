"""`./run check` finds a secret that slips in, and a licence that does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import supply


def test_a_planted_secret_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supply, "ROOT", tmp_path)
    monkeypatch.setattr(supply, "ACCEPTED", tmp_path / "accepted.json")
    monkeypatch.setattr(supply, "tracked", lambda: ["settings.py", "gone.py"])
    (tmp_path / "settings.py").write_text("DEBUG = False\n")
    assert supply.main(["secrets", "--accept"]) == 0
    assert json.loads((tmp_path / "accepted.json").read_text()) == []
    assert supply.main(["secrets"]) == 0
    planted = "AKIA" + "IOSFODNN7ABCDEFG"
    (tmp_path / "settings.py").write_text(f"DEBUG = False\nKEY = '{planted}'\n")
    assert supply.main(["secrets"]) == 1
    said = capsys.readouterr().out
    assert "settings.py:2: looks like a secret (AWS Access Key)" in said and planted not in said


def test_a_licence_that_does_not_fit_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supply, "packages", lambda: ["django", "djlint"])
    assert supply.main(["licences"]) == 1
    said = capsys.readouterr().out
    assert "djlint" in said and "GPL" in said and "django " not in said.lower()


def test_words_it_does_not_know_get_its_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["secret"], ["secrets", "--acept"], ["audit", "all"]):
        assert supply.main(words) == 2
        assert capsys.readouterr().out.startswith("usage: ")
