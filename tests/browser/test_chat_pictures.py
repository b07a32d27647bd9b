"""Pictures in the questions of a chat, in Chromium."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

from inference.models import Chat, Turn
from ledger.models import Service
from tests import factories
from tests.browser import pagecheck
from tests.browser.test_chat_more import alice as alice
from tests.browser.test_chat_more import chat as chat
from tests.browser.test_chat_more import upstream as upstream
from tests.browser.test_chat_plain import BY_THE_CLOCK


def picture_file(folder: Path) -> Path:
    image = Image.effect_noise((1800, 1100), 50).convert("RGB")
    exif = image.getexif()
    exif[0x0110] = "SECRET CAMERA"
    path = folder / "picture.jpeg"
    image.save(path, exif=exif)
    return path


def test_pictures_in_a_question(alice: Page, asgi_server: str, chat: Chat, tmp_path: Path) -> None:
    """Chosen, removed, pasted, shown, sent; only where the provider says that its model looks."""
    alice.goto(f"{asgi_server}/playground/chat?provider={factories.PETRA}")
    expect(alice.locator("[data-attach]")).to_be_hidden()
    Service.objects.update(model="vision")
    alice.goto(f"{asgi_server}/playground/chat?provider={factories.PETRA}")
    expect(alice.locator("[data-attach]")).to_be_visible()
    chosen = alice.locator(".attach .pictures img")
    with pagecheck.before_script(alice, "chat", alice.url):
        alice.get_by_test_id("chat-pictures").set_input_files(picture_file(tmp_path))
    expect(chosen).to_have_count(1, timeout=15_000)
    # One that a network swallows is not read for ever, which would keep Send from sending.
    alice.clock.install()
    alice.evaluate(BY_THE_CLOCK)
    alice.route("**/pictures", lambda route: None, times=1)
    with alice.expect_request("**/pictures"):
        alice.get_by_test_id("chat-pictures").set_input_files(picture_file(tmp_path))
    alice.clock.fast_forward(120_000)
    expect(alice.locator("[data-error]")).to_contain_text("cannot reach the server")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"<svg onload=alert(1)>")
    alice.get_by_test_id("chat-pictures").set_input_files(bad)
    expect(alice.locator("[data-error]")).to_contain_text("SVG")
    # Where nobody could say what its model takes, it is not said to take no pictures.
    alice.route("**/able*", lambda route: route.fulfill(status=400), times=1)
    with alice.expect_response("**/able*"):
        alice.get_by_test_id("chat-provider").dispatch_event("change")
    alice.evaluate(
        """async () => {
          const canvas = new OffscreenCanvas(300, 200);
          canvas.getContext('2d').fillRect(20, 20, 90, 90);
          const data = new DataTransfer();
          const blob = await canvas.convertToBlob();
          data.items.add(new File([blob], 'pasted.png', { type: 'image/png' }));
          document.getElementById('chat-input').dispatchEvent(
            new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
        }"""
    )
    expect(chosen).to_have_count(2)
    # A cell of a table comes with a picture of itself, and is text; a dropped file never takes
    # the place of the page.
    kept = alice.evaluate(
        """() => {
          const given = (text, file) => {
            const data = new DataTransfer();
            if (text) data.setData('text/plain', text);
            data.items.add(file);
            return data;
          };
          const fire = (event) => document.getElementById('chat-input').dispatchEvent(event);
          const more = { bubbles: true, cancelable: true };
          const picture = new File(['x'], 'cell.png', { type: 'image/png' });
          const text = new File(['x'], 'notes.txt', { type: 'text/plain' });
          return [
            fire(new ClipboardEvent('paste', { clipboardData: given('42', picture), ...more })),
            fire(new DragEvent('drop', { dataTransfer: given('', text), ...more })),
          ];
        }"""
    )
    assert kept == [True, False]
    expect(alice.locator("[data-error]")).to_contain_text("What was dropped is no picture.")
    alice.get_by_test_id("chat-input").fill("What do you see?")
    expect(alice.get_by_test_id("chat-estimate")).to_contain_text("2 pictures included")
    # Safari says of the Enter that ends a composition only that an input method had it.
    assert alice.get_by_test_id("chat-input").evaluate(
        """e => e.dispatchEvent(new KeyboardEvent("keydown",
             { key: "Enter", keyCode: 229, bubbles: true, cancelable: true }))"""
    )
    alice.get_by_role("button", name="Remove Picture 300 by 200").click()
    expect(chosen).to_have_count(1)
    alice.locator(".settings > summary").click()
    expect(alice.locator("[data-untaken]")).to_contain_text(
        "does not take: top p, seed, JSON, functions, which function is called"
    )
    alice.get_by_test_id("chat-send").click()
    expect(alice.get_by_test_id("message-verdict")).to_have_attribute("data-verdict", "verified")
    expect(chosen).to_have_count(0)
    shown = alice.locator(".turn .pictures img")
    expect(shown).to_have_count(1)
    assert shown.evaluate("e => e.complete && e.naturalWidth") == 1536
    turn = Turn.objects.select_related("chat").get()
    (words, sent) = json.loads(turn.request)["messages"][0]["content"]
    assert words["text"] == "What do you see?"
    assert b"SECRET" not in base64.b64decode(sent["image_url"]["url"].partition(",")[2])
    alice.reload()
    expect(shown).to_have_count(1)
    pagecheck.sound(alice, alice.url)
    alice.get_by_role("button", name="Regenerate").click()
    expect(alice.get_by_test_id("chat-version")).to_have_text("2/2")
    expect(shown).to_have_count(1)
    # an edited question shows what goes along again, and takes it away
    alice.get_by_role("link", name="Edit", exact=True).click()
    expect(chosen).to_have_count(1)
    alice.get_by_role("button", name=re.compile("Remove Picture .* of the first version")).click()
    expect(chosen).to_have_count(0)
    alice.get_by_test_id("chat-send").click()
    expect(alice.get_by_test_id("chat-version")).to_have_text("3/3")
    expect(shown).to_have_count(0)
    alice.get_by_role("button", name="Version before").click()
    expect(alice.get_by_test_id("chat-version")).to_have_text("2/3")
    alice.get_by_role("link", name="Inspect").click()
    expect(alice.locator(".code").first).to_contain_text("data:image/jpeg;base64,…")
    pagecheck.sound(alice, alice.url, schemes=("light",))
