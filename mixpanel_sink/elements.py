"""What a PCollection must be to be written, as far as that is known when a pipeline is built."""

from __future__ import annotations

import logging
from typing import Any

import apache_beam as beam
from apache_beam.typehints import typehints

from mixpanel_sink.encode.records import no_record
from mixpanel_sink.errors import SettingError, kind_of

_LOGGER = logging.getLogger(__name__)
_HINTS = (
    (typehints.TupleHint.TupleConstraint, tuple),
    (typehints.TupleHint.TupleSequenceConstraint, tuple),
    (typehints.ListHint.ListConstraint, list),
    (typehints.SetHint.SetTypeConstraint, set),
    (typehints.FrozenSetHint.FrozenSetTypeConstraint, frozenset),
    (typehints.IterableHint.IterableTypeConstraint, list),
)
_PLAIN = (str, bytes, int, float, bool)


def check_elements(transform: str, given: Any) -> None:
    """Refuses what is not a PCollection, and one whose type says that no element is a record.

    Args:
        transform: its name, for the message.
        given: what it is applied to.

    Raises:
        SettingError: says what to put before it.
    """
    if isinstance(given, beam.pvalue.PBegin):
        raise SettingError(f"{transform} cannot begin a pipeline: apply it to a PCollection.")
    if not isinstance(given, beam.PCollection):
        parts = getattr(given, "_fields", None)  # what a reader or another sink gave
        fix = "Join several with beam.Flatten()"
        if parts:
            fix = f"Apply it to one of its parts, such as .{parts[0]}"
        raise SettingError(f"{transform} takes one PCollection, not {kind_of(given)}. {fix}.")
    hint = given.element_type
    kind = next((kind for of_hint, kind in _HINTS if type(hint) is of_hint), hint)
    if kind in (*_PLAIN, tuple, list, set, frozenset):
        raise SettingError(f"{transform} is given {kind.__name__} elements. {no_record(kind)}")


def advise(transform: str, given: Any) -> None:
    """Warns of records that were taken out of tables only to be put into tables again.

    Args:
        transform: its name, for the message.
        given: the PCollection that it is applied to.
    """
    source = getattr(given.producer, "parent", None)
    if source is not None and isinstance(source.transform, beam.io.ReadFromParquet):
        _LOGGER.warning(
            "%s is given the records of ReadFromParquet one by one. It writes whole tables several "
            "times as fast: use beam.io.ReadFromParquetBatched instead, with the same arguments "
            "except as_rows.",
            transform,
        )
