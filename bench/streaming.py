"""Streaming: what our websocket and our relay add to a provider's stream, beside a bare ASGI path
that parses and hashes, the provider itself, and LiteLLM's proxy; same run, same upstream.

Tokens a second are counted from the moment when all streams of a run are open to its last token,
with an upstream that then sends as fast as it can. Beside it stands the processor time that the
path's own process spent on a token, which hardly depends on what else the machine does. The time
to the first token is measured with requests one after another, and with 200 streams of 20 tokens a
second that begin at random moments of ten seconds. Each path runs in one process; the load has its
own. The crowd is also sent to a web process for each core, as docs/deploy.md begins with.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.measure import Result
from bench.site import child, served
from runner.processes import free_port

ROOT = Path(__file__).resolve().parent.parent
LITELLM = ROOT / ".data" / "bench-litellm"
VERSION = "1.106.2"
PACKAGE = f"litellm[proxy]=={VERSION}"
PARTS = ("speed", "waits", "memory")
STREAMS = (1, 50, 200)
#: Long answers, so that opening and ending them counts little; that is measured apart.
TOKENS = {1: 30_000, 50: 8_000, 200: 4_000}
#: LiteLLM is some fifty times slower: as long a run, not as long an answer.
LITELLM_TOKENS = {1: 1_000, 50: 60, 200: 20}
RATE, SPREAD_SECONDS, STEADY_SECONDS = 20, 10, 14
STALLED, STALLED_TOKENS = 20, 60_000
MIB = 1 << 20


@dataclass(frozen=True)
class Path_:
    """A way to the upstream: `requests(count, text, tokens)` makes what the load sends. `process`
    serves the first of the ports.
    """

    name: str
    kind: str
    ports: tuple[int, ...]
    path: str
    requests: Callable[[int, str, int], list[Any]]
    process: psutil.Process


def streaming(arguments: Sequence[str]) -> list[Result]:
    parser = argparse.ArgumentParser(prog="./run bench streaming")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each measurement")
    parser.add_argument("--without-litellm", action="store_true")
    parser.add_argument("--part", choices=PARTS, action="append", help="measure this only")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        paths, site = _paths(stack, litellm=not options.without_litellm)
        wanted = options.part or PARTS
        results = _speeds(paths, options.repeats) if "speed" in wanted else []
        results += _waits(paths, options.repeats) if "waits" in wanted else []
        results += _stalled(paths, site) if "memory" in wanted else []
    return results


# --- the paths ------------------------------------------------------------------------------------


def _paths(stack: ExitStack, *, litellm: bool) -> tuple[dict[str, Path_], psutil.Process]:
    from bench import rows, stream_world

    upstream, source = stack.enter_context(_app("upstream"))
    base = f"http://127.0.0.1:{upstream}"
    chat = f"{base}/v1/proxy/chat/completions"
    bare, beside = stack.enter_context(_app("bare", BENCH_UPSTREAM=chat))
    world = stream_world.build(base)
    port, pid = stack.enter_context(served(os.environ["DATABASE_URL"]))
    second, _ = stack.enter_context(served(os.environ["DATABASE_URL"]))
    site = psutil.Process(pid)

    def plain(headers: Callable[[int], dict[str, str]], model: str) -> Any:
        def requests(count: int, text: str, tokens: int) -> list[Any]:
            message = {"role": "user", "content": text}
            body = {
                "model": model,
                "messages": [message],
                "max_tokens": tokens,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            return [{"headers": headers(i), "body": body} for i in range(count)]

        return requests

    def programs(number: int) -> dict[str, str]:
        secret = world.secrets[number % len(world.secrets)]
        return {"Authorization": f"Bearer {secret}", "X-Provider": rows.PROVIDER}

    def pages(count: int, text: str, tokens: int) -> list[Any]:
        return stream_world.requests_of_chats(world, count, text, tokens)

    model = stream_world.MODEL
    v1 = "/v1/chat/completions"
    found = [
        Path_(
            "direct", "sse", (upstream,), "/v1/proxy/chat/completions", plain(_none, model), source
        ),
        Path_("bare", "sse", (bare,), "/bare", plain(_none, model), beside),
        Path_("websocket", "ws", (port, second), "", pages, site),
        Path_("relay", "sse", (port, second), v1, plain(programs, model), site),
    ]
    if litellm:
        proxy, key, process = stack.enter_context(_litellm(base))
        headers = {"Authorization": key}
        found.append(
            Path_("litellm", "sse", (proxy,), v1, plain(lambda _: headers, "bench"), process)
        )
    return {path.name: path for path in found}, site


def _none(number: int) -> dict[str, str]:
    return {}


@contextmanager
def _app(name: str, **environment: str) -> Iterator[tuple[int, psutil.Process]]:
    """One of `bench.stream_apps` on uvicorn; its port."""
    port = free_port()
    command = ["-m", "uvicorn", f"bench.stream_apps:{name}", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--log-level", "error", "--lifespan", "off"]
    with child(command, **environment) as process:
        _until_open(port)
        yield port, psutil.Process(process.pid)


@contextmanager
def _litellm(upstream: str) -> Iterator[tuple[int, str, psutil.Process]]:
    """LiteLLM's proxy, one worker, from an environment of its own; port and `Authorization`."""
    python = LITELLM / "bin" / "python"
    if not (LITELLM / "bin" / "litellm").exists():
        print(f"installing {PACKAGE} into .data (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(LITELLM)], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", PACKAGE], check=True)
    port, key = free_port(), "sk-bench-master"
    model = {"model": "openai/bench", "api_base": f"{upstream}/v1/proxy", "api_key": "x"}
    config = LITELLM / "bench.json"
    config.write_text(
        json.dumps({"model_list": [{"model_name": "bench", "litellm_params": model}]})
    )
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")},
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOG": "ERROR",
        "NO_PROXY": "127.0.0.1",
    }
    command = [str(LITELLM / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    with subprocess.Popen(
        command, env=environment, cwd=LITELLM, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _until_open(port, seconds=120)
            yield port, f"Bearer {key}", psutil.Process(process.pid)
        finally:
            process.terminate()


def _until_open(port: int, seconds: float = 30) -> None:
    import socket

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port}")


# --- measuring ------------------------------------------------------------------------------------


_runs = itertools.count(1)


def _load(
    path: Path_,
    count: int,
    tokens: int,
    rate: int = 0,
    *,
    together: bool = False,
    processes: int = 1,
    **plan: Any,
) -> dict[str, float]:
    """One run of the load, its streams in turn to so many `processes` of the path; `together`: one
    token each comes before all are open.
    """
    text = f"n={tokens} rate={rate} of={count if together else 1} run={next(_runs)}"
    given = {
        "kind": path.kind,
        "ports": path.ports[:processes],
        "path": path.path,
        "tokens": tokens,
        "requests": path.requests(count, text, tokens),
        **plan,
    }
    before = _processor(path.process)
    done = subprocess.run(
        [sys.executable, "-m", "bench.stream_load"],
        input=json.dumps(given).encode(),
        stdout=subprocess.PIPE,
        timeout=300,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    found["processor"] = (_processor(path.process) - before) / (count * tokens) * 1e6
    return found


def _processor(process: psutil.Process) -> float:
    """Seconds of processor time that a process has used."""
    used = process.cpu_times()
    return float(used.user + used.system)


def _speeds(paths: dict[str, Path_], repeats: int) -> list[Result]:
    """Tokens a second, as fast as they come; paths in turn, the median of the ratios' parts."""
    for path in paths.values():
        _load(path, 2, 20)
    results = []
    for count in STREAMS:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in paths}
        for _ in range(repeats):
            for name, path in paths.items():
                tokens = (LITELLM_TOKENS if name == "litellm" else TOKENS)[count]
                found[name].append(_load(path, count, tokens, together=True))
        speed = {n: statistics.median(run["steady"] for run in x) for n, x in found.items()}
        spent = {n: statistics.median(run["processor"] for run in x) for n, x in found.items()}
        what = f"streaming: tokens/s, {count} streams"
        results.append(
            Result(f"{what}, bare", "direct to the upstream", "/s", speed["bare"],
                   speed["direct"], "told, not a goal")
        )  # fmt: skip
        for name, goal in (("websocket", 0.5), ("relay", 0.6)):
            ours = speed[name]
            results.append(
                Result(f"{what}, {name}", "bare ASGI: parse and hash", "/s", ours, speed["bare"],
                       f">= {goal:g}", ours / speed["bare"] >= goal)
            )  # fmt: skip
            results.append(
                Result(f"{what.replace('tokens/s', 'processor per token')}, {name}",
                       "bare ASGI: parse and hash", "us", spent[name], spent["bare"],
                       "told, not a goal")
            )  # fmt: skip
            if "litellm" in speed:
                results.append(
                    Result(f"{what}, {name}", f"LiteLLM proxy {VERSION}", "/s", ours,
                           speed["litellm"], ">= 20", ours / speed["litellm"] >= 20)
                )  # fmt: skip
        _say(results)
    return results


def _waits(paths: dict[str, Path_], repeats: int) -> list[Result]:
    """Milliseconds to the first token: one after another, and among 200 streams."""
    results = []
    found: dict[str, list[dict[str, float]]] = {name: [] for name in paths}
    for _ in range(repeats):
        for name, path in paths.items():
            found[name].append(_load(path, 60, 5, sequential=True))
    results += _added("one after another", found, "p50", 2.0)
    crowd: dict[str, list[dict[str, float]]] = {}
    shared: dict[str, list[dict[str, float]]] = {}
    for name, path in paths.items():
        if name == "litellm":
            continue  # 200 x 20 tokens a second is more than it can carry (stack.md 5)
        tokens = RATE * STEADY_SECONDS
        crowd[name] = [_load(path, 200, tokens, RATE, spread=SPREAD_SECONDS)]
        if len(path.ports) > 1:
            two = _load(path, 200, tokens, RATE, spread=SPREAD_SECONDS, processes=2)
            shared[name] = [two]
    for name in shared:
        results.append(
            Result(f"streaming: processor per token, 200 streams of {RATE}/s, {name}",
                   "bare ASGI: parse and hash", "us", crowd[name][0]["processor"],
                   crowd["bare"][0]["processor"], "told, not a goal")
        )  # fmt: skip
    results += _added("200 streams", crowd, "p50", 2.0)
    results += _added("200 streams", crowd, "p95", 12.0)
    shared["direct"] = crowd["direct"]
    results += _added("200 streams in two web processes", shared, "p50", 2.0)
    results += _added("200 streams in two web processes", shared, "p95", 12.0)
    return results


def _added(
    what: str, found: dict[str, list[dict[str, float]]], which: str, goal: float
) -> list[Result]:
    waits = {n: statistics.median(run[which] for run in runs) for n, runs in found.items()}
    results = [
        Result(
            f"streaming: first token, {what}, {which}, {name}", "direct to the upstream", "ms",
            waits[name], waits["direct"],
            "told, not a goal" if name in ("bare", "litellm") else f"<= +{goal:g} ms",
            None if name in ("bare", "litellm") else waits[name] - waits["direct"] <= goal,
        )
        for name in waits if name != "direct"
    ]  # fmt: skip
    _say(results)
    return results


def _stalled(paths: dict[str, Path_], site: psutil.Process) -> list[Result]:
    """Memory of the site while readers of the relay do not read: kept small by not reading on."""
    import socket

    path = paths["relay"]
    text = f"n={STALLED_TOKENS} rate=0 of=1 run={next(_runs)}"
    before = site.memory_info().rss
    links = []
    for request in path.requests(STALLED, text, STALLED_TOKENS):
        link = socket.create_connection(("127.0.0.1", path.ports[0]))
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        body = json.dumps(request["body"]).encode()
        head = f"POST {path.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        more = "".join(f"{n}: {v}\r\n" for n, v in request["headers"].items())
        link.sendall((head + more + "\r\n").encode() + body)
        links.append(link)
    time.sleep(4)
    first = site.memory_info().rss
    time.sleep(4)
    last = site.memory_info().rss
    for link in links:
        link.close()
    held = (last - before) / MIB
    sent = STALLED * STALLED_TOKENS * 150 / MIB
    return [
        Result(
            f"streaming: memory held for {STALLED} readers that do not read", "what is waiting",
            "MiB", max(held, 0.01), sent, "< 1 a reader, and flat",
            held < STALLED and last - first < MIB,
        )
    ]  # fmt: skip


def _say(results: list[Result]) -> None:
    for one in results[-8:]:
        print(f"   {one.name} / {one.baseline}: {one.ours:,.1f} {one.theirs:,.1f}", flush=True)
