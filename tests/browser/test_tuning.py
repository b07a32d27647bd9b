"""Fine-tuning in a browser: dataset to decrypted adapter to chat, with a broker that really
trains."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from playwright.sync_api import Locator, Page, expect

from devnet.deploy import Contracts
from devnet.owner import acknowledge_signer
from finetune import tasks
from finetune.models import Place, PlaceState, Way
from marketplace.celery import app as celery
from protocol import datasets
from provider.smallmodel import MODEL_NAME
from tests.browser.money import ALICE, NEURON, caught_up
from tests.browser.pagecheck import inaccessible, sound
from tests.browser.wallet import Wallet, known
from tests.live import official_sdk
from tests.live.test_official_tuning import GARDEN, configs
from tests.live.tuning_lab import SERVICE

TOOL = Path(__file__).resolve().parent.parent.parent / "static/tools/zg-decrypt.py"


_NEWS = "document.dispatchEvent(new CustomEvent('tx:changed', {detail: {state: 'final'}}))"
_NEWS_WHILE_ASKED = f"""
(door) => {{
  const ask = window.fetch;
  window.fetch = (url, ...rest) => {{
    const tell = () => {{ sessionStorage.told = performance.timeOrigin; {_NEWS}; }};
    if (String(url).endsWith(door)) setTimeout(tell, 30);
    return ask(url, ...rest);
  }};
}}
"""


@dataclass(frozen=True)
class Town:
    """A storage, a fine-tuning provider, and the inference provider that it hands models to."""

    tuner: str
    server: str


@pytest.fixture
def town(contracts: Contracts, anvil: Any, tmp_path: Path, settings: Any) -> Iterator[Town]:
    run = official_sdk.python
    options = ("--rpc", anvil.url, "--data", str(tmp_path / "files"))
    with (
        run("devnet.storage", *options, log=tmp_path / "s", ready="storage READY") as stored,
        run("provider.smallmodel.serve", log=tmp_path / "m", ready="small model READY") as model,
    ):
        settings.STORAGE_INDEXER_URL = stored[2]
        files = configs(tmp_path, anvil.url, contracts, stored[2], model[3])
        server, tuner = (("--config", str(path)) for path in files)
        with (
            run("provider", *server, log=tmp_path / "i", ready="provider READY") as serving,
            run("provider", *tuner, log=tmp_path / "t", ready="provider READY") as tuning,
        ):
            acknowledge_signer(contracts, serving[3])
            acknowledge_signer(contracts, tuning[3], "fine-tuning")
            yield Town(tuning[3], serving[3])


@pytest.fixture
def worker() -> Iterator[None]:
    """What Celery's processes do beside the site."""
    celery.conf.task_always_eager = True
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.5):
            tasks.sweep()
        connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(20)
    celery.conf.task_always_eager = False


def test_dataset_to_decrypted_adapter_to_chat(
    asgi_server: str,
    index: None,
    town: Town,
    worker: None,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
    tmp_path: Path,
) -> None:
    contracts.ledger.send(ALICE, "depositFund", value=10 * NEURON)
    contracts.ledger.send(ALICE, "transferFund", town.tuner, SERVICE, 2 * NEURON)
    contracts.ledger.send(ALICE, "transferFund", town.server, "inference-v1.0", 3 * NEURON)
    caught_up(contracts)
    page.emulate_media(reduced_motion="reduce")
    known(page, asgi_server, wallet)
    page.goto(f"{asgi_server}/fine-tuning")
    page.get_by_test_id("tuning-new").click()
    page.get_by_label(MODEL_NAME).check()
    page.get_by_test_id("wizard-next").click()
    # A file with problems is refused in the browser, by line; nothing is sent.
    field = page.get_by_test_id("dataset-file")
    many = b'{"text": "a"}\n' + b"oops\n" * 101
    field.set_input_files({"name": "many.jsonl", "mimeType": "text/plain", "buffer": many})
    expect(page.locator("[data-upload-problems] li")).to_have_count(100)
    expect(page.locator("[data-upload-status]")).to_contain_text("Only the first 100 are listed.")
    page.locator("[data-upload-problems]").focus()
    expect(page.get_by_role("list", name="101 problems")).to_be_focused()
    bad = b'{"text": "a"}\n{"text": ""}\noops\n'
    field.set_input_files({"name": "bad.jsonl", "mimeType": "text/plain", "buffer": bad})
    expect(page.locator("[data-upload-problems] li")).to_have_text(
        ['line 2: text: is empty {"text": ""}', "line 3: not valid JSON oops"]
    )  # with how the line begins, so that one finds it
    # What would be refused here after the upload is refused there before it, and nothing else.
    odd = (
        b'{"instruction": "a", "input": null, "output": "b"}', b'{"text": "\\ud800"}',
        b'\xef\xbb\xbf{"text": "b"}', b"\xc2\xa0", b" \t\r", b'{"text": "a", "score": NaN}',
        b'{"text":"' + b"x" * (datasets.MAX_LINE_BYTES - 11) + b'"}',
    )  # fmt: skip
    report = datasets.Report()
    assert len(list(report.rows_of(line + b"\n" for line in odd))) == 1
    field.set_input_files(
        {"name": "odd.jsonl", "mimeType": "text/plain", "buffer": b"\n".join(odd) + b"\n"}
    )
    texts = [re.sub("^not valid JSON.*", "not valid JSON", one.text) for one in report.problems]
    begins = [
        odd[one.line - 1].decode(errors="replace").replace("\ufeff", " ") for one in report.problems
    ]
    begins = [line[:80] + "…" if len(line) > 80 else line.strip() for line in begins]
    expect(page.locator("[data-upload-problems] li")).to_have_text(
        [
            f"line {one.line}: {text} {line}".strip()
            for one, text, line in zip(report.problems, texts, begins, strict=True)
        ]
    )
    same = b'{"text": "a"}\n' * 20
    field.set_input_files({"name": "same.jsonl", "mimeType": "text/plain", "buffer": same})
    expect(page.locator("[data-upload-status]")).to_have_text(
        "20 good rows, about 20 tokens, no problems. 19 rows repeat an earlier one."
    )
    lesson = {**GARDEN, **{f"What is thing {n}?": f"Thing {n} is blue." for n in range(4)}}
    rows = [{"instruction": asked, "output": answer} for asked, answer in lesson.items()]
    good = "\n".join(json.dumps(row) for row in rows).encode()
    field.set_input_files({"name": "blue.jsonl", "mimeType": "text/plain", "buffer": good})

    # Lengths and first rows are shown before a byte is sent, and are those that are found here.
    def rows_of(place: Locator) -> list[str]:
        place.get_by_text("Lengths and first rows").click()
        return place.locator(".note.sample, tbody th, tbody td, dt, dd").all_inner_texts()

    held = rows_of(page.get_by_test_id("dataset-sample"))
    # Next would lose the file: once it says so, and the way on is under the finger.
    page.get_by_test_id("wizard-next").click()
    expect(page.locator("[data-upload-status]")).to_contain_text("is not uploaded yet")
    expect(page.get_by_test_id("dataset-send")).to_be_focused()
    page.get_by_test_id("dataset-send").click()
    row = page.get_by_test_id("dataset-row").filter(has_text="blue.jsonl")
    expect(row).to_have_attribute("data-state", "good")
    assert held[0].startswith("Tokens per row") and len(held) > 10
    assert rows_of(row)[: len(held)] == held
    expect(row.get_by_label("Use this one")).to_be_checked()  # it was brought for this
    page.get_by_test_id("wizard-next").click()
    page.get_by_label("Learning rate").fill("2e-4")
    page.get_by_test_id("wizard-next").click()
    expect(page.get_by_text("without an exponent")).to_be_visible()
    page.get_by_label("Learning rate").fill("0.001")
    page.get_by_label("Epochs").fill("10")
    page.get_by_label("Batch size").fill("1")
    page.get_by_label("NEFTune noise").fill("0")
    page.get_by_test_id("wizard-next").click()
    expect(page.get_by_test_id("tuning-missing")).to_have_attribute("data-neuron", "0")
    draft = page.url.rsplit("/", 1)[0]
    for step in ("model", "dataset", "config", "price", "sign"):
        sound(page, f"{draft}/{step}", schemes=("light",) if step == "price" else ())
    # A proxy's page in between ends nothing: the sending goes on, and the page asks again.
    page.route("**/sending", lambda route: route.fulfill(body="<p>"), times=1)
    page.get_by_test_id("tuning-send").click()
    expect(page.get_by_role("dialog")).to_contain_text("blue.jsonl")
    page.get_by_test_id("key-confirm").click()
    expect(page.get_by_text("The provider has the dataset.")).to_be_visible(timeout=20_000)
    page.wait_for_load_state("load")  # the page came anew, and its script after it
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
    expect(page.get_by_test_id("tx-confirm")).to_have_class(re.compile(r"\bprimary\b"))
    with page.expect_download() as download:
        page.get_by_test_id("result-download").click()
    download.value.save_as(tmp_path / "in.bin")
    page.get_by_test_id("tx-confirm").click()
    expect(progress).to_have_attribute("data-progress", "Finished", timeout=60_000)
    expect(page.get_by_role("link", name="Decrypt the file")).to_be_visible()
    told = {
        "rpc": wallet.rpc_url,
        "contract": contracts.fine_tuning.address,
        "provider": town.tuner,
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
    assert names == {
        "output_model/adapter_config.json",
        "output_model/adapter_model.safetensors",
        "output_model/tokenizer.json",
        "output_model/tokenizer_config.json",
    }
    # At the provider that serves the base model: deployed with a key of one signature. News that
    # come meanwhile do not cut the request off, and then the page loads itself anew.
    # (In every load of the page from here on: it may just be loading itself anew.)
    page.add_init_script(f"({_NEWS_WHILE_ASKED})('/deploy')")
    page.goto(task)
    expect(page.locator("#task")).to_have_attribute("data-busy", "no")  # for which it loads anew
    page.wait_for_load_state("load")
    # What is pressed just as the page loads itself anew is not lost with it.
    page.evaluate(f"{_NEWS}; document.querySelector('[data-deploy]').click()")
    expect(page.get_by_role("dialog")).to_contain_text(town.server)
    page.get_by_test_id("key-confirm").click()
    chat = page.get_by_test_id("deploy-chat")
    anew = "() => sessionStorage.told && sessionStorage.told != performance.timeOrigin"
    page.wait_for_function(anew)
    expect(chat).to_be_visible(timeout=60_000)
    sound(page, task)
    page.set_viewport_size({"width": 1280, "height": 900})
    chat.click()
    expect(page.get_by_test_id("chat-tuned")).to_be_checked()
    expect(page.get_by_test_id("chat-beside")).to_be_checked()
    asked, answer = next(iter(GARDEN.items()))
    page.get_by_test_id("chat-input").fill(asked)
    page.get_by_test_id("chat-send").click()
    tuned, base = (
        page.locator('[data-testid="chat-message"][data-role="assistant"]').nth(n) for n in (0, 1)
    )
    for column in (tuned, base):
        verdict = column.get_by_test_id("message-verdict")
        expect(verdict).to_have_attribute("data-verdict", "verified", timeout=30_000)
    expect(tuned.locator(".who")).to_contain_text(f"ft-{MODEL_NAME}")
    expect(tuned.locator(".prose")).to_contain_text(answer)
    expect(base.locator(".who")).to_contain_text(MODEL_NAME)
    expect(base.locator(".prose")).not_to_contain_text(answer)
    sound(page, page.url)
    # The same dataset into storage: reviewed, paid by the wallet, handed over by a worker.
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{asgi_server}/fine-tuning#datasets")
    expect(page.get_by_test_id("own-model")).to_contain_text(MODEL_NAME)
    page.get_by_role("link", name="Publish in 0G storage", exact=True).click()
    expect(page.get_by_test_id("tx-review")).to_be_visible()
    publishing = page.url
    sound(page, publishing)
    state = page.get_by_test_id("publish-state")
    wallet.reject.add("eth_sendTransaction")
    page.get_by_test_id("tx-confirm").click()
    expect(state).to_contain_text("You declined")
    wallet.reject.clear()
    # What the wallet has is looked at by itself.
    place = Place.objects.filter(way=Way.STORAGE)
    place.update(state=PlaceState.ASKING)
    other = page.context.new_page()
    other.clock.install()
    other.goto(publishing)
    expect(other.get_by_test_id("tx-confirm")).to_contain_text("ask again")
    place.update(state=PlaceState.FAILED)
    other.clock.fast_forward(15_000)
    expect(other.get_by_test_id("tx-confirm")).to_have_text("Confirm in wallet")
    other.close()
    page.get_by_test_id("tx-confirm").click()
    expect(state).to_have_attribute("data-state", "there", timeout=30_000)
    assert inaccessible(page) == []
    for path in ("/fine-tuning", "/fine-tuning/decrypt"):
        sound(page, f"{asgi_server}{path}")
    page.goto(f"{asgi_server}/services/fine-tuning/{town.tuner}/use")
    expect(page.get_by_role("link", name=f"Fine-tune {MODEL_NAME}")).to_be_visible()
    page.get_by_role("link", name="New fine-tuning").click()
    expect(page.get_by_role("radio", checked=True)).to_have_count(1)
    page.get_by_test_id("wizard-next").click()
    expect(page).to_have_url(re.compile(r"/fine-tuning/new/[0-9a-f-]+/dataset"))
    # A file that is not wanted after all holds Next once.
    page.get_by_test_id("dataset-file").set_input_files(
        {"name": "other.jsonl", "mimeType": "text/plain", "buffer": b'{"text": "a"}\n'}
    )
    status = page.locator("[data-upload-status]")
    expect(status).to_contain_text("1 good row")
    page.get_by_label("Use this one").first.check()
    page.get_by_test_id("wizard-next").click()
    expect(status).to_contain_text("Press Next once more")
    page.get_by_test_id("wizard-next").click()
    expect(page).to_have_url(re.compile(r"/fine-tuning/new/[0-9a-f-]+/config"))
    # News for a page that somebody is just leaving do not hold them back.
    page.goto(task)
    page.evaluate(f"addEventListener('beforeunload', () => setTimeout(() => {_NEWS}))")
    page.get_by_role("link", name="Decrypt the file").click()
    expect(page).to_have_url(re.compile(r"/fine-tuning/decrypt\?task="))
