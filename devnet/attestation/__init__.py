"""Intel's and NVIDIA's services, played under development roots (attestation.md 14).

    services   what each path answers; no sockets
    server     the same over HTTP
    vendors    the authorities behind them

`python -m devnet.fleet` runs it, alone or with a demo's brokers.

The site's real clients run against it unmodified; what it says is worth nothing to anybody who does
not trust this installation's own development roots.
"""
