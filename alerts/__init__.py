"""What somebody wants to be told about, and how they were told."""
