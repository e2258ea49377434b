"""Mixpanel's rules for lookup tables, and what its responses about them mean.

Source: the API reference, "Replace a Lookup Table" and "List Lookup Tables".
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from mixpanel_sink.api.endpoints import LOOKUP_TABLES, lookup_table
from mixpanel_sink.api.failed_records import as_text, failed_records, parse_json
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.responses import (
    ProjectRefused,
    RequestContext,
    Retry,
    Settled,
    classify,
)
from mixpanel_sink.api.transport import Response
from mixpanel_sink.errors import DestinationError

MAX_BYTES = 100_000_000
"""Bytes of a table as CSV. (The reference says 100 MB; this is the smaller reading of it.)"""
MAX_CALLS = 100
"""How often a project's tables may be replaced ..."""
CALL_SECONDS = 24 * 3600.0
"""... in any so many seconds."""
_SHOWN = 3
"""Failed rows of a response that a message repeats."""


class ListedTable(NamedTuple):
    """One of a project's lookup tables."""

    id: str
    name: str


@dataclasses.dataclass(frozen=True)
class TableContext:
    """Which table a request was about, for error messages.

    Attributes:
        destination: the host.
        kind: of the credentials.
        id: of the table; "" for the list.
    """

    destination: Destination
    kind: str
    id: str = ""

    def classify(self, response: Response, now: float) -> Settled | Retry | ProjectRefused:
        """What a response means for the whole table: it was taken, or not, or may be later."""
        body = parse_json(response.body)
        if self.id and response.status == 404:
            return ProjectRefused(
                DestinationError(
                    f"The project has no lookup table with the id {self.id!r}. Create it once on "
                    "Mixpanel's page (Data Management, Lookup Tables); `mixpanel-sink lookup-table "
                    "list` shows the ids that there are."
                )
            )
        if response.status in (400, 413) and (named := failed_records(body)):
            return ProjectRefused(DestinationError(_rejected(named)))
        endpoint = lookup_table(self.id) if self.id else LOOKUP_TABLES
        context = RequestContext(self.destination, self.kind, endpoint)
        found = classify(response, (), context, now)
        if isinstance(found, Settled | Retry | ProjectRefused):
            return found
        return ProjectRefused(
            DestinationError(f"Mixpanel did not take the lookup table: {found.why}.")
        )


def listed(response: Response) -> list[ListedTable]:
    """The tables in a list's response.

    Raises:
        DestinationError: if it is not such a list.
    """
    body = parse_json(response.body)
    try:
        return [ListedTable(str(each["id"]), str(each["name"])) for each in body["results"]]
    except (TypeError, LookupError):
        raise DestinationError(
            "The response is not a list of lookup tables. Check the endpoint's URL."
        ) from None


def _rejected(records: Any) -> str:
    """What Mixpanel names; it counts the rows from the header, which is row 0."""
    said = [
        f"row {each.get('index')}: {as_text(each.get('message'))}"
        if isinstance(each, dict)
        else as_text(each)
        for each in records[:_SHOWN]
    ]
    return (
        f"Mixpanel refused the table, which stays as it was ({'; '.join(said)}; it counts the "
        "header as row 0)."
    )
