"""CSV twins of the API's lists; the files themselves are `accounts.csv_files`'."""

from __future__ import annotations

from typing import Any

from accounts.csv_files import batches, cell, lines, response, streamed

__all__ = ["OPENAPI", "batches", "cell", "lines", "response", "streamed"]

OPENAPI: dict[str, Any] = {
    "responses": {
        200: {
            "description": "CSV with a header line",
            "content": {"text/csv": {"schema": {"type": "string"}}},
        }
    }
}
