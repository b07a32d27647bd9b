"""Code a visitor can copy, with a service's live values. Pure.

URL and model are a stranger's words and end up in somebody's shell: every value is quoted by the
rules of the language it stands in, never pasted.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from django.utils.translation import gettext as _

from marketplace import formats
from protocol.fees import EMBEDDING

#: Environment variables of the samples: a personal token, a provider key.
TOKEN, KEY = "ZGM_TOKEN", "ZG_KEY"
#: The type that changes a picture it is given.
EDITING = "image-editing"
_CHANGE = "Make it night"


@dataclass(frozen=True)
class Snippet:
    label: str
    text: str


@dataclass(frozen=True)
class To:
    """Where a sample points: the OpenAI base URL, the variable with the secret, the model's name
    there."""

    base: str
    key: str
    model: str


def relayed(service_type: str, site: str, model: str, provider: str) -> tuple[Snippet, ...]:
    """curl, Python and JavaScript through this site's relay; `site` is its URL, without slash."""
    return _snippets(service_type, To(f"{site}/v1", TOKEN, f"{model}@{provider}"))


def direct(service_type: str, url: str, model: str, provider: str) -> tuple[Snippet, ...]:
    """curl, Python, JavaScript and the official SDK for an inference service; `url` is the
    provider's base URL, without slash."""
    found = _snippets(service_type, To(f"{url}/v1/proxy", KEY, model))
    return (*found, _sdk(service_type, model, provider))


def _snippets(service_type: str, to: To) -> tuple[Snippet, ...]:
    if service_type == EDITING:
        return _edits(to)
    if service_type in formats.IMAGES:
        return _images(to)
    if service_type == formats.SPEECH:
        return _speech(to)
    if service_type == EMBEDDING:
        return _embeddings(to)
    return _chat(to)


def _literal(value: object) -> str:
    """A string that means the same in JSON, Python and JavaScript; ASCII only, so nothing hides in
    it."""
    return json.dumps(value, ensure_ascii=True)


def _python(to: To, call: str) -> Snippet:
    text = (
        "import os\nfrom openai import OpenAI\n\n"
        f'client = OpenAI(base_url={_literal(to.base)}, api_key=os.environ["{to.key}"])\n{call}'
    )
    return Snippet("Python", text)


def _javascript(to: To, call: str) -> Snippet:
    text = (
        'import OpenAI from "openai";\n\n'
        f"const client = new "
        f"OpenAI({{ baseURL: {_literal(to.base)}, apiKey: process.env.{to.key} }});\n{call}"
    )
    return Snippet("JavaScript", text)


def _curl(to: To, path: str, *arguments: str) -> Snippet:
    lines = [
        f"curl {shlex.quote(to.base + path)}",
        f'  -H "Authorization: Bearer ${to.key}"',
        *(f"  {a}" for a in arguments),
    ]
    return Snippet("curl", " \\\n".join(lines))


def _json_body(value: object) -> tuple[str, str]:
    return "-H 'Content-Type: application/json'", f"-d {shlex.quote(_literal(value))}"


def _chat_body(model: str) -> dict[str, object]:
    messages = [{"role": "user", "content": "Hello"}]
    return {"model": model, "messages": messages, "max_tokens": 256}


def _embedding_body(model: str) -> dict[str, object]:
    return {"model": model, "input": ["Hello!", "Good day!"]}


def _image_body(model: str) -> dict[str, object]:
    return {
        "model": model,
        "prompt": "A lighthouse at dusk",
        "n": 1,
        "response_format": "b64_json",
    }


def _chat(to: To) -> tuple[Snippet, ...]:
    body = _chat_body(to.model)
    messages = body["messages"]
    return (
        _curl(to, "/chat/completions", *_json_body(body)),
        _python(
            to,
            "answer = client.chat.completions.create(\n"
            f"    model={_literal(to.model)},\n    messages={_literal(messages)},\n    "
            f"max_tokens=256,\n)\n"
            "print(answer.choices[0].message.content)",
        ),
        _javascript(
            to,
            "const answer = await client.chat.completions.create({\n"
            f"  model: {_literal(to.model)},\n  messages: {_literal(messages)},\n  max_tokens: "
            f"256,\n}});\n"
            "console.log(answer.choices[0].message.content);",
        ),
    )


def _images(to: To) -> tuple[Snippet, ...]:
    body = _image_body(to.model)
    arguments = (
        f'model={_literal(to.model)}, prompt={_literal(body["prompt"])}, response_format="b64_json"'
    )
    return (
        _curl(to, "/images/generations", *_json_body(body)),
        _python(
            to, f"image = client.images.generate({arguments})\nprint(image.data[0].b64_json[:80])"
        ),
        _javascript(
            to,
            f"const image = await client.images.generate({_literal(body)});\n"
            "console.log(image.data[0].b64_json.slice(0, 80));",
        ),
    )


def _edits(to: To) -> tuple[Snippet, ...]:
    return (
        _curl(
            to,
            "/images/edits",
            "-F image=@picture.png",
            f"--form-string {shlex.quote('model=' + to.model)}",
            f"--form-string {shlex.quote('prompt=' + _CHANGE)}",
            "--form-string response_format=b64_json",
        ),
        _python(
            to,
            'with open("picture.png", "rb") as picture:\n'
            f"    image = client.images.edit(model={_literal(to.model)}, image=picture, "
            f'prompt={_literal(_CHANGE)}, response_format="b64_json")\n'
            "print(image.data[0].b64_json[:80])",
        ),
        _javascript(
            to,
            'import fs from "node:fs";\nimport { toFile } from "openai";\n'
            'const picture = fs.createReadStream("picture.png");\n'
            "const image = await client.images.edit({\n"
            f"  model: {_literal(to.model)},\n  prompt: {_literal(_CHANGE)},\n"
            '  image: await toFile(picture, "picture.png", { type: "image/png" }),\n'
            '  response_format: "b64_json",\n});\n'
            "console.log(image.data[0].b64_json.slice(0, 80));",
        ),
    )


def _speech(to: To) -> tuple[Snippet, ...]:
    # --form-string: with -F a model called "@/etc/passwd" would upload that file.
    return (
        _curl(
            to,
            "/audio/transcriptions",
            "-F file=@speech.wav",
            f"--form-string {shlex.quote('model=' + to.model)}",
        ),
        _python(
            to,
            'with open("speech.wav", "rb") as audio:\n'
            f"    text = client.audio.transcriptions.create(model={_literal(to.model)}, "
            f"file=audio)\nprint(text.text)",
        ),
        _javascript(
            to,
            'import fs from "node:fs";\n'
            "const text = await client.audio.transcriptions.create({\n"
            f"  model: {_literal(to.model)},\n"
            '  file: fs.createReadStream("speech.wav"),\n});\nconsole.log(text.text);',
        ),
    )


def _embeddings(to: To) -> tuple[Snippet, ...]:
    body = _embedding_body(to.model)
    arguments = f"model={_literal(to.model)}, input={_literal(body['input'])}"
    return (
        _curl(to, "/embeddings", *_json_body(body)),
        _python(
            to,
            f"answer = client.embeddings.create({arguments})\nprint(answer.data[0].embedding[:8])",
        ),
        _javascript(
            to,
            f"const answer = await client.embeddings.create({_literal(body)});\n"
            "console.log(answer.data[0].embedding.slice(0, 8));",
        ),
    )


def _sdk(service_type: str, model: str, provider: str) -> Snippet:
    """The official SDK (0.9): it makes the key from a wallet's secret, and checks who signed."""
    speech, editing = service_type == formats.SPEECH, service_type == EDITING
    head = (
        ('import fs from "node:fs";\n' if speech or editing else "")
        + 'import { ethers } from "ethers";\n'
        'import { createZGComputeNetworkBroker } from "@0gfoundation/0g-compute-ts-sdk";\n\n'
        "const node = new ethers.JsonRpcProvider(process.env.RPC_URL);\n"
        "const wallet = new ethers.Wallet(process.env.PRIVATE_KEY, node);\n"
        "const broker = await createZGComputeNetworkBroker(wallet);\n"
        f"const provider = {_literal(provider)};\n"
        "const { endpoint } = await broker.inference.getServiceMetadata(provider);\n"
        "const headers = await broker.inference.getRequestHeaders(provider);\n"
    )
    if speech:
        call = (
            "const form = new FormData();\n"
            f'form.append("model", {_literal(model)});\n'
            'form.append("file", new Blob([fs.readFileSync("speech.wav")]), "speech.wav");\n'
            "const answer = await fetch(`${endpoint}/audio/transcriptions`, "
            '{ method: "POST", headers, body: form });\nconsole.log((await answer.json()).text);'
        )
        return Snippet(_("Official SDK"), head + call)
    signed = (
        "\n// true: signed by the key that the chain names; what was signed it does not compare\n"
        'const id = answer.headers.get("ZG-Res-Key");\n'
        "console.log(await broker.inference.processResponse(provider, id));"
    )
    if editing:
        call = (
            "const form = new FormData();\n"
            f'form.append("model", {_literal(model)});\n'
            f'form.append("prompt", {_literal(_CHANGE)});\n'
            'form.append("response_format", "b64_json");\n'
            'const picture = new Blob([fs.readFileSync("picture.png")], { type: "image/png" });\n'
            'form.append("image", picture, "picture.png");\n'
            "const answer = await fetch(`${endpoint}/images/edits`, "
            '{ method: "POST", headers, body: form });\n'
            "console.log((await answer.json()).data[0].b64_json.slice(0, 80));"
        )
        return Snippet(_("Official SDK"), head + call + signed)
    path, body = "chat/completions", _chat_body(model)
    if service_type in formats.IMAGES:
        path, body = "images/generations", _image_body(model)
    if service_type == EMBEDDING:
        path, body = "embeddings", _embedding_body(model)
    call = (
        f"const answer = await fetch(`${{endpoint}}/{path}`, {{\n"
        '  method: "POST",\n  headers: { "Content-Type": "application/json", ...headers },\n'
        f"  body: JSON.stringify({_literal(body)}),\n}});\n"
        "console.log(await answer.json());"
    )
    if service_type == EMBEDDING:
        return Snippet(_("Official SDK"), head + call)  # it knows no rule for these answers
    return Snippet(_("Official SDK"), head + call + signed)
