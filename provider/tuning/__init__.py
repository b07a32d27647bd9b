"""A fine-tuning broker: takes tasks, has an executor train them, delivers, settles
(provider-protocol.md 6)."""
