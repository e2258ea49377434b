"""PyPI's mixpanel-utils, in an environment of its own.

It reads no Parquet, so that rows become events here, as its users would do it.
"""

from __future__ import annotations

from typing import Any

from benchmarks.contestants import arguments
from benchmarks.events import to_event

REQUIREMENTS = ("mixpanel-utils==2.2.7", "ujson", "ciso8601", "pyarrow")
"""ujson and ciso8601 are optional for it and make it faster."""


def events_of(path: str) -> list[dict[str, Any]]:
    """It wants a list of all events."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return [to_event(row) for batch in file.iter_batches(50_000) for row in batch.to_pylist()]


def main() -> None:
    """Imports the file."""
    from mixpanel_utils import MixpanelUtils

    path, endpoint = arguments.parse()
    client = MixpanelUtils("no-secret", token="no-token", pool_size=8)
    client.import_api = endpoint
    client.import_events(events_of(path), timezone_offset=0)


if __name__ == "__main__":
    main()
