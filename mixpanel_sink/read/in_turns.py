"""One item of a list a bundle, for runners that hand a stage all its input as one bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker


class AllOfThem(beam.RestrictionProvider):
    """A list's range, which the runner need not split at the beginning."""

    def initial_restriction(self, element: Sequence[Any]) -> OffsetRange:
        """The whole list."""
        return OffsetRange(0, len(element))

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        """A tracker of a range."""
        return OffsetRestrictionTracker(restriction)

    def restriction_size(self, element: Sequence[Any], restriction: OffsetRange) -> int:
        """How many items are left."""
        return restriction.size()
