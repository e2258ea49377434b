"""A run's report: what `--report run.html` and `run.json` hold."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mixpanel_sink.report.requests_summary import LATENCIES_MS, RequestsSummary
from mixpanel_sink.report.run_page import page
from mixpanel_sink.settings.quota import Quota


@dataclasses.dataclass(frozen=True)
class RunReport:
    """What a run did, for `run.json` and `run.html`.

    Attributes:
        title: of the run.
        started: seconds since 1970.
        seconds: how long it took.
        settings: options by name, without secrets.
        counters: the sink's Beam counters.
        failures: by reason: reason, count, message, file and row of an example.
        requests: over time, by latency and by how full they were.
        quota: that held.
        batch_events: events of a full request.
        files: of the input, with their sizes in bytes.
        accepted: records that Mixpanel accepted, by event and day; empty if that is not known.
        failed_output: prefix of the files of failed records, if they were kept.
        next_steps: what to do now, as a sentence and a command.
    """

    title: str
    started: float
    seconds: float
    settings: Mapping[str, str]
    counters: Mapping[str, int]
    failures: Sequence[Mapping[str, Any]]
    requests: RequestsSummary
    quota: Quota = dataclasses.field(default_factory=Quota.none)
    batch_events: int = 2000
    files: Sequence[tuple[str, int]] = ()
    accepted: Mapping[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    failed_output: str | None = None
    next_steps: Sequence[tuple[str, str]] = ()

    @property
    def balanced(self) -> bool:
        """Whether every record read is accounted for."""
        return self.count("records_read") == (
            self.count("events_accepted") + self.count("records_failed")
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in run.json."""
        requests = self.requests
        return {
            "title": self.title,
            "started": self.started,
            "seconds": self.seconds,
            "settings": dict(self.settings),
            "quota": str(self.quota),
            "accounting": {
                "read": self.count("records_read"),
                "accepted": self.count("events_accepted"),
                "failed": self.count("records_failed"),
                "balanced": self.balanced,
            },
            "counters": dict(sorted(self.counters.items())),
            "failures": [dict(failure) for failure in self.failures],
            "failed_output": self.failed_output,
            "accepted": [
                {"event": name, "day": day, "count": count}
                for (name, day), count in sorted(self.accepted.items())
            ],
            "files": [{"path": path, "bytes": size} for path, size in self.files],
            "next_steps": [{"what": what, "command": command} for what, command in self.next_steps],
            "requests_over_time": {
                "seconds_a_point": requests.width,
                "points": [
                    {"at": point * requests.width, "requests": sent, "accepted": accepted}
                    for point, (sent, accepted) in sorted(requests.points.items())
                ],
            },
            "latency_ms": [
                {"up_to": bound, "requests": count}
                for bound, count in zip((*LATENCIES_MS, None), requests.latency, strict=True)
            ],
            "batch_fill_percent": [
                {"up_to": (number + 1) * 5, "requests": count}
                for number, count in enumerate(requests.fill)
            ],
        }

    def to_json(self) -> str:
        """The text of run.json."""
        return json.dumps(self.as_dict(), indent=2)

    def to_html(self) -> str:
        """run.html: one page, without anything from elsewhere."""
        return page(self)

    def count(self, name: str) -> int:
        """The value of a counter; 0 if it is missing."""
        return self.counters.get(name, 0)
