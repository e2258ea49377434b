"""The result of a verification: as a value, as one sentence, and as text for people."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import orjson

from mixpanel_sink.inspect.verify.findings import KINDS, SHOWN, Findings
from mixpanel_sink.report.summaries import describe
from mixpanel_sink.results import FailureSummary

_OTHER_IDS = (
    "ids are from position, so that the events of a file that was moved or changed since are there "
    "under other ids, and importing it again would double them"
)


@dataclasses.dataclass(frozen=True)
class Verification:
    """How the input and what Mixpanel holds compare.

    Attributes:
        first, last: the days that were compared; None if there was nothing to compare.
        zone: in which days are counted.
        host: that was asked.
        counts: (day, event) to the number of events in the input and in Mixpanel; each once.
        equal: events that are the same on both sides.
        missing, unexpected, altered: how many.
        shown: the first of each kind, as objects for JSON.
        shared: records of the input that share their `$insert_id` with another, which counts for
            all of them.
        duplicates: events of the export that repeat others.
        outside: events of the input on other days.
        failures: records of the input that cannot be events, and files that cannot be read.
        from_position: whether `$insert_id`s are those of rows in their files.
    """

    first: datetime.date | None
    last: datetime.date | None
    zone: str
    host: str
    counts: dict[tuple[str, str], tuple[int, int]]
    equal: int
    missing: int
    unexpected: int
    altered: int
    shown: dict[str, list[dict[str, Any]]]
    shared: int
    duplicates: int
    outside: int
    failures: tuple[FailureSummary, ...]
    from_position: bool = False

    @classmethod
    def of(cls, findings: Findings, **others: Any) -> Verification:
        """From the differences and what else is known."""
        return cls(
            counts={key: (a, b) for key, (a, b) in sorted(findings.counts.items())},
            equal=findings.kinds["equal"],
            missing=findings.kinds["missing"],
            unexpected=findings.kinds["unexpected"],
            altered=findings.kinds["altered"],
            shown=findings.shown(),
            shared=findings.repeats,
            **others,
        )

    @property
    def whole(self) -> bool:
        """Whether every file of the input could be read."""
        return not any(each.reason == "file_unreadable" for each in self.failures)

    @property
    def proven(self) -> bool:
        """Whether Mixpanel holds the events of the input, each once and as it should be.

        Where every record failed, or was of other days, nothing is proven.
        """
        different = self.missing or self.unexpected or self.altered or self.shared
        compared = self.equal or not (self.outside or self.failures)
        return self.whole and bool(compared) and not different

    @property
    def may_have_other_ids(self) -> bool:
        """Whether events that are missing may be there under the ids of other rows."""
        return self.from_position and bool(self.missing and self.unexpected)

    @property
    def sentence(self) -> str:
        """The result in one sentence, with what to do."""
        events = sum(expected for expected, _ in self.counts.values()) + self.shared
        if not self.whole:
            return "A file of the input cannot be read, so nothing is proven; see below which."
        if self.first is None or self.last is None:
            return "The input has no events, so there is nothing to compare."
        if not self.counts:
            return f"The input has no events from {self.first} to {self.last}; nothing is proven."
        parts = [
            (
                self.missing,
                f"of {events:,} events",
                "missing",
                _OTHER_IDS if self.may_have_other_ids else "run the import again",
            ),
            (
                self.shared,
                f"of {events:,} records",
                "lost, because others of the input have the same $insert_id",
                "choose insert_id columns that tell the records apart, and import again",
            ),
            (
                self.altered,
                f"of {events:,} events",
                "different in Mixpanel",
                "look at the differences below",
            ),
            (
                self.unexpected,
                "events in Mixpanel",
                "not in the input",
                "verify with the files and the mapping of the import",
            ),
        ]
        found = [part for part in parts if part[0]]
        if not found:
            return f"Mixpanel holds all {events:,} events of the input, each once and unaltered."
        texts = [
            f"{number:,} {of} {'is' if number == 1 else 'are'} {what}"
            for number, of, what, _ in found
        ]
        return f"{' and '.join(texts)}; {found[0][3]}."


def render(result: Verification) -> str:
    """The result for people; the first line says all of it."""
    lines = [result.sentence]
    if result.first is None or result.last is None:
        return "\n".join([*lines, *describe(result.failures)])
    lines += ["", f"{result.host}, {result.first} to {result.last} ({result.zone})"]
    expected = sum(pair[0] for pair in result.counts.values())
    actual = sum(pair[1] for pair in result.counts.values())
    lines.append(f"  {'':<40}{'input':>14}{'Mixpanel':>14}")
    lines.append(f"  {'events':<40}{expected:>14,}{actual:>14,}")
    different = {key: pair for key, pair in result.counts.items() if pair[0] != pair[1]}
    for (day, event), (here, there) in list(different.items())[:SHOWN]:
        lines.append(f"  {f'{day} {event}':<40}{here:>14,}{there:>14,}")
    if len(different) > SHOWN:
        lines.append(f"  and {len(different) - SHOWN:,} more days and events that differ")
    for name, number in (
        ("with an $insert_id that others have", result.shared),
        ("repeated in the export, one to Mixpanel", result.duplicates),
        ("in the input on other days", result.outside),
        ("the same on both sides", result.equal),
        ("missing in Mixpanel", result.missing),
        ("unexpected in Mixpanel", result.unexpected),
        ("altered", result.altered),
    ):
        lines.append(f"  {name:<40}{number:>14,}")
    for kind in KINDS:
        shown = result.shown[kind]
        if shown:
            lines += ["", f"{kind.capitalize()}, the first {len(shown)}"]
            lines += [_shown_line(each) for each in shown]
    return "\n".join([*lines, *describe(result.failures)])


def _shown_line(each: dict[str, Any]) -> str:
    text = f"  {each['day']} {each['insert_id']} {each['event']}"
    for name, pair in each.get("differences", {}).items():
        text += f"\n    {name}: {_value(pair['input'])} in the input, "
        text += f"{_value(pair['mixpanel'])} in Mixpanel"
    return text


def _value(value: Any) -> str:
    text = "nothing" if value is None else orjson.dumps(value).decode()
    return text if len(text) <= 80 else text[:77] + "..."
