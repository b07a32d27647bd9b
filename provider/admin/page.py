"""The operator's page: HTML that needs no JavaScript. Everything that was not written here is
escaped."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from html import escape

from provider.admin.status import Sent, Status
from provider.amounts import in_0g
from provider.chain import batch_cost

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 64rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid #8885 }
.number { text-align: right; font-variant-numeric: tabular-nums }
th, td { white-space: nowrap }
code { overflow-wrap: anywhere } dl { display: grid; grid-template-columns: max-content 1fr }
dt { padding-right: 1rem; font-weight: 600 } dd { margin: 0; overflow-wrap: anywhere }
form { display: inline-block; margin: 0 .5rem .5rem 0 }
button, input { font: inherit; padding: .4rem .8rem }
.alarm { border-left: 4px solid #c33; padding: .3rem .8rem; margin: .5rem 0 }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr } dd { margin-bottom: .5rem } }
"""
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


def login(problem: str = "") -> bytes:
    """The page that asks for the token."""
    said = f'<p class="alarm" role="alert">{escape(problem)}</p>' if problem else ""
    return _page(
        "Sign in",
        f"""<h1>Broker</h1>{said}
<form method="post" action="/login">
<label for="token">Token (admin.token, or the file of that name in the state folder)</label><br>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Sign in</button></form>""",
    )


def shown(status: Status, secret: str) -> bytes:
    """The page itself; `secret` goes into every form."""
    body = [
        f"<h1>Broker: {escape(status.place.model)}</h1>",
        *(f'<p class="alarm">{escape(text)}</p>' for text in alarms(status)),
        _buttons(status, secret),
        _state(status),
        _debtors(status),
        _sent(status.sent),
        '<p><a href="/metrics">Metrics</a> · <a href="/status.json">JSON</a></p>',
    ]
    return _page("Broker", "\n".join(body))


def alarms(status: Status) -> list[str]:
    """What an operator should do something about."""
    view, found = status.view, []
    if status.paused:
        found.append("Paused: new requests are refused. What is under way is finished and settled.")
    if status.full:
        found.append("The disk takes no charges: requests are refused until it does. Make room.")
    if view.node:
        found.append(f"The node: {view.node}")
    if view.upstream:
        found.append(f"The upstream: {view.upstream}")
    if view.listed is False:
        found.append(
            "The service is not on chain any more: requests are refused and nothing can be "
            "settled. The next start registers it again, and pays the stake."
        )
    elif view.acknowledged is False:
        found.append("The contract owner has not acknowledged the signer: requests are refused.")
    if view.wallet is not None and view.gas_price is not None:
        least = batch_cost(view.gas_price)
        if view.wallet < least:
            found.append(
                f"The gas wallet holds {in_0g(view.wallet)} 0G: a settlement of fifty users needs "
                f"{in_0g(least)} 0G. Send it some: what it cannot pay waits."
            )
    if status.waiting:
        found.append(f"Settlement: {status.waiting}")
    risky = [debtor for debtor in status.debtors.values() if debtor.at_risk]
    if risky:
        total = in_0g(sum(debtor.owed for debtor in risky))
        found.append(f"At risk: {len(risky)} users owe {total} 0G, about as much as they have.")
    return found


def _buttons(status: Status, secret: str) -> str:
    turn = ("/resume", "Take new work again") if status.paused else ("/pause", "Take no new work")
    return "".join(
        f'<form method="post" action="{path}"><input type="hidden" name="secret" value="{secret}">'
        f"<button>{text}</button></form>"
        for path, text in (turn, ("/settle", "Settle everything now"), ("/logout", "Sign out"))
    )


def _state(status: Status) -> str:
    place, view = status.place, status.view
    normal, urgent = status.gas_limits
    price = "unknown" if view.gas_price is None else f"{view.gas_price} neuron"
    limits = "any price" if normal is None else f"up to {normal}, at risk up to {urgent}"
    rows = [
        ("State", "paused" if status.paused else "stuck" if status.full else "taking work"),
        ("Service", f"{place.kind} at {place.url}"),
        ("Provider", place.provider),
        ("Signer", f"{place.signer}{'' if view.acknowledged else ' (not acknowledged)'}"),
        ("Contract", f"{place.contract} on chain {place.chain_id}"),
        ("Running since", _time(place.started)),
        ("Looked at", _time(view.at) if view.at else "not yet"),
        ("Gas wallet", "unknown" if view.wallet is None else f"{in_0g(view.wallet)} 0G"),
        ("Gas price", f"{price}; we pay {limits}"),
        ("Unsettled", f"{in_0g(sum(x.owed for x in status.debtors.values()))} 0G"),
        ("Held back", f"{in_0g(status.reserved)} 0G"),
    ]
    inner = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return f"<dl>{inner}</dl>"


def _debtors(status: Status) -> str:
    rows = [
        (
            user,
            in_0g(debtor.owed),
            "unknown" if debtor.balance is None else in_0g(debtor.balance),
            "at risk" if debtor.at_risk else "",
        )
        for user, debtor in list(status.debtors.items())[:100]
    ]
    more = len(status.debtors) - len(rows)
    note = f"<p>And {more} more with smaller debts.</p>" if more > 0 else ""
    return _table("Unsettled by user", ("User", "Owes (0G)", "Has (0G)", ""), rows, {1, 2}) + note


def _sent(sent: tuple[Sent, ...]) -> str:
    rows = [
        (
            _time(batch.at),
            str(batch.users),
            in_0g(batch.asked),
            in_0g(batch.settled),
            "" if batch.gas_fee is None else in_0g(batch.gas_fee),
            batch.outcome,
            f"{batch.tx_hash[:10]}…{batch.tx_hash[-8:]}",  # whole in status.json
        )
        for batch in sent
    ]
    heads = ("Sent", "Users", "Asked (0G)", "Paid (0G)", "Gas (0G)", "Outcome", "Transaction")
    return _table("Last settlements", heads, rows, {1, 2, 3, 4})


def _table(
    title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], numbers: set[int]
) -> str:
    if not rows:
        return f"<h2>{escape(title)}</h2><p>None.</p>"

    def cells(tag: str, texts: tuple[str, ...]) -> str:
        kinds = [' class="number"' if at in numbers else "" for at in range(len(texts))]
        return "".join(
            f"<{tag}{kind}>{escape(text)}</{tag}>" for kind, text in zip(kinds, texts, strict=True)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<h2>{escape(title)}</h2><div class="wide" tabindex="0" role="region" '
        f'aria-label="{escape(title)}"><table><thead><tr>'
        f"{cells('th', heads)}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _time(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _page(title: str, body: str) -> bytes:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="/style.css"></head>'
        f"<body><main>{body}</main></body></html>"
    ).encode()
