"""How nodes refuse a log query that is too wide, in the words of the field.

`{first}`, `{last}` stand for a suggested range, `{width}` for the limit in blocks, `{most}` for the
limit in results. A refusal without placeholders suggests nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """`status` is the HTTP status some nodes send it with."""

    code: int
    text: str
    status: int = 200

    def message(self, first: int, width: int, most: int) -> str:
        """The sentence for a query from block `first` on; `last` is the suggestion's end."""
        return self.text.format(
            first=hex(first),
            last=hex(first + width - 1),
            first_number=first,
            last_number=first + width - 1,
            width=width,
            most=most,
        )


#: For a limit in blocks.
TOO_WIDE = (
    Refusal(-32005, "block range is too wide"),
    Refusal(-32600, "Block range is too large"),
    Refusal(-32000, "exceed maximum block range: {width}"),
    Refusal(-32614, "eth_getLogs is limited to a {width:,} range"),
    Refusal(-32602, "eth_getLogs and eth_newFilter are limited to a {width:,} blocks range"),
    Refusal(-32602, "query exceeds max block range {width}"),
    Refusal(-32000, "maximum [from, to] blocks distance: {width}"),
    Refusal(-32000, "requested too many blocks from 1 to 9000, maximum is set to {width}"),
    Refusal(-32701, "please limit the query to at most {width} blocks"),
    Refusal(-32000, "Block range limit exceeded. See more details at https://docs.example/"),
    Refusal(-32602, "exceeds max range: {width}", status=400),
    Refusal(35, "ranges over {width} blocks are not supported on freetier", status=400),
    Refusal(
        -32600,
        "Under the Free tier plan, you can make eth_getLogs requests with up to a {width} block "
        "range. Based on your parameters, this block range should work: [{first}, {last}].",
        status=400,
    ),
)
#: For a limit in results.
TOO_MANY = (
    Refusal(-32005, "query returned more than {most} results"),
    Refusal(
        -32005,
        "query returned more than {most} results. Try with this block range [{first}, {last}].",
    ),
    Refusal(-32602, "query returned more than {most} results"),
    Refusal(
        -32602,
        "query exceeds max results {most}, retry with the range {first_number}-{last_number}",
    ),
    Refusal(-32000, "logs matched by query exceeds limit of {most}"),
    Refusal(-32005, "too many logs requested; max logs per response is {most}"),
)
#: For a limit in bytes or time.
TOO_LARGE = (
    Refusal(-32020, "backend response too large"),
    Refusal(-32000, "response size should not greater than 10000000 bytes"),
    Refusal(-32008, "Response is too big"),
    Refusal(-32000, "query timeout exceeded"),
    Refusal(
        -32602,
        "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range "
        "and no limit on the response size, or you can request any block range with a cap of 10K "
        "logs in the response. Based on your parameters and the response size limit, this block "
        "range should work: [{first}, {last}]",
    ),
)
