"""Faults on demand: a deterministic plan, or a seeded random one.

A plan is a list of faults. The first one meets the requests that arrive; when it has been used
up, the next one's turn comes. A request that the first fault does not concern (its path, or one
of its `skip`) passes unharmed. Faults meet requests that passed authentication and quota, so
a request that meets one counts against the quota.

>>> plan = FaultPlan.parse([{"kind": "rate_limit", "retry_after": "3", "times": 2}])
>>> plan.draw("/import").retry_after
'3'
"""

import random
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from mixpanel_sink.emulator.quota import Quota

Kind = Literal[
    "status",
    "rate_limit",
    "reset",
    "refuse",
    "truncate",
    "garbage",
    "slow",
    "short_count",
    "failed_records",
    "quota",
    "redirect",
    "huge",
    "deep",
    "drip",
    "too_large",
]
Indexes = Literal["given", "wrong", "repeated", "none", "absent"]

_NOT_STORED = ("status", "rate_limit", "reset", "refuse", "redirect")
_ALWAYS_STORED = ("slow", "short_count", "quota", "drip", "too_large")
_SIZES = {"huge": 64 * 1024 * 1024, "deep": 100_000, "too_large": 1024 * 1024}


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of misbehaviour, for `times` requests after `skip` have passed.

    Attributes:
        kind: what happens, see below.
        times: how many requests it meets.
        skip: how many requests pass before.
        path: only requests to this path; None: to any ingestion endpoint.
        stored: whether the batch is stored all the same. None is the kind's own habit: not
            stored for `status`, `rate_limit`, `reset`, `refuse` and `redirect`, stored for the
            others.
        status, headers, body: the answer of `status`; `body` is a text or any JSON value.
            `redirect` uses a `status` from 300 to 399, else 307.
        retry_after: the Retry-After header of `rate_limit`, word for word; None: no header.
        retry_after_date: the same as an HTTP date, this many seconds from now.
        seconds: the delay of `slow`; how long `refuse` takes no connections; the pause between
            two bytes of `drip`, whose answer is true but comes in byte by byte.
        drop: `short_count` leaves out this many records at the end of the batch.
        really: whether those are lost (True), or are stored and only missing in the count.
        records: the ``failed_records`` of `failed_records`, sent as they are. Events that they
            name by a valid ``index`` are not stored.
        indexes: what else `failed_records` names: `wrong` (beyond the batch, negative, texts),
            `repeated` (the first event, twice; it is not stored), `none` (an empty list) or
            `absent` (no list).
        num_records_imported: the count of `failed_records`; None: what was really stored.
        quota: the new quota of kind `quota`; the request itself is answered as usual.
        location: where `redirect` points to.
        size: the bytes of the answer of `huge` (0: it never ends); the nesting of that of
            `deep`; for `too_large`, how many uncompressed bytes a request may have: a larger
            one gets a 413 that does not tell the limit, others are answered as usual.
    """

    kind: Kind
    times: int = 1
    skip: int = 0
    path: str | None = None
    stored: bool | None = None
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = "injected fault"
    retry_after: str | None = None
    retry_after_date: float | None = None
    seconds: float = 1.0
    drop: int = 1
    really: bool = True
    records: list[Any] = field(default_factory=list)
    num_records_imported: int | None = None
    quota: str = "none"
    indexes: Indexes = "given"
    location: str = "https://elsewhere.invalid/"
    size: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            kinds = ", ".join(get_args(Kind))
            raise ValueError(f"the fault kind {self.kind!r} is unknown: choose from {kinds}")
        if self.times < 1 or self.skip < 0 or self.drop < 0 or self.seconds < 0:
            raise ValueError(
                f"the {self.kind} fault needs times of at least 1, and skip, drop and seconds "
                "that are not negative"
            )
        if not 200 <= self.status <= 599:
            raise ValueError(f"the fault's status must be from 200 to 599, not {self.status}")
        if self.indexes not in get_args(Indexes):
            choices = ", ".join(get_args(Indexes))
            raise ValueError(f"the fault's indexes must be one of {choices}")
        if self.size is not None and self.size < 0:
            raise ValueError(f"the fault's size must not be negative, but is {self.size}")
        if self.stored is False and self.kind in _ALWAYS_STORED:
            raise ValueError(f"a {self.kind} fault always stores the batch")
        if self.kind == "quota":
            Quota.parse(self.quota)

    @property
    def stores(self) -> bool:
        """Whether the request's records are stored."""
        if self.stored is not None:
            return self.stored
        return self.kind not in _NOT_STORED

    @property
    def amount(self) -> int:
        """The `size`, or what the kind takes for it."""
        return self.size if self.size is not None else _SIZES.get(self.kind, 0)

    @classmethod
    def parse(cls, value: Any) -> "Fault":
        """A fault from its JSON object.

        Raises:
            ValueError: a name is unknown or a value has the wrong type; one sentence.
        """
        if not isinstance(value, dict) or "kind" not in value:
            raise ValueError("a fault must be a JSON object with a 'kind'")
        for name, given in value.items():
            if name not in _TYPES:
                raise ValueError(
                    f"a fault has no {name!r}: choose from {', '.join(sorted(_TYPES))}"
                )
            wrong_bool = isinstance(given, bool) and bool not in _TYPES[name]
            if object not in _TYPES[name] and (wrong_bool or not isinstance(given, _TYPES[name])):
                raise ValueError(f"the fault's {name!r} cannot be {given!r}")
        return cls(**value)

    def as_json(self) -> dict[str, Any]:
        """The fault as its JSON object, without values that are the default."""
        shown: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            default = f.default_factory() if f.default_factory is not MISSING else f.default
            if value != default:
                shown[f.name] = value
        return shown


_TYPES: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "times": (int,),
    "skip": (int,),
    "path": (str, type(None)),
    "stored": (bool, type(None)),
    "status": (int,),
    "headers": (dict,),
    "body": (object,),
    "retry_after": (str, type(None)),
    "retry_after_date": (int, float, type(None)),
    "seconds": (int, float),
    "drop": (int,),
    "really": (bool,),
    "records": (list,),
    "num_records_imported": (int, type(None)),
    "quota": (str,),
    "indexes": (str,),
    "location": (str,),
    "size": (int, type(None)),
}

# What a random plan draws from, unless it brings its own. Short, so that a test of many seeds
# spends its time on retries and not on waiting.
RANDOM_FAULTS: tuple[Fault, ...] = (
    Fault("rate_limit", retry_after="1"),
    Fault("rate_limit"),
    Fault("rate_limit", retry_after_date=1),
    Fault("rate_limit", retry_after="soon"),
    Fault("rate_limit", retry_after="-5"),
    Fault("status", status=500),
    Fault("status", status=502, body="<html>bad gateway</html>"),
    Fault("status", status=503, headers={"Retry-After": "1"}),
    Fault("status", status=504, stored=True),
    Fault("reset"),
    Fault("reset", stored=True),
    Fault("refuse", seconds=0.1),
    Fault("truncate"),
    Fault("garbage"),
    Fault("deep", size=5_000),
    Fault("huge", size=4 * 1024 * 1024),
    Fault("slow", seconds=0.05),
    Fault("drip", seconds=0.0005),
    Fault("short_count"),
    Fault("short_count", really=False),
    Fault("failed_records", indexes="wrong"),
    Fault("failed_records", indexes="repeated"),
    Fault("failed_records", indexes="none"),
    Fault("failed_records", indexes="absent", stored=False),
    Fault("too_large", size=1),
)

# What a job may give up at, or would have to wait for very long.
FATAL_FAULTS: tuple[Fault, ...] = (
    Fault("status", status=401, body={"code": 401, "error": "Invalid credentials"}),
    Fault("status", status=403, body={"code": 403, "error": "Forbidden"}),
    Fault("redirect"),
    Fault("huge", size=0),
    Fault("rate_limit", retry_after="3600"),
)
KINDS: Mapping[str, tuple[Fault, ...]] = {
    "random": RANDOM_FAULTS,
    "fatal": FATAL_FAULTS,
    "all": RANDOM_FAULTS + FATAL_FAULTS,
}


def preset(name: str) -> tuple[Fault, ...]:
    """The faults of a name in `KINDS`.

    Raises:
        ValueError: if no fault has this name.
    """
    if name not in KINDS:
        raise ValueError(f"the kinds of faults must be one of {', '.join(KINDS)}, not {name!r}")
    return KINDS[name]


class FaultPlan:
    """The faults that are still to come; it changes as requests draw from it."""

    def __init__(
        self,
        faults: list[Fault] | None = None,
        seed: int | None = None,
        rate: float = 0.0,
        kinds: tuple[Fault, ...] = RANDOM_FAULTS,
    ) -> None:
        if not 0 <= rate <= 1:
            raise ValueError(f"the fault rate must be from 0 to 1, not {rate}")
        self._faults = list(faults or ())
        self._seed = seed
        self._rate = rate
        self._kinds = kinds or RANDOM_FAULTS
        self._random = random.Random(seed)

    @classmethod
    def parse(cls, value: Any) -> "FaultPlan":
        """A plan from JSON: a list of faults, or an object with faults, seed, rate and kinds.

        The object is ``{"faults": [...], "seed": 7, "rate": 0.2, "kinds": [...]}``: after the
        listed faults each request meets, with probability `rate`, one of `kinds`; these may
        also be ``"random"`` (what a retry gets over), ``"fatal"`` or ``"all"``.

        Raises:
            ValueError: it is not a plan; one sentence.
        """
        if isinstance(value, list):
            return cls([Fault.parse(item) for item in value])
        if not isinstance(value, dict) or not value.keys() <= {"faults", "seed", "rate", "kinds"}:
            raise ValueError(
                "a fault plan must be a list of faults or an object with faults, seed, rate, kinds"
            )
        seed, rate = value.get("seed"), value.get("rate", 0.0)
        faults, kinds = value.get("faults", []), value.get("kinds", [])
        if not isinstance(seed, int | None) or not isinstance(rate, int | float):
            raise ValueError("a fault plan's seed must be a whole number and its rate a number")
        if isinstance(kinds, str):
            kinds = [fault.as_json() for fault in preset(kinds)]
        if not isinstance(faults, list) or not isinstance(kinds, list):
            raise ValueError("a fault plan's faults and kinds must be lists")
        return cls(
            [Fault.parse(item) for item in faults],
            seed,
            float(rate),
            tuple(Fault.parse(item) for item in kinds),
        )

    def draw(self, path: str, *, by_name_only: bool = False) -> Fault | None:
        """The fault that this request meets, or None.

        With `by_name_only` it must name the path.
        """
        meant: tuple[str | None, ...] = (path,) if by_name_only else (None, path)
        if self._faults:
            fault = self._faults[0]
            if fault.path not in meant:
                return None
            if fault.skip:
                self._faults[0] = replace(fault, skip=fault.skip - 1)
                return None
            if fault.times > 1:
                self._faults[0] = replace(fault, times=fault.times - 1)
            else:
                del self._faults[0]
            return fault
        kinds = [fault for fault in self._kinds if fault.path in meant]
        if self._rate and kinds and self._random.random() < self._rate:
            return self._random.choice(kinds)
        return None

    def as_json(self) -> dict[str, Any]:
        """What remains, in the form that `parse` reads."""
        shown: dict[str, Any] = {"faults": [fault.as_json() for fault in self._faults]}
        if self._rate:
            shown |= {"seed": self._seed, "rate": self._rate}
            shown["kinds"] = [fault.as_json() for fault in self._kinds]
        return shown
