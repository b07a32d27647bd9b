"""A small 0G storage for the devnet: one contract, one process that is node, indexer and gateway.

It checks every proof, keeps its files in a folder, and speaks to the official Go and JavaScript
clients (provider-protocol.md 7).
"""
