"""Every option, once: what it is called, what it takes, what it is for, and who has it.

A field of `Settings` is an option. The commands, the pipelines, the Dataflow template, the
settings of Beam YAML and of other languages, and docs/options.md are all made from these fields.

Text becomes values in one place, `Settings.of`; after that only values travel. No Beam here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mixpanel_sink.settings.option import (
    COLUMN,
    DRY_RUN,
    FILE,
    FLAG,
    FOLDER,
    ID,
    NAME,
    NAMES,
    NOTIFY,
    NUMBER,
    PREFIX,
    QUOTA,
    REFERENCE,
    SAMPLE,
    SECONDS,
    URL,
    Option,
    choice,
    option,
    option_of,
    values_of,
)
from mixpanel_sink.settings.options_to_read import (
    ADVANCED,
    AUTH,
    COMPARING,
    CREDENTIALS,
    DESTINATION,
    EVERYWHERE,
    FAILURES,
    OUTPUT,
    PRIVACY,
    SENDING,
    SENDS,
    TABLE,
    TABLES,
    Reading,
)
from mixpanel_sink.settings.quota import Quota


@dataclasses.dataclass(frozen=True)
class Settings(Reading):
    """What a user asked for: one field for each option, with its value or its default."""

    service_account: str | None = option(
        None, NAME, CREDENTIALS, AUTH, label="Service account", python="credentials",
        help="Username of a Mixpanel service account.",
    )  # fmt: skip
    service_account_secret: str | None = option(
        None, REFERENCE, CREDENTIALS, AUTH, label="Secret of the service account (reference)",
        python="credentials",
        help="Reference to the service account's secret.",
    )  # fmt: skip
    project_id: str | None = option(
        None, ID, CREDENTIALS, AUTH, label="Mixpanel project", python="credentials",
        help="Number of the Mixpanel project. A service account needs it.",
    )  # fmt: skip
    project_token: str | None = option(
        None, REFERENCE, CREDENTIALS, AUTH, label="Project token (reference)",
        python="credentials",
        help="Reference to the project token. Alone it authenticates; together with another "
        "credential, it is added to every event.",
    )  # fmt: skip
    api_secret: str | None = option(
        None, REFERENCE, CREDENTIALS, AUTH, label="API secret (reference)", python="credentials",
        help="Reference to the project's API secret.",
    )  # fmt: skip
    region: str | None = option(
        None, choice("REGION", us="United States", eu="European Union", **{"in": "India"}),
        DESTINATION, AUTH, label="Mixpanel's region", python="region", beam="mixpanel_region",
        help="Where the Mixpanel project's data lives: us (default), eu or in.",
    )  # fmt: skip
    endpoint: str | None = option(
        None, URL, DESTINATION, AUTH, label="Endpoint", python="endpoint",
        help="Base URL instead of a region, for proxies and tests.",
    )  # fmt: skip
    allow_http: bool = option(
        False, FLAG, DESTINATION, (*EVERYWHERE, "verify", "export", *TABLES), label="Allow http",
        python="allow_http",
        help="Allow an unencrypted endpoint on another machine.",
    )  # fmt: skip
    endpoint_kind: str = option(
        "import",
        choice("KIND", **{
            "import": "Events", "track": "Events of the last five days",
            "engage": "Profiles of users", "groups": "Profiles of groups",
        }),
        DESTINATION, (*EVERYWHERE, "check"), label="Kind of data", python="endpoint_kind",
        help="What the mapping makes: events of any age (import), events of the last five days "
        "(track), profiles of users (engage) or of groups (groups).",
    )  # fmt: skip
    projects: str | None = option(
        None, FILE, DESTINATION, EVERYWHERE, label="Projects file", python="projects",
        help="YAML file with several projects: credentials (as references), regions and quotas.",
    )  # fmt: skip
    destination: str | None = option(
        None, COLUMN, DESTINATION, EVERYWHERE, label="Destination column", python="destination",
        help="With --projects: the column that names a record's project.",
    )  # fmt: skip
    quota: Quota | None = option(
        None, QUOTA, SENDING, (*EVERYWHERE, "check"), label="Quota", python="quota",
        help="The project's rate limit, for all workers together: 60/hour, 600/minute, page, "
        "reference or none. Default: 60/hour for import, reference for the other kinds.",
    )  # fmt: skip
    lanes: int | None = option(
        None, NUMBER, SENDING, (*EVERYWHERE, "check"), label="Lanes", python="lanes",
        help="Keys that share the quota. One is enough for what Mixpanel lets a project send. "
        "Default: 1; 8 for profiles.",
    )  # fmt: skip
    max_in_flight: int | None = option(
        None, NUMBER, SENDING, EVERYWHERE, label="Requests in flight", python="max_in_flight",
        help="At most this many requests at the same time, for each worker and lane; events "
        "only. Default: 128.",
    )  # fmt: skip
    max_latency: float | None = option(
        None, SECONDS, SENDING, ("stream", "rows"), label="Longest wait", python="max_latency",
        help="Seconds that an event may wait for its batch to fill. Unbounded input needs it; for "
        "Pub/Sub the default is 10.",
    )  # fmt: skip
    on_ambiguous: str = option(
        "fail", choice("fail|retry", fail="Make failed records", retry="Send again"),
        SENDING, EVERYWHERE, label="Updates without a clear answer", python="on_ambiguous",
        help="Updates that would count twice if they were sent twice, after an unclear answer: "
        "make failed records of them (default), or send them again.",
    )  # fmt: skip
    only_changed: bool = option(
        False, FLAG, SENDING, ("import", "template", "rows"), label="Only changed profiles",
        python="only_changed",
        help="For profiles: send only those that differ from what was last accepted. Needs a "
        "checkpoint, which remembers it.",
    )  # fmt: skip
    missing: str = option(
        "report",
        choice("ACTION", report="Say which", unset="Unset their properties",
               delete="Delete them"),
        SENDING, ("import",), label="Profiles that left the input",
        help="With --only-changed: what to do about profiles that left the input: report them "
        "(default), unset the properties that the mapping sets, or delete them.",
    )  # fmt: skip
    preflight: bool = option(
        False, FLAG, SENDING, ("import", "replay", "stream", "template"), label="Preflight",
        help="Try the credentials with one empty request before any data is read. It counts "
        "against the quota.",
    )  # fmt: skip
    failed_output: str | None = option(
        None, PREFIX, FAILURES, (*SENDS, "template"), label="Failed records",
        help="Where to keep failed records: the prefix of JSON lines files; for Pub/Sub, a topic.",
    )  # fmt: skip
    checkpoint: str | None = option(
        None, FOLDER, FAILURES, ("import", "replay", "template", "rows", TABLE),
        label="Checkpoint folder", python="checkpoint",
        help="Folder that remembers what was imported: the next run reads only new files, and does "
        "not send batches again that were accepted before a failure.",
    )  # fmt: skip
    on_changed: str = option(
        "fail",
        choice("ACTION", fail="Stop", skip="Skip them", **{"import": "Send again"}),
        FAILURES, ("import", "template"), label="Changed files",
        help="With a checkpoint: what to do with files that have changed since they were imported: "
        "fail (default), skip, or import them again.",
    )  # fmt: skip
    on_mapping_changed: str = option(
        "fail",
        choice("fail|new|all", fail="Stop", new="Use it for new files", all="Send all again"),
        FAILURES, ("import", "template"), label="Changed mapping",
        help="With a checkpoint of another mapping: fail and say what changed (default), use the "
        "new mapping for new files, or send all files again.",
    )  # fmt: skip
    leave_unfinished: bool = option(
        False, FLAG, FAILURES, ("import", "template"), label="Leave unfinished files",
        help="With a checkpoint: leave files for the next run that are still being written (they "
        "grow, or cannot be opened yet).",
    )  # fmt: skip
    run_property: str | None = option(
        None, NAME, FAILURES, (*EVERYWHERE, "verify"), label="Property with the run's id",
        python="run_property",
        help="Property to add to every event, with the id of its run, so that a bad import can be "
        "deleted. It changes no $insert_id.",
    )  # fmt: skip
    run_id: str | None = option(
        None, NAME, FAILURES, (*EVERYWHERE, "verify"), label="The run's id", python="run_id",
        help="Value of that property, such as the scheduler's id of the run. Default: the time of "
        "the launch and some random letters.",
    )  # fmt: skip
    since: str | None = option(
        None, COLUMN, FAILURES, ("import", "template"), label="Watermark column",
        help="With a checkpoint, for BigQuery and for files that grow: read only rows whose value "
        "in this column is at least the largest one of the last run.",
    )  # fmt: skip
    overlap: float = option(
        3600.0, SECONDS, FAILURES, ("import", "template"), label="Overlap of the watermark",
        help="With --since: how far below that value to read again, for rows that come late; in "
        "seconds, or in the units of a column of numbers. Default: 3600.",
    )  # fmt: skip
    drop_properties: tuple[str, ...] = option(
        (), NAMES, PRIVACY, (*EVERYWHERE, "check", "verify"), label="Dropped columns",
        python="privacy",
        help="Columns to leave out of everything that is sent or kept.",
    )  # fmt: skip
    hash_properties: tuple[str, ...] = option(
        (), NAMES, PRIVACY, (*EVERYWHERE, "check", "verify"), label="Hashed columns",
        python="privacy",
        help="Columns to replace by a hash in everything that is sent or kept.",
    )  # fmt: skip
    hash_key: str | None = option(
        None, REFERENCE, PRIVACY, (*EVERYWHERE, "check", "verify"),
        label="Key of the hashes (reference)", python="privacy",
        help="Reference to a secret key for these hashes.",
    )  # fmt: skip
    project_timezone: str = option(
        "UTC", NAME, COMPARING, ("verify",), label="Time zone", metavar="ZONE",
        help="Time zone in which the project counts days. Default: UTC, which is right for "
        "projects made since 2023.",
    )  # fmt: skip
    all_events: bool = option(
        False, FLAG, COMPARING, ("verify",), label="All events",
        help="Also read events with names that the input does not have; they count as unexpected.",
    )  # fmt: skip
    report_dir: str | None = option(
        None, FOLDER, COMPARING, ("verify",), label="Report folder",
        help="Folder for the full lists of differences.",
    )  # fmt: skip
    rows: str | None = option(
        None, SAMPLE, COMPARING, ("check",), label="Rows",
        help="How many rows to look at, in all files together. Default: 10,000.",
    )  # fmt: skip
    every_row: bool = option(
        False, FLAG, COMPARING, ("check",), name="all", label="All rows",
        help="Look at every row.",
    )  # fmt: skip
    dry_run: str | None = option(
        None, DRY_RUN, OUTPUT, ("import",), label="Dry run",
        help="Send nothing: show some events, what would fail, and how long it would take, from a "
        "sample of 10,000 rows, of ROWS, or from all.",
    )  # fmt: skip
    progress: str = option(
        "auto",
        choice("STYLE", auto="A bar on a terminal", bar="A bar", lines="Lines", none="None"),
        OUTPUT, SENDS, label="Progress",
        help="What to show during a run on this machine: auto (a bar on a terminal, else lines), "
        "bar, lines or none.",
    )  # fmt: skip
    report: str | None = option(
        None, PREFIX, OUTPUT, ("import", "replay"), label="Report", metavar="FILE",
        help="Write a report of the run to this file, such as run.html, and run.json beside it.",
    )  # fmt: skip
    notify: str | None = option(
        None, NOTIFY, OUTPUT, (*SENDS, "verify", "export", TABLE), label="Notification",
        help="Post a summary as JSON to this URL, such as a Slack webhook, when the run ends or "
        "fails. Or a reference to it: env:NAME, file:PATH or gcpsecret:projects/P/secrets/S.",
    )  # fmt: skip
    batch_events: int | None = option(
        None, NUMBER, ADVANCED, (*EVERYWHERE, "check"), label="Events of a request",
        python="limits",
        help="At most this many events in a request. Default: 2000.",
    )  # fmt: skip
    batch_bytes: int | None = option(
        None, NUMBER, ADVANCED, (*EVERYWHERE, "check"), label="Bytes of a request",
        python="limits",
        help="At most this many bytes of JSON in a request. Default: 10,000,000.",
    )  # fmt: skip
    event_bytes: int | None = option(
        None, NUMBER, ADVANCED, (*EVERYWHERE, "check", "verify"), label="Bytes of an event",
        python="limits",
        help="Events with more bytes of JSON fail. Default: 2,000,000.",
    )  # fmt: skip
    max_age_seconds: float | None = option(
        None, SECONDS, ADVANCED, (*EVERYWHERE, "check", "verify"), label="Age of events",
        python="limits",
        help="Older events fail. Default: no limit; five days for track.",
    )  # fmt: skip
    transient_seconds: float | None = option(
        None, SECONDS, ADVANCED, (*EVERYWHERE, *TABLES), label="Time for retries", python="retry",
        help="How long a batch is retried after server errors, timeouts and broken connections. "
        "Default: 900.",
    )  # fmt: skip
    throttled_seconds: float | None = option(
        None, SECONDS, ADVANCED, EVERYWHERE, label="Time for 429 answers", python="retry",
        help="How long to wait for 429 answers to end, without a success in between. "
        "Default: 21600.",
    )  # fmt: skip
    connect_timeout: float | None = option(
        None, SECONDS, ADVANCED, (*EVERYWHERE, *TABLES), label="Connect timeout", python="retry",
        help="Seconds to wait for a connection. Default: 10.",
    )  # fmt: skip
    read_timeout: float | None = option(
        None, SECONDS, ADVANCED, (*EVERYWHERE, *TABLES), label="Read timeout", python="retry",
        help="Seconds until the answer is complete, once the body has left. Default: 90.",
    )  # fmt: skip
    breaker: int | None = option(
        None, NUMBER, ADVANCED, EVERYWHERE, label="Batches given up", python="retry",
        help="Stop the job after so many batches in a row were given up. Default: 3.",
    )  # fmt: skip
    first_wait: float | None = option(
        None, SECONDS, ADVANCED, (*EVERYWHERE, *TABLES), label="First wait", python="retry",
        help="Seconds before the first retry; each further wait is twice as long. Default: 2.",
    )  # fmt: skip
    longest_wait: float | None = option(
        None, SECONDS, ADVANCED, (*EVERYWHERE, *TABLES), label="Longest wait between retries",
        python="retry",
        help="Seconds between two retries, at most. Default: 60.",
    )  # fmt: skip

    @classmethod
    def of(cls, given: Mapping[str, Any], face: str, prefix: str = "--") -> Settings:
        """Settings from what a user gave.

        Args:
            given: texts, or values of the field's own type, by the options' names; None is "not
                given".
            face: whose options there are.
            prefix: of names in messages: "--" for command lines.

        Raises:
            SettingError: for a name that is unknown, or a value that cannot be read.
        """
        return cls(**values_of(options_of(face), given, prefix))

    def given(self) -> dict[str, Any]:
        """What differs from the defaults, by the options' names, as text, numbers and switches."""
        return {
            each.name: each.kind.show(value)
            for each in OPTIONS
            if (value := getattr(self, each.field)) != each.default
        }


OPTIONS = tuple(option_of(field) for field in dataclasses.fields(Settings))
"""The table."""
COMMANDS = (
    "init", "check", "import", "replay", "verify", "export", "stream", "doctor", *TABLES
)  # fmt: skip
"""Faces that are commands."""
BY_NAME = {each.name: each for each in OPTIONS}
REFERENCES = tuple(each.name for each in OPTIONS if each.kind in (REFERENCE, NOTIFY))
"""Options that say where secrets are, or may be one: not for a page that goes around."""


def options_of(face: str) -> tuple[Option, ...]:
    """The options that a command, the template or another face has."""
    return tuple(each for each in OPTIONS if face in each.faces)
