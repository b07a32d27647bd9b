"""A dataset becomes a task, a task becomes a deliverable."""
