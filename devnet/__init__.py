"""A local chain with our contracts: anvil, deployment, owner actions, scenarios. No Django."""
