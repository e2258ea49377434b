"""The emulator's options: one table, from which the command line and the documentation are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its name with underscores, its type (int, float, str, bool or Path), its help.

    `default` None means that it is not given; `help` then says what applies. `variable` is the
    environment variable that gives it, for secrets and ids.
    """

    name: str
    type: type
    default: Any
    help: str
    variable: str | None = None
    hidden: bool = False

    @property
    def flag(self) -> str:
        """Its name on the command line, such as ``--api-secret``."""
        return "--" + self.name.replace("_", "-")


OPTIONS: tuple[Option, ...] = (
    Option("port", int, 8080, "Port; 0 takes a free one."),
    Option("host", str, "127.0.0.1", "Address to listen on."),
    Option("api_secret", str, None, "API secret for /import.", "MIXPANEL_API_SECRET"),
    Option(
        *("project_token", str, None, "Project token; without one, any token is accepted."),
        "MIXPANEL_PROJECT_TOKEN",
    ),
    Option(
        *("service_account", str, None, "Service account as USER:SECRET."),
        "MIXPANEL_SERVICE_ACCOUNT",
    ),
    Option("project_id", int, None, "Project id; 1 by default.", "MIXPANEL_PROJECT_ID"),
    Option("requests_per_hour", int, None, "/import requests in any hour; 60 by default."),
    Option("quota", str, None, "The same as 600/minute, 10/second, 5/30s or none."),
    Option("variant", str, "page", "Answer like the product page or the API reference."),
    Option("dedupe", str, None, "Rule for duplicates: page or reference; follows the variant."),
    Option("dedupe_window", float, 86400.0, "Seconds for which the page's rule knows an id."),
    Option("failed_records_as", str, "objects", "failed_records as objects or as strings."),
    Option("max_batch", int, 2000, "Records per request."),
    Option("max_body_bytes", int, 10 * 1024 * 1024, "Bytes per request, uncompressed."),
    Option("max_event_bytes", int, None, "Bytes per event; 2 MiB (page) or 1 MiB (reference)."),
    Option("latency_ms", float, 0.0, "Wait before each answer."),
    Option("region", str, None, "us, eu or in; projects of other regions are unknown here."),
    Option("projects", Path, None, "JSON or YAML file of several projects and their keys."),
    Option("identity_mode", str, "simplified", "simplified, original or legacy identity events."),
    Option("refuse_identity", bool, False, "Refuse identity events that the mode ignores."),
    Option(
        *("strict_count", str, "num_good_events"),
        "Name of the count in strict answers of /engage and /groups.",
    ),
    Option("export_quotas", str, "60/hour, 3/second", "Limits of the raw export, or none."),
    Option(
        "export_shape", str, "mixpanel", "Export events as mixpanel does, or as they were sent."
    ),
    Option("keep_duplicates", bool, True, "Keep duplicates for the raw export."),
    Option("tls", bool, False, "Serve https with a certificate made at the start."),
    Option("tls_certificate", Path, None, "Write that certificate here, for clients to trust."),
    Option("db", Path, None, "Keep events in this SQLite file; by default they are temporary."),
    Option("fault_plan", Path, None, "JSON file of faults to inject."),
    Option("fault_seed", int, None, "Seed of random faults."),
    Option("fault_rate", float, None, "Share of requests that get a random fault."),
    Option(
        *("fault_kinds", str, "random"),
        "Random faults: random (a retry succeeds), fatal or all.",
    ),
    Option("log_level", str, "warning", "debug, info, warning or error."),
    Option(
        *("until_stdin_ends", bool, False, "End when standard input does."),
        hidden=True,
    ),
)
DEFAULTS: Mapping[str, Any] = {option.name: option.default for option in OPTIONS}
