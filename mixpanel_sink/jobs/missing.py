"""Profiles that left the input: reported, emptied or deleted, after a run that went well."""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np

from mixpanel_sink.checkpoint.profile_store import ProfileStore
from mixpanel_sink.checkpoint.profiles import SEEN, release
from mixpanel_sink.errors import SettingError
from mixpanel_sink.jobs import runners
from mixpanel_sink.jobs.build import Import
from mixpanel_sink.jobs.outcome import EXIT_OK
from mixpanel_sink.jobs.run import keep_accounts, run
from mixpanel_sink.jobs.runners import make_pipeline
from mixpanel_sink.settings.names import named
from mixpanel_sink.settings.options import OPTIONS, Settings
from mixpanel_sink.settings.options_to_read import FILTERS
from mixpanel_sink.settings.profile_mapping import UpdateMapping
from mixpanel_sink.settings.shape import Shape
from mixpanel_sink.stages.seen import kept
from mixpanel_sink.write_profiles import WriteGroupsToMixpanel, WriteProfilesToMixpanel

_NAMED = 5
_BLOCK = 10_000
"""Ids in one element of the pipeline."""

Update = Callable[[str], dict[str, Any]]
"""Makes the update for the profile with this id."""


def check_missing(settings: Settings, options: Any) -> None:
    """Refuses what --missing cannot do, before anything is read.

    Raises:
        SettingError: if the settings contradict each other, or cannot tell which profiles are gone.
    """
    if settings.missing == "report":
        return
    if not settings.only_changed:
        raise SettingError(
            f"--missing {settings.missing} needs --only-changed, whose checkpoint knows which "
            "profiles there were."
        )
    filters = [each.name for each in OPTIONS if each.group == FILTERS]
    if given := [name for name in filters if name in settings.given()]:
        raise SettingError(
            f"--missing {settings.missing} and {named('--', given[0])} contradict each other: "
            "profiles that are only left out would count as gone. Leave out one of the two."
        )
    if settings.projects:
        raise SettingError(
            f"--missing {settings.missing} is for one project: leave --projects out."
        )
    if runners.runs_remotely(options):
        raise SettingError(
            f"--missing {settings.missing} finds the profiles that are gone when the run has "
            "ended, and a job on another service is not waited for. Run it on this machine, or "
            "leave --missing out."
        )


def plan(job: Import) -> Update | None:
    """The update for each missing profile; None if they are only reported.

    Raises:
        SettingError: if it is unknown which properties the profiles have.
    """
    settings = job.settings
    if settings.missing == "report":
        return None
    last: dict[str, Any] = {"$delete": ""}
    if settings.missing == "unset":
        last = {"$unset": _properties(job)}
    identity = job.write.endpoint.identity
    about = {"$ip": "0"} if settings.endpoint_kind == "engage" else {}

    def update(id: str) -> dict[str, Any]:
        return {**dict(zip(identity, id.split("\0"), strict=True)), **about, **last}

    return update


def after(job: Import, update: Update | None, code: int) -> int:
    """Finds the profiles that the run did not see, deals with them, and returns the exit code.

    Raises:
        CheckpointError: if the checkpoint cannot be read.
    """
    if runners.runs_remotely(job.options):
        return code
    assert job.settings.checkpoint is not None
    release(job.settings.checkpoint)
    store = job.write.profile_store()
    try:
        missing, why_not = _missing(store, code)
        store.settle()
        some = list(itertools.islice(store.ids(missing), _NAMED)) if len(missing) else []
        if len(missing):
            print(f"\n{_sentence(len(missing), some, update is None)}")
        if why_not and (len(missing) or code != EXIT_OK):
            print(why_not, file=sys.stderr)
        ids = store.ids(missing) if len(missing) and update and not why_not else iter(())
        blocks = list(_blocks(ids))
    finally:
        store.close()
    return _send(job, update, blocks) if update and blocks else code


def _missing(store: ProfileStore, code: int) -> tuple[Any, str]:
    """The keys of the profiles that were not seen, and why nothing is done about them."""
    left = "Profiles that are no longer in the input are left as they are"
    none = np.empty(0, np.uint64)
    data = store.read(SEEN)
    if code != EXIT_OK or data is None:
        return none, f"{left}: the run did not go well."
    ran, seen = kept(data)
    base = store.base(ran)
    if seen.mark != base.mark:
        return none, f"{left}: another run has sent profiles at the same time."
    missing = base.keys[~seen.mask[: len(base.keys)]]
    if not seen.records:
        return missing, f"{left}: the input was empty."
    if seen.failed:
        records = "1 record" if seen.failed == 1 else f"{seen.failed:,} records"
        return missing, f"{left}: {records} failed, which may have been theirs."
    return missing, ""


def _send(job: Import, update: Update, blocks: list[list[str]]) -> int:
    """Sends the updates; the checkpoint forgets the profiles whose update was accepted."""
    prefix = job.settings.failed_output
    settings = dataclasses.replace(
        job.settings, report=None, failed_output=prefix and f"{prefix}-missing"
    )
    write = job.write
    assert isinstance(write, WriteProfilesToMixpanel | WriteGroupsToMixpanel)
    pipeline = make_pipeline(job.options)
    updates = pipeline | beam.Create(blocks) | beam.FlatMap(_updates, update)
    result = updates | "Write to Mixpanel" >> write.forgetting()
    keep_accounts(result, result.failed, settings)
    code = run(pipeline, settings)
    assert settings.checkpoint is not None
    release(settings.checkpoint)
    return code


def _updates(ids: list[str], update: Update) -> Iterator[dict[str, Any]]:
    return map(update, ids)


def _blocks(ids: Iterable[str]) -> Iterator[list[str]]:
    given = iter(ids)
    while block := list(itertools.islice(given, _BLOCK)):
        yield block


def _properties(job: Import) -> list[str]:
    """All properties that the mapping sets."""
    mapping = job.mapping
    names: Any = job.source.schema().names
    if isinstance(mapping, UpdateMapping) and isinstance(mapping.shape, Shape):
        names = mapping.shape.names(names)
    if not isinstance(mapping, UpdateMapping) or names is None:
        raise SettingError(
            "--missing unset needs to know which properties the profiles have, and only the data "
            "would tell. List them under set in the mapping, or use --missing delete."
        )
    planned = {name for operation, name, _ in mapping.plan(names) if operation != "$unset"}
    return sorted(planned | set(mapping.constants))


def _sentence(count: int, some: list[str], stays: bool) -> str:
    profiles = "1 known profile is" if count == 1 else f"{count:,} known profiles are"
    named = ", ".join(repr(each.replace("\0", "/")) for each in some)
    more = ", …" if count > len(some) else ""
    advice = " Mixpanel keeps them; --missing unset or delete changes that." if stays else ""
    return f"{profiles} no longer in the input: {named}{more}.{advice}"
