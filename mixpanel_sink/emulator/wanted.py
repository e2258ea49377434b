"""What a search looks for."""

import json
from dataclasses import dataclass

_OF_HTML = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are meant: all of what is given must fit.

    `text` may be anywhere in the event, in any case of ASCII letters; `since` (inclusive) and
    `until` (exclusive) are epoch milliseconds of the event's time.
    """

    text: str = ""
    event: str | None = None
    distinct_id: str | None = None
    insert_id: str | None = None
    project: int | None = None
    request: int | None = None
    since: int | None = None
    until: int | None = None

    def needles(self) -> list[bytes]:
        """The text as clients write it in JSON: as it is, or in ASCII; with PHP's escape of the
        slash, or Go's of what HTML escapes."""
        spellings = {json.dumps(self.text, ensure_ascii=ascii)[1:-1] for ascii in (True, False)}
        spellings |= {text.replace("/", "\\/") for text in spellings}
        spellings |= {text.translate(_OF_HTML) for text in spellings}
        return [text.encode() for text in sorted(spellings)]
