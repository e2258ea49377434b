"""`WriteToMixpanel` and its siblings: the transforms that users apply.

    records --Convert--> (lane, chunk) --> Send --> receipts
       |                                    |
       \\--> failed  <----------------------/

The payload's way is a line: a Flatten, Reshuffle or GroupByKey on it would hold every
byte in memory on some runners.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from mixpanel_sink import coders
from mixpanel_sink.api.endpoints import ENGAGE, GROUPS, Endpoint, event_endpoint
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.checkpoint.registry import open_log
from mixpanel_sink.errors import MappingError, SettingError
from mixpanel_sink.results import FailedRecord, ReadCount, Receipt, WriteResult
from mixpanel_sink.send.preflight import Preflight, check
from mixpanel_sink.send.sender import OnAmbiguous
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.credentials import Credentials
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.profile_mapping import GroupMapping, ProfileMapping, UpdateMapping
from mixpanel_sink.settings.project import Project, Route, Target
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.settings.retry import RetryPolicy
from mixpanel_sink.stages import convert, pack, send
from mixpanel_sink.stages.convert import ConvertToChunks
from mixpanel_sink.stages.pack import ConvertSettings
from mixpanel_sink.stages.send import SendChunks, SendChunksWithin, SendSettings
from mixpanel_sink.windowing import GLOBAL

coders.register()

PROFILE_LANES = 8
"""Lanes of profile updates: each sends one request at a time, so that updates of a profile keep
their order; several lanes make up for that."""


class _Write(beam.PTransform):
    """What the three transforms share: settings, checks, and the flow above."""

    def __init__(
        self,
        endpoint: Endpoint,
        mapping: EventMapping | UpdateMapping | None,
        project: Project | None,
        *,
        projects: Mapping[str, Project] | None,
        destination: str | Callable[[Any], str] | None,
        lanes: int,
        max_in_flight: int,
        max_latency: float | None,
        limits: Limits | None,
        retry: RetryPolicy | None,
        on_ambiguous: OnAmbiguous = "fail",
        checkpoint: Checkpoint | str | None = None,
        privacy: Privacy | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        if lanes < 1 or max_in_flight < 1:
            raise SettingError("lanes and max_in_flight must be at least 1.")
        if max_latency is not None and max_latency <= 0:
            raise SettingError(f"max_latency is {max_latency}; it must be positive seconds.")
        if not isinstance(limits, Limits | None) or not isinstance(retry, RetryPolicy | None):
            raise SettingError("limits must be a Limits, and retry a RetryPolicy.")
        if on_ambiguous not in ("fail", "retry"):
            raise SettingError(f'on_ambiguous is {on_ambiguous!r}; it is "fail" or "retry".')
        if isinstance(checkpoint, str):
            checkpoint = Checkpoint(checkpoint)
        if not isinstance(checkpoint, Checkpoint | None):
            raise SettingError("checkpoint is a folder, local or gs://, or a Checkpoint.")
        route = None if project is not None or destination is None else Route(destination)
        if privacy is not None:
            _check_privacy(privacy, mapping, route)
        limits = limits or Limits()
        if project is None:
            targets = {
                name: Target.of(name, each, endpoint, lanes, limits)
                for name, each in _checked(projects, destination).items()
            }
        else:
            only = Target.of(None, project, endpoint, lanes, limits)
            targets = {only.name: only}
        self._endpoint = endpoint
        self._mapping = mapping
        self._targets = tuple(targets.values())
        self._route = route
        self._lanes = lanes
        self._max_in_flight = max_in_flight
        self._max_latency = max_latency
        self._retry = retry or RetryPolicy()
        self._on_ambiguous: OnAmbiguous = on_ambiguous
        self._checkpoint = checkpoint
        self._privacy = privacy
        self._spent: dict[str, float] = {}
        self._clock = clock
        self._error_handler: Any = None

    def with_error_handler(self, error_handler: Any) -> Any:
        """Sends failed records to one of Beam's error handlers; returns self."""
        self._error_handler = error_handler
        return self

    def claim_checkpoint(self) -> None:
        """Refuses another job's checkpoint at launch, where the workers' secrets are here too.

        Raises:
            CheckpointError: if it is another's, or cannot be used.
            CredentialsError: if a secret does not resolve.
        """
        if self._checkpoint is not None:
            projects = [(target, target.credentials.resolve()) for target in self._targets]
            open_log(self._checkpoint, self._mapping, self._endpoint, projects)

    def preflight(self) -> list[Preflight]:
        """Asks each project's endpoint, with one request that brings nothing, whether it takes
        the credentials. The request counts against the quota, here and at Mixpanel.

        Raises:
            CredentialsError: if a secret does not resolve.
            DestinationError: if an endpoint is none, or refuses the credentials.
        """
        said = [check(target, self._endpoint, self._retry) for target in self._targets]
        self._spent = {each.name: each.at for each in said if each.at is not None}
        return said

    def display_data(self) -> dict[str, Any]:
        """What runners show; no secrets and no references to them."""
        first = self._targets[0]
        return {
            "destination": ", ".join(target.name for target in self._targets),
            "endpoint": f"/{self._endpoint.name}",
            "quota": ", ".join(dict.fromkeys(str(target.quota) for target in self._targets)),
            "lanes": self._lanes,
            "max_in_flight": self._max_in_flight,
            "batch_events": first.limits.batch_events,
        }

    def expand(self, records: Any) -> WriteResult:
        """Builds the flow."""
        if not records.is_bounded and self._max_latency is None:
            raise SettingError(
                "The input is unbounded, so that a partial batch would wait for ever. Give "
                f"{type(self).__name__} a max_latency in seconds."
            )
        self._check_columns(records)
        windowing = records.windowing
        window_coder = windowing.windowfn.get_window_coder()
        converted = records | "Convert" >> beam.ParDo(
            ConvertToChunks(self._convert_settings(window_coder))
        ).with_outputs(pack.FAILED, convert.READ, main="chunks")
        chunks = _typed(converted.chunks, tuple[str, bytes])
        chunks._windowing = GLOBAL
        read = _typed(converted[convert.READ], ReadCount)
        read._windowing = GLOBAL

        settings = self._send_settings(window_coder)
        # Bounded input ends, and its end flushes. (With a processing-time timer some runners let
        # the watermark pass before that flush, and drop its results as late.)
        within = self._max_latency is not None and not records.is_bounded
        fn = SendChunksWithin if within else SendChunks
        keyed = beam.ParDo(fn(settings)).with_input_types(tuple[str, bytes])
        sent = chunks | "Send" >> keyed.with_outputs(send.FAILED, main="receipts")
        receipts = _typed(sent.receipts, Receipt)
        receipts._windowing = windowing
        refused = _typed(sent[send.FAILED], FailedRecord)
        refused._windowing = windowing

        unfit = _typed(converted[pack.FAILED], FailedRecord)
        failed = _typed((unfit, refused) | "Failed" >> beam.Flatten(), FailedRecord)
        if self._error_handler is not None:
            self._error_handler.add_error_pcollection(failed)
        return WriteResult(failed, receipts, read)

    def _check_columns(self, records: Any) -> None:
        """Refuses settings that do not fit the input, where its schema is known."""
        if records.element_type is FailedRecord:
            if self._privacy is not None and self._privacy.hash:
                raise SettingError(
                    "Failed records hold hashes already, where a Privacy asked for them; they "
                    "cannot be hashed when they are sent again. Use drop."
                )
            return
        if self._mapping is None:
            return
        from apache_beam.typehints.schemas import named_fields_from_element_type

        try:
            fields = named_fields_from_element_type(records.element_type)
        except (TypeError, ValueError, AttributeError):
            return
        names = [name for name, _ in fields]
        self._mapping.check_columns(names)
        if self._route is not None:
            self._route.check_columns(names)

    def _convert_settings(self, window_coder: Any) -> ConvertSettings:
        return ConvertSettings(
            endpoint=self._endpoint,
            mapping=self._mapping,
            targets=self._targets,
            route=self._route,
            lanes=self._lanes,
            window_coder=window_coder,
            privacy=self._privacy,
            clock=self._clock,
        )

    def _send_settings(self, window_coder: Any) -> SendSettings:
        return SendSettings(
            endpoint=self._endpoint,
            targets=self._targets,
            lanes=self._lanes,
            retry=self._retry,
            max_in_flight=self._max_in_flight,
            window_coder=window_coder,
            max_latency=self._max_latency,
            on_ambiguous=self._on_ambiguous,
            checkpoint=self._checkpoint,
            mapping=self._mapping,
            spent=self._spent,
        )


class WriteToMixpanel(_Write):
    """Writes records to Mixpanel's /import or /track, each once, within the project's quota.

    Elements may be dicts, `beam.Row`s, named tuples, `pyarrow.Table`s (all with a
    mapping), or ready-made Mixpanel events (without). `FailedRecord`s are sent again: their
    event as it was, or their record through the mapping, with the same `$insert_id`.

    Args:
        mapping: how records become events; None if they are Mixpanel events already.
        credentials: `ApiSecret`, `ServiceAccount` or `ProjectToken`, with references.
        endpoint_kind: "import" for events of any age, or "track" for those of the last five
            days, which needs the project token.
        region: "us" (default), "eu" or "in".
        endpoint: a base URL instead of a region, for tests and proxies.
        quota: a `Quota` or its text; the default is 60 requests an hour for /import, and the
            API reference's 30,000 events a second for /track.
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
        checkpoint: a folder, local or gs://, or a `Checkpoint`: batches that are known there to
            be accepted are not sent again when a bundle or the whole job is run again.
        privacy: columns that are dropped or hashed before anything leaves a worker.
        clock: seconds since 1970, for what counts as too old or in the future; a picklable
            function.

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
        checkpoint: Checkpoint | str | None = None,
        privacy: Privacy | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _check_mapping(mapping, EventMapping)
        super().__init__(
            event_endpoint(endpoint_kind),
            mapping,
            _project(credentials, region, endpoint, quota, allow_http, projects, destination),
            projects=projects,
            destination=destination,
            lanes=lanes,
            max_in_flight=max_in_flight,
            max_latency=max_latency,
            limits=limits,
            retry=retry,
            checkpoint=checkpoint,
            privacy=privacy,
            clock=clock,
        )


class _WriteUpdates(_Write):
    """What writing profiles of users and of groups shares."""

    _endpoint_of: Endpoint
    _mapping_of: type[UpdateMapping]

    def __init__(
        self,
        mapping: Any = None,
        credentials: Credentials | None = None,
        *,
        region: str | None = None,
        endpoint: str | None = None,
        quota: Quota | str | None = None,
        projects: Mapping[str, Project] | None = None,
        destination: str | Callable[[Any], str] | None = None,
        on_ambiguous: OnAmbiguous = "fail",
        lanes: int = PROFILE_LANES,
        max_latency: float | None = None,
        limits: Limits | None = None,
        retry: RetryPolicy | None = None,
        allow_http: bool = False,
        checkpoint: Checkpoint | str | None = None,
        privacy: Privacy | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _check_mapping(mapping, self._mapping_of)
        super().__init__(
            self._endpoint_of,
            mapping,
            _project(credentials, region, endpoint, quota, allow_http, projects, destination),
            projects=projects,
            destination=destination,
            lanes=lanes,
            max_in_flight=1,
            max_latency=max_latency,
            limits=limits,
            retry=retry,
            on_ambiguous=on_ambiguous,
            checkpoint=checkpoint,
            privacy=privacy,
            clock=clock,
        )


class WriteProfilesToMixpanel(_WriteUpdates):
    """Writes updates of user profiles to Mixpanel's /engage.

    Updates of one profile keep their order within a bundle and go out in one request where
    they fit; Beam itself promises no order between bundles.

    Args:
        mapping: a `ProfileMapping`; None if records are updates already, such as
            {"$distinct_id": "u1", "$set": {"plan": "pro"}}.
        credentials: any that has the project token, which authenticates updates.
        on_ambiguous: `$add`, `$append` and `$remove` count twice if they are sent twice. When
            a request was sent and no clear answer came, "fail" (default) makes failed records
            of such updates; "retry" sends them again. Others are always sent again.
        lanes: keys that share the work. Each sends one request at a time.

    All others are those of `WriteToMixpanel`; the default quota is the API reference's.

    Returns:
        WriteResult: failed records and receipts.

    Raises:
        SettingError: when the pipeline is built, if a setting is wrong.
    """

    _endpoint_of = ENGAGE
    _mapping_of = ProfileMapping


class WriteGroupsToMixpanel(_WriteUpdates):
    """Writes updates of group profiles to Mixpanel's /groups.

    With a `GroupMapping`, or with ready-made updates such as {"$group_key": "company",
    "$group_id": "acme", "$set": {"plan": "pro"}}. All else as in `WriteProfilesToMixpanel`.
    """

    _endpoint_of = GROUPS
    _mapping_of = GroupMapping


def _check_privacy(privacy: Any, mapping: Any, route: Route | None) -> None:
    if not isinstance(privacy, Privacy):
        raise SettingError(f"privacy is a {type(privacy).__name__}; give a Privacy.")
    needed = {} if mapping is None else mapping.named_columns()
    for name in privacy.drop:
        if name in needed:
            raise MappingError(
                f"Privacy drops the column {name!r}, which the mapping needs for {needed[name]}. "
                "Hash it instead, or map another column."
            )
    column = None if route is None else route.column
    if column in (*privacy.drop, *privacy.hash):
        raise SettingError(
            f"Privacy drops or hashes the column {column!r}, which destination needs as it is. To "
            "keep it out of the events, exclude it in the mapping."
        )


def _check_mapping(mapping: Any, kind: type[Any]) -> None:
    if mapping is not None and not isinstance(mapping, kind):
        raise MappingError(
            f"mapping is {_article(type(mapping).__name__)}; give {_article(kind.__name__)}."
        )


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _project(
    credentials: Any,
    region: str | None,
    endpoint: str | None,
    quota: Quota | str | None,
    allow_http: bool,
    projects: Any,
    destination: Any,
) -> Project | None:
    """The one project, or None if there are several."""
    if projects is None and destination is None:
        return Project(credentials, region, endpoint, quota, allow_http)
    if credentials is not None or region or endpoint or quota is not None:
        raise SettingError(
            "Give one project's credentials, region, endpoint and quota, or several projects with "
            "theirs in projects=, not both."
        )
    return None


def _checked(projects: Any, destination: Any) -> Mapping[str, Project]:
    if not projects or destination is None:
        raise SettingError(
            "Several projects need both projects={name: Project(...)} and destination=, a column "
            "or a function that gives the name."
        )
    for name, project in projects.items():
        if not isinstance(name, str) or not name or not name.isprintable():
            raise SettingError(f"{name!r} is no name of a project; use a short text.")
        if not isinstance(project, Project):
            raise SettingError(f"projects[{name!r}] is a {type(project).__name__}, not a Project.")
    return dict(projects)


def _typed(pcollection: Any, kind: Any) -> Any:
    # with_outputs leaves its PCollections untyped; Beam picks the coder by this
    pcollection.element_type = convert_to_beam_type(kind)
    return pcollection
