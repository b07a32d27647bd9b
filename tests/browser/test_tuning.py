"""Fine-tuning in a browser: dataset to decrypted adapter, with a broker that really trains."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from playwright.sync_api import Page, expect

from devnet import accounts as cast
from devnet.deploy import Contracts
from finetune import follow
from marketplace.celery import app as celery
from provider.smallmodel import MODEL_NAME, model_hash
from tests.browser.pagecheck import sound
from tests.browser.test_money import caught_up
from tests.browser.wallet import Wallet, sign_in
from tests.live.tuning_lab import SERVICE, STORAGE_FEE, Broker, TuningLab

ALICE = cast.user(1)
NEURON = 10**18
TOOL = Path(__file__).resolve().parent.parent.parent / "static/tools/zg-decrypt.py"


@pytest.fixture
def broker(contracts: Contracts, anvil: Any, tmp_path: Path) -> Iterator[Broker]:
    """A fine-tuning provider with the small model, without 0G storage."""
    lab = TuningLab(contracts, anvil.url, "", contracts.ledger.address, tmp_path)
    model = {
        "name": MODEL_NAME,
        "hash": model_hash(),
        "storage_fee": str(STORAGE_FEE),
        "executor": [sys.executable, "-m", "provider.smallmodel"],
        "description": "for tests",
    }
    yield lab.broker(models=[model], storage=None)
    lab.close()


@pytest.fixture
def worker() -> Iterator[None]:
    """What Celery's processes do beside the site."""
    celery.conf.task_always_eager = True
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.5):
            follow.look_at_due()
        connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(20)
    celery.conf.task_always_eager = False


def test_dataset_to_decrypted_adapter(
    asgi_server: str,
    index: None,
    broker: Broker,
    worker: None,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
    tmp_path: Path,
) -> None:
    contracts.ledger.send(ALICE, "depositFund", value=10 * NEURON)
    contracts.ledger.send(ALICE, "transferFund", broker.address, SERVICE, 2 * NEURON)
    caught_up(contracts)
    page.emulate_media(reduced_motion="reduce")
    sign_in(page, asgi_server)
    page.goto(f"{asgi_server}/fine-tuning")
    page.get_by_test_id("tuning-new").click()
    page.get_by_label(MODEL_NAME).check()
    page.get_by_test_id("wizard-next").click()
    # A file with problems is refused in the browser, by line; nothing is sent.
    field = page.get_by_test_id("dataset-file")
    bad = b'{"text": "a"}\n{"text": ""}\noops\n'
    field.set_input_files({"name": "bad.jsonl", "mimeType": "text/plain", "buffer": bad})
    expect(page.locator("[data-upload-problems] li")).to_have_text(
        ["line 2: text: is empty", "line 3: not valid JSON"]
    )
    rows = [
        {"instruction": f"What is thing {n}?", "output": f"Thing {n} is blue."} for n in range(24)
    ]
    good = "\n".join(json.dumps(row) for row in rows).encode()
    field.set_input_files({"name": "blue.jsonl", "mimeType": "text/plain", "buffer": good})
    page.get_by_test_id("dataset-send").click()
    row = page.get_by_test_id("dataset-row").filter(has_text="blue.jsonl")
    expect(row).to_have_attribute("data-state", "good")
    row.get_by_label("Use this one").check()
    page.get_by_test_id("wizard-next").click()
    page.get_by_label("Learning rate").fill("2e-4")
    page.get_by_test_id("wizard-next").click()
    expect(page.get_by_text("without an exponent")).to_be_visible()
    page.get_by_label("Learning rate").fill("0.001")
    page.get_by_label("Epochs").fill("2")
    page.get_by_test_id("wizard-next").click()
    expect(page.get_by_test_id("tuning-missing")).to_have_attribute("data-neuron", "0")
    draft = page.url.rsplit("/", 1)[0]
    for step in ("model", "dataset", "config", "price", "sign"):
        sound(page, f"{draft}/{step}", schemes=("light",) if step == "price" else ())
    page.get_by_test_id("tuning-send").click()
    expect(page.get_by_role("dialog")).to_contain_text("blue.jsonl")
    page.get_by_test_id("key-confirm").click()
    expect(page.get_by_text("The provider has the dataset.")).to_be_visible(timeout=20_000)
    page.get_by_test_id("tuning-create").click()
    expect(page.get_by_role("dialog")).to_contain_text("Settings (not signed)")
    page.get_by_test_id("key-confirm").click()
    progress = page.get_by_test_id("task-progress")
    expect(progress).to_have_attribute("data-progress", "Delivered", timeout=60_000)
    expect(page.get_by_test_id("deadline")).to_be_visible(timeout=20_000)
    expect(page.get_by_test_id("task-log")).to_contain_text("eval_loss")
    expect(page.get_by_test_id("loss-chart").get_by_role("heading")).to_contain_text("Loss")
    task = page.url
    sound(page, task)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_test_id("result-fetch").click()
    page.get_by_test_id("key-confirm").click()
    expect(page.get_by_text("hash and seal verified")).to_be_visible(timeout=20_000)
    with page.expect_download() as download:
        page.get_by_test_id("result-download").click()
    download.value.save_as(tmp_path / "in.bin")
    page.get_by_test_id("tx-confirm").click()
    expect(progress).to_have_attribute("data-progress", "Finished", timeout=60_000)
    page.goto(task)
    expect(page.get_by_role("link", name="Decrypt the file")).to_be_visible()
    told = {
        "rpc": wallet.rpc_url,
        "contract": contracts.fine_tuning.address,
        "provider": broker.address,
        "task": page.locator(".page-header .mono").first.inner_text(),
        "user": ALICE.address,
    }
    options = [part for name, value in told.items() for part in (f"--{name}", value)]
    done = subprocess.run(
        [sys.executable, TOOL, "--file", "in.bin", "--out", "model.zip", *options],
        cwd=tmp_path,
        env={"ZG_PRIVATE_KEY": bytes(ALICE.key).hex(), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "model.zip") as found:
        names = set(found.namelist())
    assert {
        "output_model/adapter_config.json",
        "output_model/adapter_model.safetensors",
    } <= names
    for path in ("/fine-tuning", "/fine-tuning/decrypt"):
        sound(page, f"{asgi_server}{path}")
