"""Pictures, speech and embeddings in Chromium, with our own broker and stand-ins: a wallet, money,
a key, and what comes back; then every state held to the rules of all pages."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, BrowserType, FilePayload, Page, expect

from devnet import accounts as cast
from devnet.deploy import Contracts
from inference.models import Chat, Turn
from ledger.models import SubAccount
from provider.answerer.app import AnswererApp
from provider.answerer.corpus import load
from provider.answerer.search import Index
from runner.chromium import chromium
from tests.browser import pagecheck
from tests.browser.wallet import Wallet, known, sign_in
from tests.live.provider_lab import ONE, ROOT, Broker, Lab, Person, served
from tests.pure import signals

PRICE, SECOND, TOKEN = 10**15, 10**13, 10**11
MAKE = "**/playground/images/make"


@pytest.fixture(scope="module")
def answerer() -> Iterator[str]:
    app = AnswererApp(Index(load(ROOT)), model="reader", rate=1000, key="upstream-secret")
    with served(app) as url:
        yield url + "/v1"


@pytest.fixture
def lab(contracts: Contracts, anvil: Any, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(contracts, anvil.url, tmp_path)
    yield made
    made.close()


def offered(lab: Lab, url: str, kind: str, price: int) -> Broker:
    """A broker at work, accepted by the owner, with 2 0G of the newcomer's."""
    service = {"type": kind, "input_price": price, "output_price": price}
    broker = Broker(lab, lab.person(), url, service=service).start()
    lab.acknowledge(broker.address)
    lab.fund(Person(cast.user(1)), broker.address, 2 * ONE)
    return broker


def listed(page: Page, url: str, provider: str) -> None:
    """Wait for the follower to know the provider and the money there."""
    for _ in range(100):
        if SubAccount.current.filter(provider=provider, acknowledged=True).exists():
            break
        page.wait_for_timeout(100)
    page.goto(f"{url}/services/inference/{provider}")


def make_key(page: Page) -> None:
    page.get_by_role("button", name="Make the key").click()


def test_pictures_from_a_service_to_a_verified_file(
    lab: Lab, answerer: str, index: None, asgi_server: str, wallet: Wallet, page: Page,
    errors: list[str],
) -> None:  # fmt: skip
    broker = offered(lab, answerer, "text-to-image", PRICE)
    known(page, asgi_server, wallet)
    listed(page, asgi_server, broker.address)
    page.get_by_role("link", name="Make a picture").first.click()
    expect(page.get_by_role("heading", name="No pictures yet")).to_be_visible()
    button = page.get_by_test_id("image-make")
    expect(button).to_have_text("Generate 1 – 0.001 0G")
    asks = """(list, price) => {
      list.selectedOptions[0].dataset.output = price;
      list.form.elements.count.dispatchEvent(new Event("change", { bubbles: true }));
    }"""
    for price, text in ((1_234_500 * PRICE, "1,234.5"), (PRICE, "0.001")):
        page.locator("#composer [name=provider]").evaluate(asks, str(price))
        expect(button).to_have_text(f"Generate 1 – {text} 0G")
    page.locator("[name=count]").select_option("2")
    expect(button).to_have_text("Generate 2 – 0.002 0G")
    page.locator("[name=size]").select_option("512x512")
    page.locator("[name=seed]").fill("7")
    page.get_by_test_id("image-prompt").fill("A harbour at dusk <b>with</b> boats")
    button.click()
    make_key(page)
    work = page.get_by_test_id("image-work")
    expect(work).to_have_attribute("data-state", "done", timeout=30_000)
    verdict = work.get_by_test_id("message-verdict")
    expect(verdict).to_have_attribute("data-verdict", "verified", timeout=15_000)
    expect(work.get_by_test_id("message-cost")).to_have_attribute("data-neuron", str(2 * PRICE))
    pictures = work.get_by_test_id("image-made")
    expect(pictures).to_have_count(2)
    assert pictures.first.evaluate("e => e.decode().then(() => e.naturalWidth)") == 512
    # the file that is downloaded is what was signed
    turn = Turn.objects.get()
    src = pictures.first.get_attribute("src") or ""
    data = page.request.get(asgi_server + src).body()
    assert hashlib.sha256(data).hexdigest() == turn.signed_response.split(",")[0]
    assert turn.job.remote, "a job of the provider's"
    # the form is as it was, to be changed and asked again
    expect(page.locator("[name=seed]")).to_have_value("7")
    work.get_by_role("heading").get_by_role("link").click()
    proof = page.locator(".proof")
    expect(proof).to_contain_text(turn.expected_signer)
    # Whoever reads it while the verdict is waited for, every two seconds, keeps their place.
    proof.locator("summary").click()
    page.evaluate(
        """() => htmx.ajax("GET", location.pathname,
             { target: "#whole", select: "#whole", swap: "outerHTML" })"""
    )
    expect(proof.locator("summary")).to_be_focused()
    expect(proof).to_have_attribute("open", "")
    pagecheck.sound(page, f"{asgi_server}/playground/images/{turn.chat_id}")

    # a part of it is changed: marked with the pointer, undone, marked with keys
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{asgi_server}/playground/images")
    # Where the picture does not come, its rectangle could not be marked, and all would be paid for.
    page.route(f"**{src}", lambda route: route.fulfill(body=""))
    page.get_by_role("link", name="Edit").first.click()
    expect(page.locator("[data-unusable]")).to_contain_text("could not be loaded")
    page.unroute(f"**{src}")
    page.reload()
    canvas = page.get_by_test_id("mask-canvas")
    expect(canvas).to_be_in_viewport()
    expect(canvas).to_be_visible()
    box = canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 60, steps=4)
    page.mouse.up()
    says = page.locator("[data-mask-says]")
    expect(says).to_contain_text("1 place is marked")
    page.get_by_role("button", name="Undo").click()
    expect(says).to_contain_text("Nothing is marked")
    expect(canvas).to_be_focused()  # Undo has nothing left to do
    for key in ("ArrowRight", "ArrowDown", "Shift+ArrowLeft", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("[name=mask]")).to_have_value("[[270,270,480,500]]")
    page.get_by_test_id("image-prompt").fill("night")
    page.locator("[name=count]").select_option("1")
    page.get_by_role("button", name="Change 1 – 0.001 0G").click()
    changed = page.get_by_test_id("image-work").first
    expect(changed.locator("[data-compare]")).to_be_visible(timeout=30_000)
    expect(changed.get_by_test_id("message-verdict")).to_have_attribute(
        "data-verdict", "verified", timeout=15_000
    )
    made = changed.get_by_test_id("image-made").get_attribute("src") or ""
    after = Image.open(io.BytesIO(page.request.get(asgi_server + made).body())).convert("RGB")
    before = Image.open(io.BytesIO(data)).convert("RGB")
    assert after.getpixel((10, 10)) == before.getpixel((10, 10))
    assert after.getpixel((256, 256)) != before.getpixel((256, 256))
    changed.get_by_role("slider").fill("0")
    edge = changed.locator("[data-compare] img").nth(1).evaluate("e => e.style.clipPath")
    assert edge == "inset(0px 0px 0px 0%)"
    pagecheck.sound(page, f"{asgi_server}/playground/images")

    # what is deleted can be brought back; the log has both requests
    page.get_by_test_id("image-work").first.get_by_role("button", name="Delete").click()
    expect(page.get_by_test_id("image-work")).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    expect(page).to_have_url(re.compile(r"/playground/images/[0-9a-f-]{36}$"))
    page.goto(f"{asgi_server}/playground/requests")
    expect(page.get_by_test_id("request-row")).to_have_count(2)
    expect(page.get_by_test_id("request-row").last).to_contain_text("2 pictures")
    # the provider's refusal has its own words
    page.goto(f"{asgi_server}/playground/images")
    page.locator("[name=output]").select_option("webp")
    page.get_by_test_id("image-prompt").fill("refused")
    page.get_by_test_id("image-make").click()
    failed = page.get_by_test_id("image-work").first
    expect(failed.locator(".ending")).to_contain_text("output_format must be png", timeout=20_000)
    pagecheck.sound(page, f"{asgi_server}/playground/images")
    # an answer is lost on its way: the same again is the same request, other words are another
    earlier = Turn.objects.count()
    page.goto(f"{asgi_server}/playground/images")
    page.get_by_test_id("image-prompt").fill("a lost harbour")
    page.route(MAKE, lambda route: [route.fetch(), route.fulfill(json={})], times=2)
    page.route(MAKE, lambda route: [route.fetch(), route.fulfill(status=502)], times=1)
    for said in ("This site does not answer just now (502).", *["The server answered 200."] * 2):
        with page.expect_response(MAKE):
            page.get_by_test_id("image-make").click()
        expect(page.get_by_text(said)).to_be_visible()
    errors.remove(next(text for text in errors if "status of 502" in text))
    assert Turn.objects.count() == earlier + 1
    page.get_by_test_id("image-prompt").fill("a found harbour")
    page.get_by_test_id("image-make").click()
    expect(page.get_by_test_id("image-work").first).to_contain_text("a found harbour")
    assert Turn.objects.count() == earlier + 2
    # what was chosen before the script came can be marked, too
    early = FilePayload(name="early.png", mimeType="image/png", buffer=data)
    with pagecheck.before_script(page, "images", f"{asgi_server}/playground/images"):
        page.locator("[data-editing] summary").click()
        page.get_by_test_id("image-upload").set_input_files(early)
    expect(page.get_by_test_id("mask-canvas")).to_be_visible()
    # What will be refused is said before anything is sent, and taken back with what is right.
    unusable = page.locator("[data-unusable]")
    expect(unusable).to_be_hidden()
    scan, heavy = b"II*\0" + bytes(64), data + bytes(10 << 20)
    for name, wrong in (("scan.tiff", scan), ("heavy.png", heavy), ("empty.png", b"")):
        file = FilePayload(name=name, mimeType="image/png", buffer=wrong)
        page.get_by_test_id("image-upload").set_input_files(file)
        expect(unusable).to_have_text(
            f"{name} cannot be used: bring a PNG, JPG or WEBP up to 10 MB."
        )
    page.get_by_test_id("image-upload").set_input_files(early)
    expect(unusable).to_be_hidden()


@pytest.fixture
def with_microphone(
    browser_type: BrowserType, contracts: Contracts, anvil: Any
) -> Iterator[BrowserContext]:
    """A browser whose microphone beeps once a second, and a wallet in it."""
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    browser = browser_type.launch(
        executable_path=chromium(),
        args=[*flags, "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required"],
    )
    context = browser.new_context()
    Wallet(cast.user(1), anvil.url).install(context)
    yield context
    browser.close()


READ_SLOWLY = """() => {
  const read = Blob.prototype.arrayBuffer;
  Blob.prototype.arrayBuffer = async function () {
    if (this.name === "slow.wav") await new Promise((goOn) => { window.goOn = goOn; });
    return read.call(this);
  };
}"""

ASK_SLOWLY = """() => {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  const said = new Promise((goOn) => { window.goOn = goOn; });
  window.streams = [];
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    await said;
    const stream = await ask(wanted);
    window.streams.push(stream);
    return stream;
  };
}"""


def test_speech_from_a_file_and_from_the_microphone(
    lab: Lab, answerer: str, index: None, asgi_server: str, with_microphone: BrowserContext,
    tmp_path: Path,
) -> None:  # fmt: skip
    broker = offered(lab, answerer, "speech-to-text", SECOND)
    page = with_microphone.new_page()
    seen: list[str] = []
    page.on("console", lambda m: seen.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: seen.append(str(e)))
    sign_in(page, asgi_server)
    listed(page, asgi_server, broker.address)
    with page.expect_response(re.compile("/playground/audio")) as opened:
        page.get_by_role("link", name="Transcribe").first.click()
    assert "microphone=(self)" in opened.value.headers["permissions-policy"]
    other = page.request.get(f"{asgi_server}/playground/images")
    assert "microphone=()" in other.headers["permissions-policy"]
    expect(page.get_by_role("heading", name="No transcripts yet")).to_be_visible()

    # a stereo file at another rate becomes what providers read, in the browser
    rate = 44_100
    samples = signals.keys("123", rate) + signals.silence(2, rate) + signals.keys("456", rate)
    path = tmp_path / "my call.wav"
    path.write_bytes(signals.wav(samples, rate, channels=2))
    (tmp_path / "slow.wav").write_bytes(signals.wav(signals.silence(5, rate), rate))
    page.evaluate(READ_SLOWLY)
    page.get_by_test_id("audio-file").set_input_files(tmp_path / "slow.wav")
    page.get_by_test_id("audio-file").set_input_files(path)
    expect(page.get_by_test_id("audio-preview")).to_be_visible()
    page.evaluate("window.goOn()")  # what was chosen last is what is sent, whichever is read first
    expect(page.locator("[data-listen-says]")).to_contain_text("as it will be sent: 0.1 MB")
    expect(page.get_by_test_id("audio-make")).to_have_text("Transcribe 0:03 – up to 0.00004 0G")
    page.locator("[name=words]").check()
    page.get_by_test_id("audio-make").click()
    make_key(page)
    transcript = page.get_by_test_id("transcript")
    expect(transcript).to_have_attribute("data-state", "done", timeout=30_000)
    expect(transcript.get_by_test_id("message-verdict")).to_have_attribute(
        "data-verdict", "verified", timeout=15_000
    )
    expect(page.get_by_role("heading", name="my call.wav")).to_be_visible()
    segments = page.get_by_test_id("segment")
    expect(segments).to_have_count(2)
    expect(segments.nth(1)).to_contain_text("4 5 6")
    segments.nth(1).click()
    expect(segments.nth(1)).to_have_attribute("aria-current", "true")
    player = page.get_by_test_id("audio-player")
    moved = player.evaluate("e => e.currentTime")
    assert moved >= float(segments.nth(1).get_attribute("data-at") or "0") > 2
    # so does each of its words, by pointer and by keys
    words = segments.nth(1).locator("[data-word]")
    expect(words).to_have_text(["4", "5", "6"])
    words.nth(2).click()
    expect(words.nth(2)).to_have_attribute("data-heard", "")
    player.evaluate("e => e.pause()")
    # Firefox 153 makes an <audio> that is an item of a grid 150 px high, empty but for its bar.
    assert player.evaluate("e => getComputedStyle(e.parentElement).display") == "block"
    segments.nth(0).focus()
    page.keyboard.press("ArrowRight")
    expect(segments.nth(0).locator("[data-word]").nth(2)).to_have_attribute("data-heard", "")
    # Whoever goes through it while the rest comes, every two seconds, keeps their place.
    page.evaluate(
        """() => htmx.ajax("GET", `${location.pathname}/body`,
             { target: "#transcript", swap: "outerHTML" })"""
    )
    expect(segments.nth(0)).to_be_focused()
    chat = Chat.objects.get()
    here = f"{asgi_server}/playground/audio/{chat.pk}"
    srt = page.request.get(f"{here}.srt").text()
    assert re.search(r"2\n00:00:02,\d{3} --> 00:00:\d\d,\d{3}\n.*4 5 6", srt)
    assert page.request.get(f"{here}.json").json()["requests"][0]["verdict"] == "verified"
    pagecheck.sound(page, here)

    # the microphone is asked on click only; what it heard is listened to before it is sent
    page.goto(f"{asgi_server}/playground/audio")
    page.evaluate(ASK_SLOWLY)
    page.get_by_test_id("audio-record").dblclick()
    page.evaluate("window.goOn()")
    expect(page.locator("[data-clock]")).to_contain_text("0:02 of 20:00", timeout=10_000)
    page.get_by_role("button", name="Stop recording").click()
    expect(page.get_by_test_id("audio-preview")).to_be_visible()
    # asked once, whoever presses twice, and let go again
    assert page.evaluate("window.streams.map((s) => s.getTracks()[0].readyState)") == ["ended"]
    expect(page.get_by_test_id("audio-make")).to_contain_text("Transcribe 0:0")
    # what the server refuses is not lost: the recording is there to be sent again
    key = page.locator("[name=key]")
    key.evaluate("e => { e.dataset.was = e.value; e.value = 'old'; }")
    page.get_by_test_id("audio-make").click()
    expect(page.get_by_text("This form is out of date.")).to_be_visible()
    expect(page.get_by_test_id("audio-preview")).to_be_visible()
    key.evaluate("e => { e.value = e.dataset.was; }")
    page.get_by_test_id("audio-make").click()
    expect(page.get_by_test_id("transcript")).to_have_attribute(
        "data-state", "done", timeout=30_000
    )
    assert Turn.objects.count() == 2 and Turn.objects.last().answer  # type: ignore[union-attr]

    # what is no sound is named before anything is sent
    bad = tmp_path / "notes.txt"
    bad.write_text("no sound")
    with pagecheck.before_script(page, "speech", f"{asgi_server}/playground/audio"):
        page.get_by_test_id("audio-file").set_input_files(bad)
    expect(page.locator("[data-listen-says]")).to_contain_text("notes.txt is not a sound")
    pagecheck.sound(page, f"{asgi_server}/playground/audio")
    refused = "Failed to load resource: the server responded with a status of 400 (Bad Request)"
    assert seen == [refused]


def test_embeddings_from_lines_to_a_matrix(
    lab: Lab, answerer: str, index: None, asgi_server: str, wallet: Wallet, page: Page,
    errors: list[str],
) -> None:  # fmt: skip
    broker = offered(lab, answerer, "embedding", TOKEN)
    listed(page, asgi_server, broker.address)
    page.get_by_role("link", name="Embed texts").click()
    button = page.get_by_test_id("embed-make")
    expect(button).to_have_text("Embed")
    # What a visitor wrote outlives the way to the wallet and back.
    written = page.get_by_test_id("embed-texts")
    written.fill("not lost")
    expect(button).to_contain_text("Embed 1 text")  # by the script, which must have come
    # What could not be asked is no price of what stands there now.
    page.route("**/embeddings/estimate*", lambda route: route.fulfill(body="busy"), times=1)
    written.fill("not lost, and longer")
    expect(button).to_have_text("Embed")
    written.fill("not lost")
    expect(button).to_contain_text("Embed 1 text")
    button.click()
    expect(page.get_by_role("dialog", name="Connect a wallet")).to_be_visible()
    place = page.url
    known(page, asgi_server, wallet)
    page.goto(place)
    expect(written).to_have_value("not lost")
    texts = ["The lighthouse keeper lit the lamp", "A keeper of a lighthouse", "Taxes are due <b>"]
    written.fill("\n\n".join(texts))
    most = (sum(map(len, texts)) + 3 * 4) * TOKEN
    said = f"{Decimal(most).scaleb(-18):f}".rstrip("0")
    expect(button).to_have_text(f"Embed 3 texts – up to {said} 0G")
    button.click()
    make_key(page)
    found = page.get_by_test_id("embedded")
    expect(found).to_have_attribute("data-state", "done", timeout=30_000)
    expect(found.get_by_test_id("message-verdict")).to_have_attribute(
        "data-verdict", "verified", timeout=15_000
    )
    expect(found.get_by_test_id("dimension")).to_have_text("dimension 256")
    turn = Turn.objects.get()
    tokens = turn.prompt_tokens
    assert tokens
    expect(found.get_by_test_id("message-cost")).to_have_attribute(
        "data-neuron", str(tokens * TOKEN)
    )
    # the two about the keeper are the closest, and the row says so in a number
    row = found.get_by_test_id("likeness").get_by_role("row").nth(1)
    expect(row.get_by_role("cell").last).to_have_text("2")
    here = f"{asgi_server}/playground/embeddings/{turn.chat_id}"
    table = page.request.get(f"{here}.csv").text().splitlines()
    assert len(table) == 4 and table[3].startswith("Taxes are due <b>,")
    pagecheck.sound(page, here)
    page.get_by_role("link", name="Use these texts again").click()
    expect(page.get_by_test_id("embed-texts")).to_have_value("\n".join(texts))
    expect(page.get_by_test_id("embed-make")).to_contain_text("Embed 3 texts – up to")
    pagecheck.sound(page, f"{asgi_server}/playground/embeddings")
