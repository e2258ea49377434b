"""Sends JSON messages of Pub/Sub to Mixpanel, as they come.

    python -m pipelines.pubsub_to_mixpanel \\
        --input projects/P/subscriptions/events \\
        --mapping configs/web_events.yaml \\
        --api_secret gcpsecret:projects/P/secrets/S \\
        --quota reference --max_latency 10 \\
        --failed_output projects/P/topics/failed \\
        --runner DataflowRunner --project P --region europe-west1 ...

--input is a subscription or a topic. Where the mapping names no insert_id, the message's id is
that of the event: a message that is delivered twice is stored once. --failed_output is a topic,
for a JSON message each. It runs until it is drained or cancelled.

Any Beam option may follow (--runner, --project, --temp_location, ...). Exit codes: 0 launched, or
ended; 1 if the job failed; 2 if a setting is wrong, before anything was read.
"""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import argparse
import logging
import sys
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
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions

from mixpanel_sink.errors import DestinationError, InputError, SettingError
from mixpanel_sink.jobs.options import (
    MixpanelOptions,
    mapping_of,
    pipeline_arguments,
    require,
    write_of,
)
from mixpanel_sink.jobs.run import EXIT_SETTING, before_start, make_pipeline, run
from mixpanel_sink.jobs.startup import leave
from mixpanel_sink.read.json_lines import read_object
from mixpanel_sink.results import FailedRecord, record_as_json
from mixpanel_sink.settings.columns import ColumnsId, PositionId
from mixpanel_sink.settings.mapping import EventMapping

MESSAGE_ID, PUBLISH_TIME = "$message_id", "$publish_time"
"""Columns that a mapping may name beside those of the message's JSON."""

_PROG = "python -m pipelines.pubsub_to_mixpanel"


class StreamOptions(PipelineOptions):
    """The pipeline's own options."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("Pub/Sub")
        group.add_argument(
            "--max_latency",
            type=float,
            default=10.0,
            help="Seconds that an event may wait for its batch. Default: %(default)s.",
        )
        group.add_argument(
            "--id_attribute", help="Attribute that identifies a message, instead of Pub/Sub's id."
        )
        group.add_argument(
            "--timestamp_attribute", help="Attribute with the time for Beam's windows."
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the pipeline and gives the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("mixpanel_sink").setLevel(logging.INFO)
    try:
        argv = sys.argv[1:] if argv is None else argv
        arguments = pipeline_arguments(argv, _PROG, __doc__, MixpanelOptions, StreamOptions)
        pipeline = build(PipelineOptions(arguments))
    except (SettingError, InputError, DestinationError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_SETTING
    return run(pipeline)


def build(options: PipelineOptions) -> beam.Pipeline:
    """Checks every setting and builds the graph.

    Raises:
        SettingError: what is wrong, before anything is read.
    """
    own, stream = options.view_as(MixpanelOptions), options.view_as(StreamOptions)
    options.view_as(SetupOptions).save_main_session = False
    options.view_as(StandardOptions).streaming = True
    require(own, "input", "mapping")
    for name in ("checkpoint", "report"):
        if getattr(own, name):
            raise SettingError(f"--{name} is for input that ends; leave it out.")
    topic = _place("input", own.input) == "topics"
    if own.failed_output and _place("failed_output", own.failed_output) != "topics":
        raise SettingError("--failed_output is a topic here: projects/P/topics/T.")
    mapping = _mapping(own.mapping)
    write = write_of(own, mapping, None, stream.max_latency)
    before_start(write, options, files=())

    pipeline = make_pipeline(options)
    read = ReadFromPubSub(
        topic=own.input if topic else None,
        subscription=None if topic else own.input,
        with_attributes=True,
        timestamp_attribute=stream.timestamp_attribute,
    )
    added = {MESSAGE_ID, PUBLISH_TIME} & {*mapping.mapped_columns(), *mapping.rename}
    messages = pipeline | "Read messages" >> read
    # The text of a bad message may hold what is not to leave the workers.
    private = bool(own.drop_properties or own.hash_properties)
    records = messages | "Parse" >> beam.Map(
        record_of, stream.id_attribute, frozenset(added), keep_text=not private
    )
    result = records | "Write to Mixpanel" >> write
    if own.failed_output:
        (
            result.failed
            | "As JSON" >> beam.Map(_as_message).with_output_types(bytes)
            | "Publish failed" >> WriteToPubSub(own.failed_output)
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
        keep_text: whether a failed record holds a message that is no object.
    """
    value = read_object(message.data)
    if isinstance(value, str):
        text = message.data.decode("utf-8", "backslashreplace")
        return FailedRecord(
            reason="line_unreadable",
            message=f"The message {message.message_id} {value}. Mend what publishes it.",
            record_json=record_as_json(text) if keep_text else None,
        )
    if MESSAGE_ID in added:
        attributes = message.attributes or {}
        given = attributes.get(id_attribute) if id_attribute else message.message_id
        value[MESSAGE_ID] = given
    if PUBLISH_TIME in added:
        value[PUBLISH_TIME] = message.publish_time
    return value


def _mapping(path: str) -> EventMapping:
    mapping = mapping_of(path)
    if mapping.insert_id == PositionId():  # a message has no row
        object.__setattr__(mapping, "insert_id", ColumnsId((MESSAGE_ID,)))
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
            f"--{name} is {given!r}; give projects/P/subscriptions/S or projects/P/topics/T, with "
            "the project's and its own full name."
        ) from None
    return kind


if __name__ == "__main__":
    leave(main())
