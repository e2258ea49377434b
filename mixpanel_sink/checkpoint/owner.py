"""What a checkpoint belongs to: an input, a mapping, an endpoint and projects."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from blake3 import blake3

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.endpoints import ENDPOINTS, Endpoint
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.profile_mapping import UpdateMapping
from mixpanel_sink.settings.project import Target

AnyMapping = EventMapping | UpdateMapping
HEADER = "checkpoint.json"
"""The file that names a checkpoint's owner."""


@dataclasses.dataclass(frozen=True)
class Owner:
    """What a checkpoint belongs to. The values are hashes, or names without secrets."""

    input: str
    mapping: str
    endpoint: str
    projects: str

    @property
    def mark(self) -> str:
        """A hash of all of it: 16 hex digits."""
        return _digest(dataclasses.asdict(self))[:16]

    @property
    def repeats_safely(self) -> bool:
        """Whether its records may be sent twice."""
        return ENDPOINTS[self.endpoint].repeats_safely

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Owner:
        """The owner that a checkpoint's header names."""
        return cls(**{field.name: header[field.name] for field in dataclasses.fields(cls)})

    @property
    def without(self) -> str:
        """What starting over without the checkpoint means, for messages."""
        if self.repeats_safely:
            return "ids keep events from doubling"
        return "updates that add, append or remove would then be applied again"

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        mapping: AnyMapping | None,
        endpoint: Endpoint,
        projects: Iterable[tuple[Target, ResolvedCredentials]],
        privacy: Privacy | None = None,
    ) -> Owner:
        """The owner of one write. Secrets are resolved: another project is another owner."""
        named = [
            [
                target.name,
                target.destination.url,
                project_mark(checkpoint.path, target.destination.url, credentials),
            ]
            for target, credentials in projects
        ]
        mark = mapping_mark(mapping, privacy)
        return cls(checkpoint.input, mark, endpoint.name, _digest(sorted(named)))


def fingerprint(files: Iterable[Sequence[Any]]) -> str:
    """A hash of an input: of the paths and sizes of its files, which come first in each."""
    return _digest(sorted((str(path), int(size)) for path, size, *_ in files))


def mapping_mark(mapping: AnyMapping | None, privacy: Privacy | None = None) -> str:
    """A hash of how events are made: of the mapping's settings as YAML would have them, without
    the defaults, and what privacy drops or hashes.

    So a setting that is added later, or a class that is renamed, changes no mark.
    """
    plain = None if mapping is None else mapping.to_dict()
    if privacy is None:
        return _digest(plain)
    key = privacy.key if isinstance(privacy.key, str) else type(privacy.key).__name__
    return _digest([plain, sorted(privacy.drop), sorted(privacy.hash), key])


def mapping_settings(mapping: AnyMapping | None, privacy: Privacy | None = None) -> dict[str, Any]:
    """What `mapping_mark` stands for, as plain values that JSON has."""
    plain = {} if mapping is None else mapping.to_dict()
    if privacy is not None:
        hidden = {"drop_properties": privacy.drop, "hash_properties": privacy.hash}
        plain |= {name: sorted(columns) for name, columns in hidden.items() if columns}
    made: dict[str, Any] = orjson.loads(_json(plain))
    return made


def _digest(value: Any) -> str:
    return blake3(_json(value)).hexdigest()[:32]


def _json(value: Any) -> bytes:
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
    return orjson.dumps(value, _plain, options)


def _plain(value: Any) -> Any:
    """A constant property that JSON does not have."""
    if isinstance(value, Mapping):
        return dict(value)
    return sorted(map(repr, value)) if isinstance(value, set | frozenset) else repr(value)


def project_mark(path: str, url: str, credentials: ResolvedCredentials) -> str:
    """A slow, salted hash that tells projects apart without giving away the secret.

    Args:
        path: of the checkpoint.
        url: of the host.
        credentials: of the project.
    """
    if credentials.project_id is not None:
        return credentials.project_id
    salt = hashlib.sha256(f"{path}\0{url}".encode()).digest()
    known = (credentials.token or credentials.user).encode()
    return hashlib.scrypt(known, salt=salt, n=2**12, r=8, p=1, dklen=16).hex()
