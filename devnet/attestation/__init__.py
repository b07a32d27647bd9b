"""Intel's and NVIDIA's services, played under development roots (attestation.md 14).

    services   what each path answers; no sockets
    server     the same over HTTP
    vendors    the authorities behind them

`python -m devnet.fleet` runs it, alone or with a demo's brokers.

The site's real clients run against it unmodified; what it says is worth nothing to anybody who does
not trust this installation's own development roots.
"""

from __future__ import annotations

OCSP_PATH = "/ocsp"


def environment(url: str) -> dict[str, str]:
    """The site's variables that lead to the services at `url`."""
    return {**dict.fromkeys(("PCS_URL", "RIM_URL", "NRAS_URL"), url), "OCSP_URL": url + OCSP_PATH}
