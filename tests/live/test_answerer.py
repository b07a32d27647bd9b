"""The answerer as a process, asked by the OpenAI client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import requests
from openai.types.chat import (
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageFunctionToolCall,
    ChatCompletionUserMessageParam,
)

from provider.answerer.compose import tokens
from tests.forks import PROVIDER

ROOT = Path(__file__).resolve().parents[2]
QUESTION: ChatCompletionUserMessageParam = {
    "role": "user",
    "content": "How do refunds and the lock work?",
}
RATE = 200


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    arguments = ("--docs", str(ROOT), "--rate", str(RATE))
    process = PROVIDER.start(
        "provider.answerer", *arguments, env=os.environ, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    words = process.stdout.readline().split()
    assert words[:2] == ["answerer", "READY"] and int(words[3]) > 10
    yield words[2]
    process.send_signal(signal.SIGTERM)
    assert process.wait(2) == 0
    process.stdout.close()


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="none", base_url=url + "/v1") as made:
        yield made


def test_whole_and_streamed_answers_are_the_same(client: openai.OpenAI) -> None:
    model = client.models.list().data[0].id
    whole = client.chat.completions.create(model=model, messages=[QUESTION])
    text = whole.choices[0].message.content or ""
    assert text.startswith("*I quote this project’s documentation") and "\n> " in text
    assert whole.usage is not None and whole.usage.completion_tokens == len(tokens(text))
    started = time.monotonic()
    stream = client.chat.completions.create(
        model=model,
        messages=[QUESTION],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    pace = whole.usage.completion_tokens / (time.monotonic() - started)
    said = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert "".join(said) == text and len(said) == whole.usage.completion_tokens
    assert chunks[-1].usage == whole.usage
    assert pace < RATE * 1.1  # a human can follow; the lower bound is the machine's affair


def test_max_tokens_cuts_and_says_so(client: openai.OpenAI) -> None:
    cut = client.chat.completions.create(model="x", messages=[QUESTION], max_tokens=5)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage is not None and cut.usage.completion_tokens == 5


def test_what_is_asked_of_an_answers_form_is_done_or_refused(client: openai.OpenAI) -> None:
    """Never ignored: whoever asked for JSON or an end would take what came for it."""

    def said(**wanted: Any) -> str:
        made = client.chat.completions.create(model="x", messages=[QUESTION], **wanted)
        assert made.choices[0].finish_reason == "stop" and made.usage
        assert made.usage.completion_tokens == len(tokens(made.choices[0].message.content or ""))
        return made.choices[0].message.content or ""

    text = said(n=1, logprobs=False, response_format={"type": "text"}, stop=None)
    assert json.loads(said(response_format={"type": "json_object"})) == {"answer": text}
    assert said(stop="project") == text.partition("project")[0]
    assert said(stop=["\n\n", "project"]) == text.partition("project")[0]
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    for wanted in (
        {"n": 2}, {"logprobs": True}, {"response_format": schema}, {"response_format": "json"},
        {"stop": ["a"] * 5}, {"stop": [""]}, {"stop": 7},
    ):  # fmt: skip
        with pytest.raises(openai.BadRequestError, match=next(iter(wanted))):
            said(**wanted)


def test_functions_are_called_whole_and_streamed(client: openai.OpenAI) -> None:
    tool: ChatCompletionFunctionToolParam = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
        },
    }
    asked: ChatCompletionUserMessageParam = {"role": "user", "content": "get_weather in Bonn"}
    whole = client.chat.completions.create(model="x", messages=[asked], tools=[tool])
    call = (whole.choices[0].message.tool_calls or [])[0]
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.choices[0].message.content is None
    with client.chat.completions.stream(model="x", messages=[asked], tools=[tool]) as stream:
        streamed = stream.get_final_completion().choices[0]
    same = (streamed.message.tool_calls or [])[0]
    assert (same.function.name, same.function.arguments) == (
        call.function.name,
        call.function.arguments,
    )
    assert call.function.arguments == '{"town":"get_weather in Bonn"}'
    said = whole.choices[0].message.model_dump(exclude_none=True)
    given = {"role": "tool", "tool_call_id": call.id, "content": "12 degrees"}
    messages: Any = [asked, said, given]
    done = client.chat.completions.create(model="x", messages=messages, tools=[tool])
    assert "> 12 degrees" in (done.choices[0].message.content or "")
    with pytest.raises(openai.BadRequestError, match="result"):
        client.chat.completions.create(model="x", messages=[*messages[:2], asked])


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"messages":[1]}', b'{"messages":[],"max_tokens":-1}', b"\xff"]
)
def test_malformed_requests_get_an_openai_error(url: str, body: bytes) -> None:
    answer = requests.post(url + "/v1/chat/completions", data=body, timeout=10)
    assert answer.status_code == 400 and answer.json()["error"]["message"]
    assert requests.get(url + "/v1/nothing", timeout=10).status_code == 404
