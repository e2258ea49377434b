"""`WriteToMixpanel`, the transform that users apply, and the flow that it shares with its siblings.

    records --Convert--> (lane, chunk) --> Send --> receipts
       |                                    |
       \\--> failed  <----------------------/

There is no shuffle on the payload path: a Flatten, Reshuffle or GroupByKey on it would hold every
byte in memory on some runners.
"""

from __future__ import annotations

import dataclasses
import functools
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from mixpanel_sink import coders
from mixpanel_sink.api.endpoints import Endpoint, event_endpoint
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.checkpoint.profile_store import ProfileStore
from mixpanel_sink.checkpoint.profiles import claim_profiles, store_of
from mixpanel_sink.checkpoint.registry import open_log
from mixpanel_sink.elements import advise, check_elements
from mixpanel_sink.errors import SettingError
from mixpanel_sink.report.accounting import CheckAccounting, FailOnFailure
from mixpanel_sink.results import AcceptedRecord, FailedRecord, ReadCount, Receipt, WriteResult
from mixpanel_sink.send.preflight import Preflight, check, check_connections
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.credentials import Credentials
from mixpanel_sink.settings.job import Job, OnFailure, Place, RateLimiter, check_mapping
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.project import Project
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.settings.retry import RetryPolicy
from mixpanel_sink.settings.run_mark import RunMark
from mixpanel_sink.stages import outputs, send
from mixpanel_sink.stages.convert import ConvertToChunks
from mixpanel_sink.stages.seen import KeepSeen, Seen
from mixpanel_sink.stages.send_steps import send_chunks, timer_family
from mixpanel_sink.stages.sharing import share_quota
from mixpanel_sink.windowing import GLOBAL

coders.register()


class MixpanelWrite(beam.PTransform):
    """What the three transforms share: the flow, and what can be checked before it runs."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job
        self._error_handler: Any = None

    def with_error_handler(self, error_handler: Any) -> Any:
        """Sends failed records to one of Beam's error handlers; returns self."""
        self._error_handler = error_handler
        return self

    def claim_checkpoint(self) -> None:
        """Refuses a checkpoint of another job. For launchers that can resolve the secrets, too.

        Raises:
            CheckpointError: if it belongs to another job, or cannot be used.
            CredentialsError: if a secret does not resolve.
        """
        job = self._job
        if job.checkpoint is not None:
            projects = job.resolve()
            if job.only_changed:
                claim_profiles(job, projects)
                return
            open_log(job.checkpoint, job.mapping, job.endpoint, projects, job.privacy, job.mark)

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of Mixpanel's API that it writes to."""
        return self._job.endpoint

    def profile_store(self) -> ProfileStore:
        """What the checkpoint knows of profiles, with `only_changed`; not to be used during a run.

        Raises:
            CheckpointError: if it cannot be used.
        """
        return store_of(self._job, self._job.resolve())

    def check_connections(self) -> None:
        """Refuses endpoints that cannot be reached from here, without making a request.

        Raises:
            DestinationError: says why.
        """
        destinations = {target.destination for target in self._job.targets}
        check_connections(destinations, self._job.retry.connect_timeout)

    def preflight(self) -> list[Preflight]:
        """Asks each project's endpoint, with one empty request, whether it takes the
        credentials. The request counts against the quota, here and at Mixpanel.

        Raises:
            CredentialsError: if a secret does not resolve.
            DestinationError: if an endpoint is not Mixpanel's, or refuses the credentials.
        """
        job = self._job
        answers = [check(target, job.endpoint, job.retry) for target in job.targets]
        spent = {each.name: each.at for each in answers if each.at is not None}
        self._job = dataclasses.replace(job, spent=spent)
        return answers

    @property
    def mark(self) -> RunMark | None:
        """What every event of this run carries."""
        return self._job.mark

    def display_data(self) -> dict[str, Any]:
        """What runners show; no secrets and no references to them."""
        job = self._job
        hidden = job.privacy
        more = {
            "mapping": None if job.mapping is None else type(job.mapping).__name__,
            "dropped": None if hidden is None else ", ".join(hidden.drop),
            "hashed": None if hidden is None else ", ".join(hidden.hash),
            "rate_limiter": job.rate_limiter and type(job.rate_limiter).__name__,
            "accepted": job.accepted or None,
            "run": None if job.mark is None else job.mark.run,
            "max_latency": job.max_latency,
            "checkpoint": None if job.checkpoint is None else job.checkpoint.path,
            "on_ambiguous": job.on_ambiguous if job.endpoint.ordered else None,
        }
        return {
            "destination": ", ".join(target.name for target in job.targets),
            "host": ", ".join(dict.fromkeys(each.destination.host for each in job.targets)),
            "endpoint": f"/{job.endpoint.name}",
            "quota": ", ".join(dict.fromkeys(str(target.quota) for target in job.targets)),
            "lanes": job.lanes,
            "max_in_flight": job.max_in_flight,
            "batch_events": job.targets[0].limits.batch_events,
            "on_failure": job.on_failure,
            "check_accounting": job.check_accounting,
            **{name: value for name, value in more.items() if value is not None},
        }

    def expand(self, records: Any) -> WriteResult:
        """Builds the flow."""
        check_elements(type(self).__name__, records)
        advise(type(self).__name__, records)
        windowing = records.windowing
        job = self._job_for(records)

        # The end of a bounded input flushes what waits. (With a processing-time timer some runners
        # let the watermark pass before that flush, and drop its results as late.)
        within = job.max_latency is not None and not records.is_bounded
        # Two sinks must not share the names of timers, nor may an update of a job change them.
        label = records.pipeline._current_transform().full_label
        make_send = functools.partial(send_chunks, family=timer_family(label), within=within)
        converting, sending = beam.ParDo(ConvertToChunks(job)), beam.ParDo(make_send(job))
        share_quota(records.pipeline, label, job, {converting: ConvertToChunks, sending: make_send})

        also = [outputs.SEEN] if job.only_changed else []
        converted = records | "Convert" >> converting.with_outputs(
            outputs.FAILED, outputs.READ, *also, main="chunks"
        )
        if job.only_changed:
            _ = _typed(converted[outputs.SEEN], Seen, GLOBAL) | "Seen" >> KeepSeen(job)
        chunks = _typed(converted.chunks, tuple[str, bytes], GLOBAL)
        read = _typed(converted[outputs.READ], ReadCount, GLOBAL)

        keyed = sending.with_input_types(tuple[str, bytes])
        tags = [send.FAILED, send.ACCEPTED] if job.accepted else [send.FAILED]
        sent = chunks | "Send" >> keyed.with_outputs(*tags, main="receipts")
        receipts = _typed(sent.receipts, Receipt, windowing)
        refused = _typed(sent[send.FAILED], FailedRecord, windowing)

        unfit = _typed(converted[outputs.FAILED], FailedRecord, windowing)
        failed = _typed((unfit, refused) | "Failed" >> beam.Flatten(), FailedRecord, windowing)
        if self._error_handler is not None:
            self._error_handler.add_error_pcollection(failed)
        result = WriteResult(failed, receipts, read)
        if job.accepted:
            accepted = _typed(sent[send.ACCEPTED], AcceptedRecord, windowing)
            result = result.with_accepted(accepted)
        return self._accounted(result, records.is_bounded)

    def _accounted(self, result: WriteResult, bounded: bool) -> WriteResult:
        """Adds what makes the pipeline fail: records that are not accounted for, or failures."""
        job = self._job
        if bounded and (job.check_accounting or job.on_failure == "fail"):
            check = CheckAccounting(job.on_failure)
            return result.with_totals(result | "Accounting" >> check)
        if job.on_failure == "fail":
            _ = result.failed | "No failures" >> FailOnFailure()
        return result

    def _job_for(self, records: Any) -> Job:
        """The settings completed for this input, which they must fit as far as it is known."""
        job = self._job
        if not records.is_bounded and job.max_latency is None:
            raise SettingError(
                "The input is unbounded, so a partial batch would wait forever. Give "
                f"{type(self).__name__} a max_latency in seconds."
            )
        if job.only_changed and not records.is_bounded:
            raise SettingError(
                "only_changed compares an input with the last one, so the input must be bounded."
            )
        if records.element_type is FailedRecord:
            if job.privacy is not None and job.privacy.hash:
                raise SettingError(
                    "Failed records hold hashes already, where a Privacy asked for them; they "
                    "cannot be hashed when they are sent again. Use drop."
                )
        elif (columns := _columns(records)) is not None:
            job.check_columns(columns)
        coder = records.windowing.windowfn.get_window_coder()
        return dataclasses.replace(job, window_coder=coder, run=uuid.uuid4().hex)


class WriteToMixpanel(MixpanelWrite):
    """Writes records to Mixpanel's /import or /track, each once, within the project's quota.

    Elements may be dicts, `beam.Row`s, named tuples, objects of dataclasses, attrs or pydantic,
    `pyarrow.Table`s (all with a mapping), or raw Mixpanel events (without). `FailedRecord`s are
    sent again: their event as it was, or their record through the mapping, with the same
    `$insert_id`.

    Args:
        mapping: how records become events; None if they are Mixpanel events already.
        credentials: `ApiSecret`, `ServiceAccount` or `ProjectToken`, with references.
        endpoint_kind: "import" for events of any age, or "track" for those of the last five
            days, which needs the project token.
        region: "us" (default), "eu" or "in".
        endpoint: a base URL instead of a region, for tests and proxies.
        quota: a `Quota` or its text; the default is 60 requests an hour for /import, and the
            API reference's 1,800,000 events a minute for /track.
        projects: several projects by name, instead of one project's credentials, region,
            endpoint and quota.
        destination: which of `projects` a record goes to: a column, or a function of the
            record (a dict) that gives the name.
        lanes: how many keys share the work and a project's quota. One carries more than
            Mixpanel lets a project send; more cost up to a request each.
        max_in_flight: requests at the same time, at most, on each worker and lane. The quota
            decides how many there are; 128 keep a server busy that takes 200 ms for each.
        max_latency: seconds that an event may wait for others; needed for unbounded
            input, where otherwise a partial batch would wait for ever. Bounded input
            does not use it.
        limits: sizes of events and batches.
        retry: how long to try.
        allow_http: permit an unencrypted endpoint on another machine.
        rate_limiter: one of Beam's, such as `EnvoyRateLimiter`, for several jobs that share one
            project's quota. It is asked before each request, besides `quota`.
        checkpoint: a folder, local or gs://, or a `Checkpoint`: batches that are known there to
            be accepted are not sent again when a bundle or the whole job is run again.
        privacy: columns that are dropped or hashed before anything leaves a worker.
        run_property: a property that every event carries, with `run_id` as its value, so that the
            events of this run can be deleted (docs/undo.md). Ids from the content leave it out.
        run_id: names the run; without it one is made when the pipeline is built.
        clock: seconds since 1970, for what counts as too old or in the future; a picklable
            function.
        check_accounting: whether the pipeline fails if the records read are not those accepted and
            those failed. Bounded input only: a stream has no end to add up at.
        on_failure: "dead_letter" (default): failed records are an output, and the log warns of
            them. "fail": the pipeline fails as well. With bounded input it does so at the end, if
            one record or more failed (so also if none was accepted), after everything else was
            sent; an empty input is not a failure. In a stream the first failed record raises, which
            some runners try again without end.
        accepted: whether the result has each accepted record, too, for a pipeline that goes on
            from what Mixpanel holds. It takes about as much memory and time as sending raw events.

    Returns:
        WriteResult: failed records and receipts.

    Raises:
        SettingError: when the pipeline is built, if a setting is wrong.
    """

    def __init__(
        self,
        mapping: EventMapping | None = None,
        credentials: Credentials | None = None,
        *,
        endpoint_kind: str = "import",
        region: str | None = None,
        endpoint: str | None = None,
        quota: Quota | str | None = None,
        projects: Mapping[str, Project] | None = None,
        destination: str | Callable[[Any], str] | None = None,
        lanes: int = 1,
        max_in_flight: int = 128,
        max_latency: float | None = None,
        limits: Limits | None = None,
        retry: RetryPolicy | None = None,
        allow_http: bool = False,
        rate_limiter: RateLimiter | None = None,
        checkpoint: Checkpoint | str | None = None,
        privacy: Privacy | None = None,
        run_property: str | None = None,
        run_id: str | None = None,
        clock: Callable[[], float] = time.time,
        check_accounting: bool = True,
        on_failure: OnFailure = "dead_letter",
        accepted: bool = False,
    ) -> None:
        check_mapping(mapping, EventMapping)
        api = event_endpoint(endpoint_kind)
        place = Place(credentials, region, endpoint, quota, allow_http, projects, destination)
        super().__init__(
            Job(
                endpoint=api,
                mapping=mapping,
                targets=place.targets(api, lanes, limits),
                route=place.route,
                lanes=lanes,
                max_in_flight=max_in_flight,
                max_latency=max_latency,
                retry=RetryPolicy() if retry is None else retry,
                rate_limiter=rate_limiter,
                checkpoint=checkpoint,  # type: ignore[arg-type]  # a path becomes one
                privacy=privacy,
                clock=clock,
                check_accounting=check_accounting,
                on_failure=on_failure,
                accepted=accepted,
                mark=_mark(run_property, run_id),
            )
        )


def _mark(run_property: str | None, run_id: str | None) -> RunMark | None:
    if run_property is not None:
        return RunMark(run_property, run_id or "")
    if run_id is not None:
        raise SettingError("run_id is the value of a property: name it in run_property.")
    return None


def _columns(records: Any) -> list[str] | None:
    """The input's columns, where its schema is known."""
    from apache_beam.typehints.schemas import named_fields_from_element_type

    try:
        return [name for name, _ in named_fields_from_element_type(records.element_type)]
    except (TypeError, ValueError, AttributeError):
        return None


def _typed(pcollection: Any, kind: Any, windowing: Any) -> Any:
    # with_outputs leaves its PCollections untyped; Beam picks the coder by this
    pcollection.element_type = convert_to_beam_type(kind)
    pcollection._windowing = windowing
    return pcollection
