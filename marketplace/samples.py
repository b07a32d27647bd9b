"""Code a visitor can copy, with a service's live values. Pure.

URL and model are a stranger's words and end up in somebody's shell: every value is quoted by the
rules of the language it stands in, never pasted.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from marketplace import formats

KEY = "app-sk-..."


@dataclass(frozen=True)
class Snippet:
    label: str
    text: str


def snippets(service_type: str, url: str, model: str) -> tuple[Snippet, ...]:
    """curl, Python and JavaScript for an inference service; `url` is the provider's base URL,
    without slash."""
    base = f"{url}/v1/proxy"
    if service_type in formats.IMAGES:
        return _images(base, model)
    if service_type == formats.SPEECH:
        return _speech(base, model)
    return _chat(base, model)


def _literal(value: object) -> str:
    """A string that means the same in JSON, Python and JavaScript; ASCII only, so nothing hides in
    it."""
    return json.dumps(value, ensure_ascii=True)


def _python(base: str, call: str) -> Snippet:
    text = (
        "import os\nfrom openai import OpenAI\n\n"
        f'client = OpenAI(base_url={_literal(base)}, api_key=os.environ["ZG_KEY"])\n{call}'
    )
    return Snippet("Python", text)


def _javascript(base: str, call: str) -> Snippet:
    text = (
        'import OpenAI from "openai";\n\n'
        f"const client = new "
        f"OpenAI({{ baseURL: {_literal(base)}, apiKey: process.env.ZG_KEY }});\n{call}"
    )
    return Snippet("JavaScript", text)


def _curl(url: str, *arguments: str) -> Snippet:
    lines = [
        f"curl {shlex.quote(url)}",
        '  -H "Authorization: Bearer $ZG_KEY"',
        *(f"  {a}" for a in arguments),
    ]
    return Snippet("curl", " \\\n".join(lines))


def _json_body(value: object) -> tuple[str, str]:
    return "-H 'Content-Type: application/json'", f"-d {shlex.quote(_literal(value))}"


def _chat(base: str, model: str) -> tuple[Snippet, ...]:
    messages = [{"role": "user", "content": "Hello"}]
    body = {"model": model, "messages": messages, "max_tokens": 256}
    return (
        _curl(f"{base}/chat/completions", *_json_body(body)),
        _python(
            base,
            "answer = client.chat.completions.create(\n"
            f"    model={_literal(model)},\n    messages={_literal(messages)},\n    "
            f"max_tokens=256,\n)\n"
            "print(answer.choices[0].message.content)",
        ),
        _javascript(
            base,
            "const answer = await client.chat.completions.create({\n"
            f"  model: {_literal(model)},\n  messages: {_literal(messages)},\n  max_tokens: "
            f"256,\n}});\n"
            "console.log(answer.choices[0].message.content);",
        ),
    )


def _images(base: str, model: str) -> tuple[Snippet, ...]:
    body = {"model": model, "prompt": "A lighthouse at dusk", "n": 1, "response_format": "b64_json"}
    arguments = (
        f'model={_literal(model)}, prompt={_literal(body["prompt"])}, response_format="b64_json"'
    )
    return (
        _curl(f"{base}/images/generations", *_json_body(body)),
        _python(
            base, f"image = client.images.generate({arguments})\nprint(image.data[0].b64_json[:80])"
        ),
        _javascript(
            base,
            f"const image = await client.images.generate({_literal(body)});\n"
            "console.log(image.data[0].b64_json.slice(0, 80));",
        ),
    )


def _speech(base: str, model: str) -> tuple[Snippet, ...]:
    # --form-string: with -F a model called "@/etc/passwd" would upload that file.
    return (
        _curl(
            f"{base}/audio/transcriptions",
            "-F file=@speech.wav",
            f"--form-string {shlex.quote('model=' + model)}",
        ),
        _python(
            base,
            'with open("speech.wav", "rb") as audio:\n'
            f"    text = client.audio.transcriptions.create(model={_literal(model)}, "
            f"file=audio)\nprint(text.text)",
        ),
        _javascript(
            base,
            'import fs from "node:fs";\n'
            "const text = await client.audio.transcriptions.create({\n"
            f"  model: {_literal(model)},\n"
            '  file: fs.createReadStream("speech.wav"),\n});\nconsole.log(text.text);',
        ),
    )
