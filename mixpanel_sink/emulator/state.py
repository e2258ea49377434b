"""What a running emulator holds: settings that may change, the store, quotas and faults."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from mixpanel_sink.emulator.answers import Refused
from mixpanel_sink.emulator.counts import Counts
from mixpanel_sink.emulator.delivery import Desk
from mixpanel_sink.emulator.export import Exports
from mixpanel_sink.emulator.faults import FaultPlan
from mixpanel_sink.emulator.identity import Identities
from mixpanel_sink.emulator.quota import Quota, RollingWindow, retry_after
from mixpanel_sink.emulator.rows import Entry
from mixpanel_sink.emulator.settings import Project, Settings
from mixpanel_sink.emulator.store import Store

RATE_LIMITED = "Project exceeded rate limits. Please retry the request with exponential backoff."
_P = ParamSpec("_P")
_T = TypeVar("_T")


def _one_thread(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix=name)


@dataclass
class State:
    """One running emulator.

    The event loop only reads heads and bodies, so that arrival stamps stay true under load. All
    that takes time runs in one writing thread, and queries in one reading thread.
    """

    settings: Settings
    store: Store
    faults: FaultPlan
    windows: dict[int, RollingWindow] = field(default_factory=dict)
    lookups: dict[int, RollingWindow] = field(default_factory=dict)
    exports: Exports = field(default_factory=Exports)
    counts: Counts = field(default_factory=Counts)
    identities: Identities = field(init=False)
    initial: Settings = field(init=False)
    refuse: Callable[[float], Awaitable[None]] | None = None
    _writing: ThreadPoolExecutor = field(default_factory=lambda: _one_thread("write"))
    _reading: ThreadPoolExecutor = field(default_factory=lambda: _one_thread("read"))

    def __post_init__(self) -> None:
        self.initial = self.settings
        self.identities = Identities(self.store.writer.canonical_ids())

    @property
    def desk(self) -> Desk:
        """What the writing thread needs for one request."""
        return Desk(self.settings, self.store, self.identities)

    async def clear(self) -> None:
        """Forget events, profiles, identities, requests, quotas and faults."""
        await self.write(self.store.writer.clear)
        self.identities = Identities()
        self.windows.clear()
        self.lookups.clear()
        self.exports = Exports()
        self.counts = Counts()
        self.faults = FaultPlan()

    async def write(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run in the writing thread, after what was asked of it before."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writing, lambda: function(*args, **kwargs))

    async def read(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run in the reading thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reading, lambda: function(*args, **kwargs))

    def charge(self, project: Project, entry: Entry) -> None:
        """Count the request against the project's quota.

        Raises:
            Refused: 429 with Retry-After when the quota is used up.
        """
        entry.quota = "counted"
        if project.quota is None:
            return
        window = self.windows.setdefault(project.id, RollingWindow())
        wait = window.admit(entry.arrived, project.quota)
        if wait is not None:
            entry.quota = "refused"
            raise Refused(
                429,
                RATE_LIMITED,
                {"Retry-After": str(retry_after(wait))},
            )

    def charge_lookup(self, project: Project, entry: Entry, calls: Quota) -> None:
        """Count a call that replaces a lookup table.

        Raises:
            Refused: 429 with Retry-After when the project has no call left.
        """
        window = self.lookups.setdefault(project.id, RollingWindow())
        if (wait := window.admit(entry.arrived, calls)) is not None:
            raise Refused(429, RATE_LIMITED, {"Retry-After": str(retry_after(wait))})

    def close(self) -> None:
        """Finish what is being written, then close the store."""
        self._writing.shutdown()
        self._reading.shutdown()
        self.store.close()
