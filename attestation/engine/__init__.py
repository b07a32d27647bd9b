"""The engine: evidence, collateral, policy and a time come in, a verdict goes out.

Pure and total: no clock, no network, no database, and no input makes it raise. `reports` is the
entry; `attestation.verify` offers it to the rest of the site.
"""
