"""What Mixpanel takes and does not hold as it was: counters, and what people call them. No Beam
here."""

from __future__ import annotations

from mixpanel_sink.batch.keys import KeySample

NOTED = {
    "long_strings": ("strings over 255 bytes", "Mixpanel cuts them"),
    "rounded_decimals": ("decimals rounded", "to 64-bit floats"),
    "reserved_properties": ("reserved properties", "rename them; see failures.md"),
    "old_events": ("events over 2 years old", "Mixpanel deletes them by age"),
    "old_events_5_years": ("  over 5 years old", "in projects of any age"),
    "ignored_anon_ids": ("$anon_ids not a UUID v4", "original ID merge ignores them"),
    "repeated_ids": ("events with another's id", "Mixpanel keeps one of each; see metrics.md"),
    "hot_events": ("events of too busy users", "beyond 200,000 of a user and day"),
}
"""Counters of what Mixpanel takes and does not hold as it was, or not for long; what people call
them, and a remark."""


def lost_together(sample: KeySample) -> dict[str, int]:
    """What Mixpanel loses of a run's events because of what they have in common, by counter."""
    return {"repeated_ids": sample.repeated(), "hot_events": sample.hot()}
