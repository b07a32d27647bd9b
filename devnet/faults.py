"""A JSON-RPC proxy that misbehaves as nodes in the field do, from a seed.

    with FaultProxy(node.url, FaultPlan.from_seed(7)) as proxy:
        follow(proxy.url)
        proxy.plan = HONEST  # so that a run can end

What it never does is lie plausibly about what a contract answered: nobody could tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import Any

import orjson
from aiohttp import ClientError, ClientSession, web

from devnet.fault_plan import HONEST, FaultPlan, with_only
from devnet.fault_sockets import relay
from devnet.loops import InThread
from devnet.refusals import TOO_LARGE, TOO_MANY, TOO_WIDE, Refusal

__all__ = ["HONEST", "FaultPlan", "FaultProxy", "Item", "with_only"]

Item = dict[str, Any]
#: HTTP bodies that are no answer.
NOT_JSON = (
    b"",
    b"<html>502 Bad Gateway</html>",
    b'{"jsonrpc":"2.0","id":0,"resu',
    b"null",
    b"[[]]",
)


class Drop(Exception):
    """End the connection; `after` bytes of the answer have been sent."""

    def __init__(self, body: bytes = b"", after: int = 0) -> None:
        self.body, self.after = body, after


class FaultProxy(InThread):
    """Listens on loopback. `plan` may be changed at any time.

    `counts` says how often each fault was injected, `calls` how often each method was asked.
    """

    def __init__(self, upstream: str, plan: FaultPlan = HONEST) -> None:
        super().__init__()
        self.upstream, self.plan = upstream, plan
        self.rng = random.Random(f"proxy {plan.seed}")
        self.counts: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.requests = 0
        self.url = ""
        self._lagging = 0
        self._old: dict[bytes, list[Any]] = {}
        self._session: ClientSession | None = None
        self._runner: web.AppRunner | None = None

    # --- life ------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._session = ClientSession(headers={"Content-Type": "application/json"})
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/{path:.*}", self._serve)
        app.router.add_get("/{path:.*}", self._listen)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()
        # Those that hang on purpose.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    # --- one request -----------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        try:
            return await self._answer(orjson.loads(await request.read()))
        except Drop as drop:
            response = web.StreamResponse(headers={"Content-Length": str(len(drop.body))})
            with contextlib.suppress(ConnectionError):
                if drop.after:
                    await response.prepare(request)
                    await response.write(drop.body[: drop.after])
            if request.transport is not None:
                request.transport.abort()
            return response
        except ClientError as error:
            return web.Response(status=502, text=f"the node is away: {error}")
        except ConnectionError:  # the one who asked is gone
            return web.Response(status=400)

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(status=405)
        self.calls["websocket"] += 1
        return await relay(request, self._session, self.upstream, self._hit, self.rng)

    def _hit(self, fault: str) -> bool:
        chance: float = getattr(self.plan, fault)
        if chance and self.rng.random() < chance:
            self.counts[fault] += 1
            return True
        return False

    async def _answer(self, body: Item | list[Item]) -> web.Response:
        plan, batch = self.plan, body if isinstance(body, list) else [body]
        for call in batch:
            self.calls[call["method"]] += 1
        if (refused := self._refused(plan, len(batch))) is not None:
            return refused
        if self._hit("hang"):
            await asyncio.sleep(plan.hang_seconds)
            raise Drop
        # One request is answered by one node behind the address.
        if self._lagging == 0 and self._hit("lag"):
            self._lagging = plan.lag_requests
        behind = plan.lag > 0 and self._lagging > 0
        self._lagging -= behind
        answers: list[Item] = []
        for call, answer in zip(batch, await self._ask(batch), strict=True):
            answers.append(await self._twist(plan, call, answer, behind))
        status = max(a.pop("status", 200) for a in answers)
        if len(answers) > 1 and self._hit("wrong_ids"):
            spoiled = self.rng.choice(
                ({"id": answers[0]["id"]}, {"id": "7"}, {"id": None}, {"id": -1})
            )
            answers[-1] = {**answers[-1], **spoiled}
            if self.rng.random() < 0.3:
                answers.pop(0)
        raw = orjson.dumps(answers if isinstance(body, list) else answers[0])
        if self._hit("cut"):
            raise Drop(raw, self.rng.randrange(len(raw)))
        return web.Response(body=raw, status=status, content_type="application/json")

    def _refused(self, plan: FaultPlan, size: int) -> web.Response | None:
        """An answer that is not one, before the node was asked."""
        if self._hit("too_many_requests"):
            wait = (
                {"Retry-After": "1" if self.rng.random() < 0.2 else "0"}
                if self.rng.random() < 0.5
                else {}
            )
            return web.Response(status=429, headers=wait, text=self.rng.choice(("", "slow down")))
        if self._hit("server_error"):
            text = self.rng.choice(("", "<html>bad gateway</html>", '{"error": "upstream"}'))
            return web.Response(status=self.rng.choice((500, 502, 503, 504)), text=text)
        if self._hit("not_json"):
            return web.Response(body=self.rng.choice(NOT_JSON), content_type="application/json")
        if (plan.batch is not None and size > plan.batch) or (
            size > 1 and self._hit("batch_refused")
        ):
            self.counts["batch"] += 1
            text = self.rng.choice(("batch too large", "batch requests are not supported"))
            error = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": text}}
            status = self.rng.choice((200, 400, 413))
            return web.json_response(error if status != 413 else None, status=status)
        return None

    async def _ask(self, batch: list[Item]) -> list[Item]:
        """The node's answers in the order of `batch`."""
        assert self._session is not None
        calls = [{**call, "id": number} for number, call in enumerate(batch)]
        async with self._session.post(self.upstream, data=orjson.dumps(calls)) as response:
            answers: list[Item] = orjson.loads(await response.read())
        by_id = {answer["id"]: answer for answer in answers}
        return [{**by_id[number], "id": call["id"]} for number, call in enumerate(batch)]

    async def _result(self, method: str, *params: Any) -> Any:
        found = await self._ask([{"jsonrpc": "2.0", "id": 0, "method": method, "params": params}])
        return found[0].get("result")

    # --- one call --------------------------------------------------------------------------------

    async def _twist(self, plan: FaultPlan, call: Item, answer: Item, behind: bool) -> Item:
        method, params = call["method"], call["params"]
        if self._hit("call_refused"):
            code, text = self.rng.choice(
                ((-32005, "rate limit exceeded"), (-32603, "internal error"), (429, "slow down"))
            )
            return _error(call, code, text)
        if method == "eth_chainId":
            return _result(call, hex(plan.chain_id)) if plan.chain_id else answer
        key = orjson.dumps([method, params])
        if self._old.get(key) and not await self._settled(call) and self._hit("old_answer"):
            return _result(call, self.rng.choice(self._old[key]))
        if behind:
            return await self._behind(plan, call, answer)
        if method == "eth_getLogs":
            return await self._logs(plan, call, answer)
        by_hash = method == "eth_getBalance" and isinstance(params[-1], dict)
        if by_hash and "result" in answer and self._hit("other_balance"):
            other = int(answer["result"], 16) + self.counts["other_balance"] * 10**18
            return _result(call, hex(other))
        if method == "eth_getTransactionReceipt" and self._hit("null_receipt"):
            return _result(call, None)
        if method == "eth_getBlockReceipts":
            return self._block_receipts(call, answer)
        if method.startswith("eth_getBlockBy"):
            return await self._block(call, answer)
        return answer

    def _block_receipts(self, call: Item, answer: Item) -> Item:
        if self._hit("no_block_receipts"):
            return _error(call, -32601, "the method eth_getBlockReceipts does not exist")
        found = answer.get("result")
        if isinstance(found, list) and found and self._hit("null_receipt"):
            return _result(call, self.rng.choice((None, found[:-1], found[1:], [])))
        return answer

    async def _block(self, call: Item, answer: Item) -> Item:
        tag, full = call["params"]
        found = answer.get("result")
        if tag == "finalized":
            if self._hit("no_finalized"):
                return self.rng.choice(
                    (_result(call, None), _error(call, -32602, "unknown block tag finalized"))
                )
            if self._hit("odd_finalized"):
                return await self._odd_finalized(call)
        elif tag == "latest" and isinstance(found, dict) and self._hit("head_back"):
            back = max(0, int(found["number"], 16) - self.rng.randint(1, 5))
            return _result(call, await self._result("eth_getBlockByNumber", hex(back), full))
        elif self._hit("null_block"):
            return _result(call, None)
        elif isinstance(found, dict) and self._hit("other_block"):
            number = max(0, int(found["number"], 16) - 1)
            return _result(call, await self._result("eth_getBlockByNumber", hex(number), full))
        self._remember(call, answer)
        return answer

    async def _odd_finalized(self, call: Item) -> Item:
        latest = await self._result("eth_getBlockByNumber", "latest", False)
        if self.rng.random() < 0.5:
            ahead = hex(int(latest["number"], 16) + self.rng.randint(1, 1000))
            return _result(call, {**latest, "number": ahead})
        return _result(call, await self._result("eth_getBlockByNumber", "0x0", False))

    async def _logs(self, plan: FaultPlan, call: Item, answer: Item) -> Item:
        query, found = call["params"][0], answer.get("result")
        if not isinstance(found, list):
            return answer
        if "fromBlock" in query and (refused := self._too_wide(plan, call, found)) is not None:
            return refused
        if plan.hidden and ("fromBlock" in query or plan.hidden_alone):
            shown = [log for log in found if int(log["blockNumber"], 16) not in plan.hidden]
            self.counts["hidden"] += len(shown) < len(found)
            found = shown
            answer = _result(call, found)
        most = plan.silent_most if "fromBlock" in query else None
        if most is not None and len(found) > most:
            self.counts["silent_most"] += 1
            return _result(call, found[:most])
        cut = plan.truncated_ranges or "blockHash" in query
        if found and cut and self._hit("truncated_logs"):
            return _result(call, found[: self.rng.randrange(len(found))])
        if found and self._hit("other_block"):
            parent = await self._result("eth_getBlockByHash", found[-1]["blockHash"], False)
            other = {**found[-1], "blockHash": parent["parentHash"]} if parent else found[-1]
            return _result(call, [*found[:-1], other])
        self._remember(call, answer)
        return answer

    def _too_wide(self, plan: FaultPlan, call: Item, found: list[Item]) -> Item | None:
        first, last = (int(call["params"][0][k], 16) for k in ("fromBlock", "toBlock"))
        width = last - first + 1
        if plan.width is not None and width > plan.width:
            self.counts["width"] += 1
            return self._refusal(plan, TOO_WIDE, call, first, plan.width)
        if plan.most is not None and width > 1 and len(found) > plan.most:
            self.counts["most"] += 1
            # The widest range that fits, as nodes suggest it.
            beyond = int(found[plan.most]["blockNumber"], 16)
            fits = max(1, beyond - first)
            return self._refusal(plan, (*TOO_MANY, *TOO_LARGE), call, first, fits)
        return None

    @staticmethod
    def _refusal(
        plan: FaultPlan, words: tuple[Refusal, ...], call: Item, first: int, width: int
    ) -> Item:
        refusal = words[plan.refusal % len(words)]
        text = refusal.message(first, width, plan.most or 10_000)
        return {**_error(call, refusal.code, text), "status": refusal.status}

    async def _behind(self, plan: FaultPlan, call: Item, answer: Item) -> Item:
        """The answer of a node that has not seen the last blocks."""
        head = int(await self._result("eth_blockNumber"), 16)
        mine = max(0, head - plan.lag_blocks)
        method, found, params = call["method"], answer.get("result"), call["params"]
        if method == "eth_blockNumber":
            return _result(call, hex(mine))
        if method == "eth_getBlockByNumber" and params[0] == "latest":
            return _result(call, await self._result(method, hex(mine), params[1]))
        if method == "eth_getBlockReceipts" and isinstance(found, list):
            new = any(int(receipt["blockNumber"], 16) > mine for receipt in found)
            return _result(call, None) if new else answer
        if method.startswith("eth_getBlockBy") or method == "eth_getTransactionReceipt":
            number = (found or {}).get("number") or (found or {}).get("blockNumber")
            return _result(call, None) if number and int(number, 16) > mine else answer
        if method == "eth_getLogs":
            if not isinstance(found, list):
                return answer
            if (unknown := params[0].get("blockHash")) is not None:
                block = await self._result("eth_getBlockByHash", unknown, False)
                new = block is None or int(block["number"], 16) > mine
                return _error(call, -32000, "unknown block") if new else answer
            # Nodes answer as far as they know, without a word.
            return _result(call, [g for g in found if int(g["blockNumber"], 16) <= mine])
        at = params[-1] if params else None
        if isinstance(at, str) and at.startswith("0x") and int(at, 16) > mine:
            return _error(call, -32000, "header not found")
        return answer

    async def _settled(self, call: Item) -> bool:
        """Whether it asks for a final block by number: there all nodes agree."""
        named = call["params"][0] if call["method"] == "eth_getBlockByNumber" else ""
        if not named.startswith("0x"):
            return False
        final = await self._result("eth_getBlockByNumber", "finalized", False)
        return final is not None and int(named, 16) <= int(final["number"], 16)

    def _remember(self, call: Item, answer: Item) -> None:
        """Keep a true answer about blocks for `old_answer`."""
        if answer.get("result") is not None and self.plan.old_answer:
            kept = self._old.setdefault(orjson.dumps([call["method"], call["params"]]), [])
            kept.append(answer["result"])
            del kept[:-3]


def _result(call: Item, result: Any) -> Item:
    return {"jsonrpc": "2.0", "id": call["id"], "result": result}


def _error(call: Item, code: int, message: str) -> Item:
    return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": code, "message": message}}
