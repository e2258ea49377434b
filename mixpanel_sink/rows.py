"""`WriteRowsToMixpanel`: the sink made of plain values, for those who have no Python objects.

Beam YAML and pipelines in Java or Go build it (yaml/, expansion_service.py). Rows go in, rows
come out, with the coders that every SDK knows.
"""

# Beam makes the transform's configuration schema of its annotations: they are not postponed, and
# Optional is the form that it knows.

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional, get_type_hints

import apache_beam as beam
from apache_beam.typehints.row_type import RowTypeConstraint

from mixpanel_sink.configured import MAPPINGS, AnyMapping, write_of
from mixpanel_sink.errors import FailedRecordError, MappingError, SettingError, kind_of
from mixpanel_sink.results import FailedRecord, Receipt
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.options import BY_NAME, Settings, options_of

RECEIPTS = "receipts"
"""The output of every write, one row for each request."""
_INNER = "windows"
"""A field of results that the accounting needs, and rows do not have."""


class ErrorHandling(NamedTuple):
    """Where failed records go: the name of an output."""

    output: str


class FailedRow(NamedTuple):
    """A failed record as a row.

    Attributes:
        element: the record as it was read, as JSON; or the event, where only it is known.
        msg: cause and fix in a sentence.
        reason, field, destination, file, row, http_status, attempts, insert_id: as in
            `FailedRecord`.
    """

    element: Optional[str]
    msg: str
    reason: str
    field: Optional[str]
    destination: Optional[str]
    file: Optional[str]
    row: Optional[int]
    http_status: Optional[int]
    attempts: int
    insert_id: Optional[str]


def _fixed(kind: str) -> dict[str, Any]:
    """What a transform for profiles need not be told, and what is only for events."""
    of_events = ("max_in_flight", "run_property", "run_id")
    return {"endpoint_kind": kind, **dict.fromkeys(of_events)}


class WriteRowsToMixpanel(beam.PTransform):
    """Writes rows to Mixpanel, each once, within the project's quota.

    Failed records go to the output that error_handling names; without it, the first one stops
    the pipeline. The output "receipts" has a row for each request.

    Raises:
        SettingError: when the pipeline is built, if a setting is wrong.
    """

    FIXED: Mapping[str, Any] = {}
    """Settings that this transform has by its name."""

    def __init__(self, mapping: Any = None, **given: Any) -> None:
        super().__init__()
        given |= self.FIXED
        self._failed = _output(given.pop("error_handling", None))
        settings = Settings.of({name: _plain(value) for name, value in given.items()}, "rows", "")
        checkpoint = Checkpoint(settings.checkpoint) if settings.checkpoint else None
        made = _mapping(mapping, settings.endpoint_kind)
        self._write = write_of(settings, made, checkpoint, prefix="")

    def expand(self, rows: Any) -> Any:
        """Builds the flow; gives a dict of the outputs by name."""
        result = rows | "Write" >> self._write
        outputs = {RECEIPTS: result.receipts | "Receipts" >> _as_rows(_receipt_row, Receipt)}
        if self._failed is None:
            result.failed | "No failures" >> beam.Map(_stop)
        else:
            outputs[self._failed] = result.failed | "Failures" >> _as_rows(_failed_row, FailedRow)
        return outputs


class WriteProfileRowsToMixpanel(WriteRowsToMixpanel):
    """Writes rows to the profiles of users in Mixpanel, in order.

    Failed records go to the output that error_handling names; without it, the first one stops
    the pipeline. The output "receipts" has a row for each request.

    Raises:
        SettingError: when the pipeline is built, if a setting is wrong.
    """

    FIXED = _fixed("engage")

    def __init__(self, mapping: Any = None, **given: Any) -> None:
        super().__init__(mapping, **given)


class WriteGroupRowsToMixpanel(WriteRowsToMixpanel):
    """Writes rows to the profiles of groups in Mixpanel, in order.

    Failed records go to the output that error_handling names; without it, the first one stops
    the pipeline. The output "receipts" has a row for each request.

    Raises:
        SettingError: when the pipeline is built, if a setting is wrong.
    """

    FIXED = _fixed("groups")

    def __init__(self, mapping: Any = None, **given: Any) -> None:
        super().__init__(mapping, **given)


def settings_types() -> dict[str, Any]:
    """The transform's settings and their types: from the table of options, with the mapping as
    keys and values or as text, and with error_handling."""
    types: dict[str, Any] = {"mapping": Any}
    for each in options_of("rows"):
        if each.name not in types:
            types[each.name] = Optional[_TYPES.get(each.kind.type, each.kind.type)]
    return {**types, "error_handling": Optional[ErrorHandling]}


_TYPES: dict[type, Any] = {tuple: Sequence[str]}
_HELP = {
    "mapping": "How rows become events: the mapping's keys and values, or its YAML or JSON as "
    "text. Left out if the rows are Mixpanel events already.",
    "error_handling": "Whether and where to output failed records, as {output: NAME}.",
}


def _declare(own: Any) -> None:
    """Gives the transform the signature and the docstring from which Beam makes its schema."""
    types = {name: kind for name, kind in settings_types().items() if name not in own.FIXED}
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD
            if name == "mapping"
            else inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=kind,
        )
        for name, kind in types.items()
    ]
    own.__init__.__signature__ = inspect.Signature(parameters, return_annotation=None)
    own.__init__.__annotations__ = {**types, "return": None}
    said = [f"    {name}: {_HELP.get(name) or BY_NAME[name].help}" for name in types]
    about, _, raises = inspect.cleandoc(own.__doc__).partition("Raises:")
    own.__doc__ = f"{about}Args:\n" + "\n".join(said) + f"\n\nRaises:{raises}"


for _each in (WriteRowsToMixpanel, WriteProfileRowsToMixpanel, WriteGroupRowsToMixpanel):
    _declare(_each)


def _mapping(given: Any, kind: str) -> AnyMapping | None:
    if given is None or given == "":
        return None
    if isinstance(given, str):
        return MAPPINGS[kind].from_yaml(given)
    if not isinstance(given, Mapping) and not hasattr(given, "_asdict"):
        raise MappingError(f"mapping is {kind_of(given)}; give its keys and values.")
    return MAPPINGS[kind].from_dict(_plain(given))


def _plain(value: Any) -> Any:
    """Dicts instead of rows, as another SDK sends them; what a row has as null is not given."""
    if hasattr(value, "_asdict"):
        fields = value._asdict().items()
        return {name: _plain(item) for name, item in fields if item is not None}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _output(error_handling: Any) -> str | None:
    if not error_handling:
        return None
    given = _plain(error_handling)
    if not isinstance(given, dict) or set(given) != {"output"} or not given["output"]:
        raise SettingError("error_handling is {output: NAME}, the name of the failed records.")
    if given["output"] == RECEIPTS:
        raise SettingError(f"The output {RECEIPTS!r} is taken; give error_handling another name.")
    return str(given["output"])


def _as_rows(make: Any, fields: Any) -> Any:
    # A plain row type: its coder is the one that every SDK has.
    kinds = [(name, kind) for name, kind in get_type_hints(fields).items() if name != _INNER]
    return beam.Map(make).with_output_types(RowTypeConstraint.from_fields(kinds))


def _receipt_row(receipt: Receipt) -> beam.Row:
    return beam.Row(**{k: v for k, v in receipt._asdict().items() if k != _INNER})


def _failed_row(failed: FailedRecord) -> beam.Row:
    values = failed._asdict()
    element = failed.event_json if failed.record_json is None else failed.record_json
    same = {name: values[name] for name in FailedRow._fields[2:]}
    return beam.Row(element=element, msg=failed.message, **same)


def _stop(failed: FailedRecord) -> None:
    raise FailedRecordError(
        f"A record failed ({failed.reason}): {failed.message} Fix it, or collect such records "
        "with error_handling: {output: NAME} and go on."
    )
