"""The operator's own door: a page and numbers, on loopback only."""
