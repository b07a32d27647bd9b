"""What others see: the upstream as we use it, and ourselves as clients reach us."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

import aiohttp
import orjson

from provider.bodies import beginning
from provider.checks.findings import Finding
from provider.checks.subject import Subject
from provider.config import CHAT, Config
from provider.errors import ConfigError
from provider.meter import AnswerMeter
from provider.proof import PATH, Stand, proof
from provider.server import listen, serve_beside

SECONDS = 30
MAX_BYTES = 1024 * 1024
SOON_DAYS = 14
NETWORK = (aiohttp.ClientError, TimeoutError, OSError)


async def look(subject: Subject, session: aiohttp.ClientSession) -> list[Finding]:
    """All of it."""
    found = []
    if isinstance(subject.options, Config):
        found += await _upstream(subject.options, session)
    found += await _ourselves(subject, session)
    return found


# ---- the server behind ---------------------------------------------------------------------


async def _upstream(config: Config, session: aiohttp.ClientSession) -> list[Finding]:
    found = [await _models(config, session)]
    if found[0].state == "fail":
        return found
    if config.service.type != CHAT:
        said = f"a {config.service.type} request would cost you its work"
        fix = "send one yourself and see that it answers as OpenAI's API does"
        return [*found, Finding("upstream answer", "skip", said, fix)]
    return [*found, await _answer(config, session), await _stream(config, session)]


def _name(config: Config) -> str:
    return config.upstream.model or config.service.model


def _timeout() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=SECONDS)


async def _models(config: Config, session: aiohttp.ClientSession) -> Finding:
    url = f"{config.upstream.url}/models"
    try:
        async with session.get(
            url, headers=config.upstream.authorization, timeout=_timeout(), allow_redirects=False
        ) as reply:
            raw = await beginning(reply, MAX_BYTES)
    except NETWORK as error:
        said = f"{url} does not answer ({type(error).__name__})"
        return Finding("upstream", "fail", said, "start it, or mend upstream.url")
    if reply.status in (401, 403):
        said = f"{url} refuses our key ({reply.status})"
        return Finding("upstream", "fail", said, "mend upstream.key")
    try:
        names = [str(entry["id"]) for entry in orjson.loads(raw)["data"]]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        said = f"{url} answers {reply.status}, without a list of models"
        return Finding("upstream", "warn", said, "harmless if the requests below work")
    if _name(config) not in names:
        said = f"{_name(config)} is not among its models: {', '.join(names)[:200]}"
        return Finding("upstream", "warn", said, "set upstream.model to its name for the model")
    return Finding("upstream", "ok", f"has {_name(config)}")


def _question(config: Config, *, stream: bool) -> dict[str, object]:
    message = {"role": "user", "content": "Say yes."}
    asked: dict[str, object] = {"model": _name(config), "messages": [message], "max_tokens": 8}
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return asked


def _asked(
    config: Config, session: aiohttp.ClientSession, *, stream: bool
) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    return session.post(
        f"{config.upstream.url}/chat/completions",
        json=_question(config, stream=stream),
        headers={**config.upstream.authorization, "accept-encoding": "identity"},
        timeout=_timeout(),
        allow_redirects=False,
    )


async def _answer(config: Config, session: aiohttp.ClientSession) -> Finding:
    name, meter = "upstream answer", AnswerMeter()
    try:
        async with _asked(config, session, stream=False) as reply:
            raw = await beginning(reply, MAX_BYTES)
    except NETWORK as error:
        said = f"no answer to a short question ({type(error).__name__})"
        return Finding(name, "fail", said, "see the upstream's log")
    if reply.status != 200 or not meter.whole(raw):
        said = f"status {reply.status}: {raw[:200].decode('utf-8', 'replace')!r}"
        fix = "see the upstream's log"
        if reply.status == 404:
            fix = (
                "end upstream.url where /chat/completions begins, mostly in /v1, or mend its model"
            )
        return Finding(name, "fail", said, fix)
    if meter.usage is None:
        said = "answers without usage: fees will be counted by words"
        return Finding(name, "warn", said, "have it report usage")
    return Finding(name, "ok", "answers with usage")


async def _stream(config: Config, session: aiohttp.ClientSession) -> Finding:
    name, meter = "upstream stream", AnswerMeter()
    try:
        async with _asked(config, session, stream=True) as reply:
            kind = reply.headers.get("content-type", "")
            async with asyncio.timeout(SECONDS):
                size = 0
                while not meter.done and size <= MAX_BYTES:
                    part = await reply.content.readany()
                    if not part:
                        break
                    meter.feed(part)
                    size += len(part)
    except NETWORK as error:
        return Finding(name, "fail", f"breaks ({type(error).__name__})", "see the upstream's log")
    if reply.status != 200 or not kind.startswith("text/event-stream"):
        said = f"status {reply.status} with {kind or 'no type'}"
        return Finding(name, "fail", said, "have it stream answers (server-sent events)")
    if not meter.done:
        return Finding(name, "warn", "ends without [DONE]", "have it say when an answer is whole")
    if meter.usage is None:
        said = "has no usage: fees of streams will be counted by words"
        return Finding(name, "warn", said, "have it honour stream_options.include_usage")
    return Finding(name, "ok", "streams with usage")


# ---- ourselves -----------------------------------------------------------------------------


async def _ourselves(subject: Subject, session: aiohttp.ClientSession) -> list[Finding]:
    url = subject.public_url
    if not url:
        said = "the port is left to the system and no public URL is given"
        return [Finding("public URL", "warn", said, "set listen.port and the service's url")]
    async with _standing(subject) as trouble:
        if trouble:
            return [Finding("listen", "fail", trouble, "mend section listen")]
        found = [await _reached(subject, url, session)]
    found.append(await _tls(url))
    return found


@asynccontextmanager
async def _standing(subject: Subject) -> AsyncIterator[str]:
    """Somebody answers at the listen address: the running broker, or for the moment ourselves.

    Gives "", or why neither works.
    """
    try:
        sock = listen(subject.host, subject.port)
    except ConfigError as error:
        # Taken: by our broker if the proof is right, else the proof will say so.
        yield "" if "in use" in str(error) else str(error)
        return
    task = asyncio.create_task(serve_beside(Stand(subject.wallet_key), sock))
    try:
        yield ""
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        sock.close()


async def _reached(subject: Subject, url: str, session: aiohttp.ClientSession) -> Finding:
    nonce, name = secrets.token_hex(32), "public URL"
    try:
        async with session.get(
            f"{url}{PATH}", params={"nonce": nonce}, timeout=_timeout(), allow_redirects=False
        ) as reply:
            raw = await beginning(reply, MAX_BYTES)
        told = orjson.loads(raw)["proof"]
    except aiohttp.ClientConnectorCertificateError as error:
        said = f"{url}: {error.certificate_error}"
        return Finding(name, "fail", said, "install a certificate that clients trust")
    except NETWORK as error:
        said = f"{url} does not answer from here ({type(error).__name__})"
        return Finding(name, "fail", said, "mend DNS, firewall or proxy, or the service's url")
    except (orjson.JSONDecodeError, KeyError, TypeError):
        said = f"{url} answers {reply.status}, but it is not this broker"
        return Finding(name, "fail", said, "have the proxy pass every path under /v1 on")
    if told != proof(subject.wallet_key, nonce):
        said = f"{url} leads to another provider's broker"
        return Finding(name, "fail", said, "mend the proxy, or the service's url")
    return Finding(name, "ok", f"{url} leads to this broker")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _tls(url: str) -> Finding:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        if _is_loopback(host):
            said = "clients on this machine only"
            return Finding("TLS", "warn", said, "put a proxy with TLS in front, and set url to it")
        said = "without it everybody on the way reads keys, questions and answers"
        return Finding("TLS", "fail", said, "put a proxy with TLS in front, and set url to it")
    try:
        _, writer = await asyncio.wait_for(
            asyncio.open_connection(
                host, parts.port or 443, ssl=ssl.create_default_context(), server_hostname=host
            ),
            SECONDS,
        )
        certificate = writer.get_extra_info("peercert")
        writer.close()
    except ssl.SSLCertVerificationError as error:
        said = f"the certificate is not trusted: {error.verify_message}"
        return Finding("TLS", "fail", said, "install a certificate that clients trust")
    except NETWORK as error:
        return Finding("TLS", "fail", f"no connection ({type(error).__name__})", "mend the proxy")
    days = int((ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) // 86_400)
    if days < SOON_DAYS:
        said = f"the certificate ends in {days} days"
        return Finding("TLS", "warn", said, "see why it was not renewed")
    return Finding("TLS", "ok", f"the certificate is good for {days} days")
