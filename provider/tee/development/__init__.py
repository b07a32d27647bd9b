"""Development evidence: what a TEE would hand over, made without one under development roots.

Structurally complete quotes, collateral, GPU evidence, manifests, OCSP answers and tokens, so that
an unmodified verifier with other trust anchors judges them like genuine ones (attestation.md 14).
Every subject says DEVELOPMENT ONLY; roots derive from a seed, so two installations' roots differ.
"""
