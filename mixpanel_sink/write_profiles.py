"""`WriteProfilesToMixpanel` and `WriteGroupsToMixpanel`: updates of profiles."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from mixpanel_sink.api.endpoints import ENGAGE, GROUPS, Endpoint
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.credentials import Credentials
from mixpanel_sink.settings.job import (
    Job,
    OnAmbiguous,
    OnFailure,
    Place,
    RateLimiter,
    check_mapping,
)
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.profile_mapping import GroupMapping, ProfileMapping, UpdateMapping
from mixpanel_sink.settings.project import Project
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.settings.retry import RetryPolicy
from mixpanel_sink.write import MixpanelWrite

PROFILE_LANES = 8
"""Lanes of profile updates: each sends one request at a time, so that updates of a profile keep
their order; several lanes make up for that."""


class _WriteUpdates(MixpanelWrite):
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
        rate_limiter: RateLimiter | None = None,
        checkpoint: Checkpoint | str | None = None,
        privacy: Privacy | None = None,
        clock: Callable[[], float] = time.time,
        check_accounting: bool = True,
        on_failure: OnFailure = "dead_letter",
        accepted: bool = False,
        only_changed: bool = False,
    ) -> None:
        check_mapping(mapping, self._mapping_of)
        api = self._endpoint_of
        place = Place(credentials, region, endpoint, quota, allow_http, projects, destination)
        super().__init__(
            Job(
                endpoint=api,
                mapping=mapping,
                targets=place.targets(api, lanes, limits),
                route=place.route,
                lanes=lanes,
                max_in_flight=1,  # so that updates of a profile keep their order
                max_latency=max_latency,
                retry=RetryPolicy() if retry is None else retry,
                on_ambiguous=on_ambiguous,
                rate_limiter=rate_limiter,
                checkpoint=checkpoint,  # type: ignore[arg-type]  # a path becomes one
                privacy=privacy,
                clock=clock,
                check_accounting=check_accounting,
                on_failure=on_failure,
                accepted=accepted,
                only_changed=only_changed,
            )
        )

    def forgetting(self) -> _WriteUpdates:
        """The same for raw updates that remove profiles: where one is accepted, the checkpoint
        forgets its profile."""
        other = copy.copy(self)
        other._job = dataclasses.replace(
            self._job, mapping=None, privacy=None, only_changed=False, forgets=True
        )
        return other


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
        only_changed: leave out updates that do not differ from what was last accepted for their
            profile, as the checkpoint remembers it. Bounded input only, and not for `$add`,
            `$append` and `$remove`.

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

    With a `GroupMapping`, or with raw updates such as {"$group_key": "company",
    "$group_id": "acme", "$set": {"plan": "pro"}}. All else as in `WriteProfilesToMixpanel`.
    """

    _endpoint_of = GROUPS
    _mapping_of = GroupMapping
