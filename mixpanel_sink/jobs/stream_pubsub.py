"""Sends JSON messages of Pub/Sub to Mixpanel, as they come.

    python -m mixpanel_sink.jobs.stream_pubsub \\
        --input projects/P/subscriptions/events \\
        --mapping configs/web_events.yaml \\
        --api-secret gcpsecret:projects/P/secrets/S \\
        --quota reference --max-latency 10 \\
        --failed-output projects/P/topics/failed \\
        --runner DataflowRunner --project P --region europe-west1 ...

--input is a subscription or a topic. Where the mapping names no insert_id, the message's id is
that of the event: a message that is delivered twice is stored once. --failed-output is a topic,
for a JSON message each. It runs until it is drained or cancelled.

Any Beam option may follow (--runner, --project, --temp_location, ...). Exit codes: 0 launched, or
ended; 1 if the job failed; 2 if a setting is wrong, before anything was read.
"""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import dataclasses
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.pubsub import (
    PubsubMessage,
    ReadFromPubSub,
    WriteToPubSub,
    parse_subscription,
    parse_topic,
)
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from mixpanel_sink.configured import MAPPINGS, AnyMapping, text_of
from mixpanel_sink.errors import MappingError, SettingError
from mixpanel_sink.jobs.beam_options import parse
from mixpanel_sink.jobs.build import checked_write
from mixpanel_sink.jobs.command import arguments, guarded, require
from mixpanel_sink.jobs.launcher import leave
from mixpanel_sink.jobs.mappings import is_private
from mixpanel_sink.jobs.notify import told
from mixpanel_sink.jobs.run import before_start, run
from mixpanel_sink.jobs.runners import make_pipeline
from mixpanel_sink.read.json_lines import read_object
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.results.shown import record_as_json
from mixpanel_sink.settings.columns import ColumnsId, PositionId
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.names import named
from mixpanel_sink.settings.options import Settings

MESSAGE_ID, PUBLISH_TIME = "$message_id", "$publish_time"
"""Columns that a mapping may name beside those of the message's JSON."""
MAX_LATENCY = 10.0
"""Seconds that an event may wait for its batch, unless the settings say."""


def main(
    argv: Sequence[str] | None = None,
    *,
    prog: str = "python -m mixpanel_sink.jobs.stream_pubsub",
    about: str | None = __doc__,
) -> int:
    """Runs the program and returns the exit code."""
    return guarded(lambda: start(*parse(arguments(argv), "stream", prog, about)))


def start(settings: Settings, options: PipelineOptions) -> int:
    """Checks everything, and sends until it is drained or cancelled; raises as `build`."""
    return told("stream", settings, lambda: run(build(settings, options), settings))


def build(settings: Settings, options: PipelineOptions) -> beam.Pipeline:
    """Checks every setting and builds the graph.

    Raises:
        SettingError: what is wrong, before anything is read.
    """
    options.view_as(StandardOptions).streaming = True
    require(settings, "input", "mapping")
    if settings.max_latency is None:
        settings = dataclasses.replace(settings, max_latency=MAX_LATENCY)
    (place,) = settings.input
    topic = _place("input", place) == "topics"
    failed_topic = settings.failed_output
    if failed_topic and _place("failed_output", failed_topic) != "topics":
        raise SettingError("--failed-output is a topic here: projects/P/topics/T.")
    mapping = mapping_of(settings)
    write = checked_write(settings, options, mapping, None)
    before_start(write, settings, options, topic=True)

    pipeline = make_pipeline(options)
    read = ReadFromPubSub(
        topic=place if topic else None,
        subscription=None if topic else place,
        with_attributes=True,
        timestamp_attribute=settings.timestamp_attribute,
    )
    added = {MESSAGE_ID, PUBLISH_TIME} & {*mapping.named_columns(), *mapping.rename}
    messages = pipeline | "Read messages" >> read
    records = messages | "Parse" >> beam.Map(
        record_of, settings.id_attribute, frozenset(added), keep_text=not is_private(settings)
    )
    result = records | "Write to Mixpanel" >> write
    if failed_topic:
        (
            result.failed
            | "As JSON" >> beam.Map(_as_message).with_output_types(bytes)
            | "Publish failed" >> WriteToPubSub(failed_topic)
        )
    return pipeline


def record_of(
    message: PubsubMessage, id_attribute: str | None, added: frozenset[str], keep_text: bool = True
) -> dict[str, Any] | FailedRecord:
    """The JSON object of a message with its id and time, or why it has none.

    Args:
        message: with its attributes.
        id_attribute: which of them identifies it, instead of Pub/Sub's id.
        added: columns to add to the object.
        keep_text: whether a failed record holds a message that is not an object.
    """
    value = read_object(message.data)
    if isinstance(value, str):
        text = message.data.decode("utf-8", "backslashreplace")
        return FailedRecord(
            reason="line_unreadable",
            message=f"The message {message.message_id} {value}. Fix what publishes it.",
            record_json=record_as_json(text) if keep_text else None,
        )
    if MESSAGE_ID in added:
        attributes = message.attributes or {}
        given = attributes.get(id_attribute) if id_attribute else message.message_id
        value[MESSAGE_ID] = given
    if PUBLISH_TIME in added:
        value[PUBLISH_TIME] = message.publish_time
    return value


def mapping_of(settings: Settings) -> AnyMapping:
    """The mapping in the settings' file. Where it names no insert_id, the message's id is that of
    the event.

    Raises:
        SettingError: if it cannot be read, or is wrong, or wants ids from the position in a file.
    """
    text = text_of(str(settings.mapping), "mapping")
    mapping = MAPPINGS[settings.endpoint_kind].from_yaml(text)
    if not isinstance(mapping, EventMapping):
        return mapping
    if isinstance(mapping.insert_id, PositionId):
        raise MappingError(
            "insert_id is {from: position}, and a Pub/Sub message has no position in a file. Leave "
            "insert_id out, so that the message's id is used, or name a column."
        )
    if mapping.insert_id is None:
        return dataclasses.replace(mapping, insert_id=ColumnsId((MESSAGE_ID,)))
    return mapping


def _as_message(failed: FailedRecord) -> bytes:
    return failed.to_json().encode()


def _place(name: str, given: str) -> str:
    """Whether it is one of the topics or of the subscriptions."""
    kind = "topics" if "/topics/" in given else "subscriptions"
    try:
        (parse_topic if kind == "topics" else parse_subscription)(given)
    except ValueError:
        raise SettingError(
            f"{named('--', name)} is {given!r}; give projects/P/subscriptions/S or "
            "projects/P/topics/T, with the project's and its own full name."
        ) from None
    return kind


if __name__ == "__main__":
    leave(main())
