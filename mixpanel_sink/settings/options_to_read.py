"""The options that say what is read: of which input, how its files are written, which records.

`options.py` has the others, and makes the table of them all.
"""

from __future__ import annotations

import dataclasses
import datetime

from mixpanel_sink.settings.option import (
    DAY,
    FILE,
    FILES,
    NAME,
    NAMES,
    NUMBER,
    TEXT,
    Kind,
    option,
)

SENDS = ("import", "replay", "stream")
EVERYWHERE = (*SENDS, "template", "rows")
TABLE = "lookup-table upload"
TABLES = (TABLE, "lookup-table list")
READS = ("init", "import", "check", "verify", TABLE)
AUTH = (*EVERYWHERE, "check", "verify", "export", "doctor", *TABLES)
FILTERED = ("import", "check", "verify", "template")

INPUT = "Input"
FORMAT = "Format"
BIGQUERY = "BigQuery"
FILTERS = "Which records"
CREDENTIALS = "Credentials"
DESTINATION = "Where to send"
SENDING = "Quota and requests"
FAILURES = "Failures and resuming"
PRIVACY = "Privacy"
COMPARING = "Comparing"
OUTPUT = "Output"
ADVANCED = "Limits and retries"
STREAM = "Pub/Sub"


@dataclasses.dataclass(frozen=True)
class Reading:
    """What is read; `Settings` has the rest."""

    input: tuple[str, ...] = option(
        (), FILES, INPUT, (*READS, "replay", "stream", "template"), label="Input files",
        help="Files, folders or globs, local or in cloud storage, separated by commas; a table, "
        "bq://PROJECT.DATASET.TABLE; or a project, mixpanel://PROJECT?from=DAY&to=DAY. For replay: "
        "files of failed records.",
    )  # fmt: skip
    mapping: str | None = option(
        None, FILE, INPUT, (*EVERYWHERE, "check", "verify"), label="Mapping file", short="m",
        python="mapping",
        help="YAML file that says which column becomes which part of an event.",
    )  # fmt: skip
    format: str | None = option(
        None, Kind("NAME", parse=str.lower, regex=r"^\S+$"), FORMAT, (*READS, "template"),
        label="Format",
        help="Format of the files: parquet, csv, tsv, jsonl, avro, orc, arrow or excel. "
        "Default: told by the first file's name, or else by its content.",
    )  # fmt: skip
    types: str | None = option(
        None, TEXT, FORMAT, (*READS, "template"), label="Types of CSV columns",
        metavar="NAME=TYPE,…",
        help="CSV only: types of columns that are not text: integer, number or boolean.",
    )  # fmt: skip
    delimiter: str | None = option(
        None, TEXT, FORMAT, (*READS, "template"), label="Delimiter of CSV cells", metavar="CHAR",
        help="CSV only: the character between cells, or tab. Default: a comma.",
    )  # fmt: skip
    query: str | None = option(
        None, TEXT, BIGQUERY, (*READS, "template"), label="Query", metavar="SQL",
        help="GoogleSQL query to read instead of a table; the input is then bq://PROJECT.",
    )  # fmt: skip
    row_restriction: str | None = option(
        None, TEXT, BIGQUERY, (*READS, "template"), label="Row restriction", metavar="SQL",
        help="Condition that BigQuery applies to rows before it sends them, such as amount > 0.",
    )  # fmt: skip
    partitions: str | None = option(
        None, Kind("FIRST[-LAST]", regex=r"^[0-9]+(-[0-9]+)?$"), BIGQUERY, (*READS, "template"),
        label="Partitions",
        help="Partitions to read, by day, month, year or hour, such as 20240501-20240531.",
    )  # fmt: skip
    columns: tuple[str, ...] = option(
        (), NAMES, BIGQUERY, (*READS, "template"), label="Columns of the table",
        help="Columns to read; for a lookup table, also their order. Default: all that are needed.",
    )  # fmt: skip
    bigquery_project: str | None = option(
        None, NAME, BIGQUERY, (*READS, "template"), label="Google Cloud project that pays",
        help="Google Cloud project that pays for reading. Default: the one in the address.",
    )  # fmt: skip
    from_day: datetime.date | None = option(
        None, DAY, FILTERS, (*FILTERED, "export"), name="from", label="First day",
        python="mapping",
        help="First day, in UTC; earlier events are left out. For verify and export, in the "
        "project's time zone.",
    )  # fmt: skip
    to_day: datetime.date | None = option(
        None, DAY, FILTERS, (*FILTERED, "export"), name="to", label="Last day",
        python="mapping",
        help="Last day, included; later events are left out.",
    )  # fmt: skip
    events: tuple[str, ...] = option(
        (), NAMES, FILTERS, FILTERED, label="Names of events", python="mapping",
        help="Only events with these names.",
    )  # fmt: skip
    where: str | None = option(
        None, TEXT, FILTERS, FILTERED, label="Condition", python="mapping", metavar="CONDITION",
        help="Only records for which this is true, such as \"amount > 0 AND country = 'DE'\" "
        "(docs/shape.md). A condition in the mapping must hold as well.",
    )  # fmt: skip
    limit: int | None = option(
        None, NUMBER, FILTERS, FILTERED, label="Records at most",
        help="Only the first N of the records that are left. A later import of everything doubles "
        "none of them.",
    )  # fmt: skip
    sheet: str | None = option(
        None, TEXT, FORMAT, (*READS, "template"), label="Sheet", metavar="NAME",
        help="Excel only: the sheet to read. Default: the first.",
    )  # fmt: skip
    only: tuple[str, ...] = option(
        (), NAMES, INPUT, ("replay",), label="Reasons", metavar="REASON,…",
        help="Only records that failed for these reasons.",
    )  # fmt: skip
    id_attribute: str | None = option(
        None, NAME, STREAM, ("stream",), label="Attribute with the id",
        help="Attribute that identifies a message, instead of Pub/Sub's message id.",
    )  # fmt: skip
    timestamp_attribute: str | None = option(
        None, NAME, STREAM, ("stream",), label="Attribute with the time",
        help="Attribute that holds the time for Beam's windows.",
    )  # fmt: skip
