"""The lease of a checkpoint: one run at a time, and who it is.

The holder renews it all the time. A run finds out that the holder has died by its process, on the
same machine; else by the clock. As clocks differ and may step back, a lease that looks expired is
watched for a while before it is taken over: a holder that lives renews it meanwhile. One that was
only held up, such as by a machine that slept, finds out by its next renewal, and stops.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import getpass
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable

import orjson

from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.checkpoint.stored import ABSENT, Changed, Folder, Stored
from mixpanel_sink.errors import CheckpointError
from mixpanel_sink.process import HEARTBEATS, LANES
from mixpanel_sink.settings.checkpoint import Checkpoint

NAME = "lease.json"
RENEW_SECONDS = 20.0
"""Between two renewals, unless the lease expires so soon that it needs more of them."""
_RENEWALS = 4
"""A lease is renewed at least so often before it would expire."""
WATCH_SECONDS = 30.0
"""How long a lease is watched that looks expired: longer than it takes to be renewed."""
LOCAL_SECONDS = 120.0
"""After so long without a renewal a lease of a run on this machine is expired; ..."""
REMOTE_SECONDS = 1800.0
"""... one of a job whose workers have to start first."""
_TRIES = 10
"""How often giving a lease back is tried while other workers of the run renew it."""


@dataclasses.dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes:
        token: of the run.
        who: user and machine, for people.
        machine: tells machines, their boots and containers apart; "" if that is not known here.
        pid: of the process there.
        started: of the process, as the machine counts; "" if it does not say.
        since, renewed: seconds since 1970 by the holder's clock.
        count: of renewals.
        seconds: after which it is expired.
    """

    token: str
    who: str
    machine: str
    pid: int
    started: str
    since: float
    renewed: float
    count: int
    seconds: float

    @classmethod
    def here(cls, token: str, seconds: float, now: float) -> Holder:
        """This process as the holder."""
        who = f"{_user()}@{platform.node()}"
        pid = os.getpid()
        return cls(token, who, _machine(), pid, _started(pid), now, now, 0, seconds)

    def is_gone(self) -> bool:
        """Whether its process has surely ended; of a job elsewhere, this machine cannot tell."""
        if not self.machine or self.machine != _machine() or self.seconds > LOCAL_SECONDS:
            return False
        started = _started(self.pid)
        return started != self.started and not (not started and _is_hidden(self.pid))

    def to_json(self) -> bytes:
        """The stored form."""
        return orjson.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> Holder | None:
        """The reverse; None if it is damaged."""
        try:
            return cls(**orjson.loads(data))
        except (ValueError, TypeError):
            return None


def acquire(
    folder: Folder,
    token: str,
    seconds: float = LOCAL_SECONDS,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Takes the lease for a run.

    Args:
        folder: of the checkpoint.
        token: of the run.
        seconds: after which it expires if it is not renewed.
        clock: seconds since 1970.
        sleep: waits.

    Raises:
        CheckpointError: if another run holds it; says who, and since when.
    """
    while True:
        found = folder.stored(NAME)
        alive = None if found is None else _alive(folder, found, clock, sleep)
        if alive is not None:
            raise _refused(folder, Holder.from_json(alive.data), clock())
        mine = Holder.here(token, seconds, clock()).to_json()
        with contextlib.suppress(Changed):  # another run was faster: look again
            folder.write(NAME, mine, ABSENT if found is None else found.version)
            return


def _alive(
    folder: Folder, found: Stored, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Stored | None:
    """The lease of a holder that lives, as it is now; None if it may be taken over."""
    holder = Holder.from_json(found.data)
    if holder is not None:
        if holder.is_gone():
            return None
        if abs(clock() - holder.renewed) < holder.seconds:
            return found
    sleep(WATCH_SECONDS)
    after = folder.stored(NAME)
    return None if after is None or after.version == found.version else after


def _refused(folder: Folder, holder: Holder | None, now: float) -> CheckpointError:
    if holder is None:
        return CheckpointError(f"The checkpoint {folder.path} is in use by another run.")
    left = max(0.0, holder.seconds - abs(now - holder.renewed))
    return CheckpointError(
        f"The checkpoint {folder.path} is in use: {_held(holder)}. Wait until that run has ended. "
        f"If it has died, another run may start in {left:.0f} seconds."
    )


def _held(holder: Holder) -> str:
    since = datetime.datetime.fromtimestamp(holder.since, datetime.timezone.utc)
    return f"{holder.who} (process {holder.pid}) has held it since {since:%Y-%m-%d %H:%M:%S} UTC"


def check(folder: Folder, token: str) -> None:
    """Makes sure that a run still holds the lease.

    Raises:
        CheckpointError: if not; says who does.
    """
    holder = holder_of(folder)
    if holder is None or holder.token != token:
        raise lost(folder, holder)


def lost(folder: Folder, holder: Holder | None) -> CheckpointError:
    """The error of a run that has lost its lease."""
    if holder is None:
        what = f"The lease of the checkpoint {folder.path} is gone"
        why = "it was removed, or another run took it over and has ended since"
    else:
        what = f"Another run has taken over the checkpoint {folder.path}"
        why = _held(holder)
    return CheckpointError(
        f"{what}: {why}. This run had not renewed its lease in time (did its machine sleep, or "
        "lose its connection?) and stops, so that two do not send the same. Run it again when no "
        "other run is at work."
    )


def holder_of(folder: Folder) -> Holder | None:
    """Who holds the lease; None if no run does, or it is damaged."""
    found = folder.stored(NAME)
    return None if found is None else Holder.from_json(found.data)


def renew(folder: Folder, token: str, clock: Callable[[], float] = time.time) -> Holder | None:
    """Renews the lease if the run holds it; returns the holder, or None."""
    found = folder.stored(NAME)
    holder = None if found is None else Holder.from_json(found.data)
    if found is None or holder is None or holder.token != token:
        return holder
    renewed = dataclasses.replace(holder, renewed=clock(), count=holder.count + 1)
    with contextlib.suppress(Changed):  # another worker of the run renewed it
        folder.write(NAME, renewed.to_json(), found.version)
    return renewed


def release(folder: Folder, token: str) -> None:
    """Gives the lease back, if the run holds it."""
    for _ in range(_TRIES):
        found = folder.stored(NAME)
        holder = None if found is None else Holder.from_json(found.data)
        if found is None or holder is None or holder.token != token:
            return
        folder.remove(NAME, found.version)


class Heartbeat:
    """Renews a lease from a separate thread, and finds out if another run has taken it."""

    def __init__(self, path: str, token: str) -> None:
        self._folder = open_folder(path)
        self._token = token
        self._stopped = threading.Event()
        self._lost_to: Holder | None = None
        threading.Thread(target=self._beat, name="mixpanel-lease", daemon=True).start()

    def check(self) -> None:
        """Returns if the run still has its lease, as far as is known.

        Raises:
            CheckpointError: says who holds it now.
        """
        if self._lost_to is not None:
            raise lost(self._folder, self._lost_to)

    def stop(self) -> None:
        """Stops renewing."""
        self._stopped.set()

    def _beat(self) -> None:
        seconds = RENEW_SECONDS
        while self._lost_to is None:
            with contextlib.suppress(Exception):  # of each cloud's client: the next one may pass
                holder = renew(self._folder, self._token)
                # Given back at the end by another worker, or removed: it is free.
                if holder is not None and holder.token != self._token:
                    self._lost_to = holder
                    for lane in LANES.all():  # requests that wait for the quota find out at once
                        lane.wake()
                elif holder is not None:
                    seconds = min(RENEW_SECONDS, holder.seconds / _RENEWALS)
            if self._stopped.wait(seconds):
                return


def keep_alive(checkpoint: Checkpoint | None) -> Heartbeat | None:
    """Renews the lease of a run from this process, too, if the run has one."""
    if checkpoint is None or not checkpoint.lease:
        return None
    path, token = checkpoint.path, checkpoint.lease
    return HEARTBEATS.get((path, token), lambda: Heartbeat(path, token))


def new_token() -> str:
    """A new name for a run."""
    return uuid.uuid4().hex


def _user() -> str:
    try:
        return getpass.getuser()
    except Exception:  # a user without a name, as in some containers
        return "unknown user"


def _machine() -> str:
    """This boot of this machine or container, so that process numbers mean the same."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process of this machine started, as the machine counts; "" if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return "" if fields[0] in ("Z", "X") else fields[19]
    except (OSError, IndexError):
        return ""


def _is_hidden(pid: int) -> bool:
    """Whether there is such a process of another user, which /proc may hide."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False
