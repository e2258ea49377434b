"""`$insert_id`s. Mixpanel takes 1 to 36 letters, digits and dashes.

Ids are part of the contract with data already sent: a change here doubles events.
"""

from __future__ import annotations

from blake3 import blake3

from mixpanel_sink.api.limits import INSERT_ID, RESERVED_DISTINCT_IDS

CONTENT_HEX = 32
"""Hex digits of a content id: 128 bits."""
FILE_HEX = 20
"""Hex digits that stand for a file in a position id: 80 bits, and room for a 15-digit row."""


def content_id(event: bytes) -> str:
    """From the event's JSON, as sent but without `$insert_id` and token."""
    return blake3(event).hexdigest()[:CONTENT_HEX]


def fitting_id(given: str) -> str:
    """A given id as it is where Mixpanel takes it, else its hash (never cut).

    Reserved words are hashed too: a key that counts from 0 would lose its first record.
    """
    if INSERT_ID.fullmatch(given) and given.lower() not in RESERVED_DISTINCT_IDS:
        return given
    return blake3(given.encode()).hexdigest()[:CONTENT_HEX]


def salted_id(insert_id: str, salt: str) -> str:
    """Another id for the same record; without a salt the same."""
    if not salt:
        return insert_id
    return blake3(f"{salt}\0{insert_id}".encode()).hexdigest()[:CONTENT_HEX]


def file_key(path: str, fingerprint: bytes) -> str:
    """What stands for one file in position ids.

    Args:
        path: of the file.
        fingerprint: of its content, so that another file under the same path gets ids
            of its own. (For Parquet: the footer.)
    """
    return blake3(path.encode("utf-8", "surrogatepass") + b"\0" + fingerprint).hexdigest()[
        :FILE_HEX
    ]


def position_id(key: str, row: int) -> str:
    """From a file's key and the row, counted from 0."""
    return f"{key}-{row}"
