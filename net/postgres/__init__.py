"""Django's PostgreSQL backend; its pool looks at a connection instead of asking over it."""
