"""What a checkpoint belongs to: told apart where it matters, and the same after an upgrade."""

import dataclasses
import datetime
import uuid
from decimal import Decimal
from typing import Any

import pytest
from blake3 import blake3

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.endpoints import IMPORT
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.checkpoint.owner import Owner, fingerprint, mapping_mark
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.columns import Constant, ContentId, PositionId, TimeColumn
from mixpanel_sink.settings.credentials import ApiSecret
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.profile_mapping import ProfileMapping
from mixpanel_sink.settings.project import Project, Target
from tests.write.test_write import MAPPING


def owner(**changes: Any) -> Owner:
    given: dict[str, Any] = {
        "mapping": MAPPING,
        "secret": "s3cr3t",
        "region": "us",
        "project_id": None,
        "token": None,
        **changes,
    }
    project = Project(ApiSecret("env:X"), region=given["region"])
    target = Target.of(None, project, IMPORT, 1, Limits())
    resolved = ResolvedCredentials(given["secret"], "", given["project_id"], given["token"])
    checkpoint, privacy = Checkpoint("/c", "files"), given.get("privacy")
    return Owner.of(checkpoint, given["mapping"], IMPORT, [(target, resolved)], privacy)


class TestOwner:
    def test_is_the_same_for_the_same(self) -> None:
        assert owner() == owner()

    @pytest.mark.parametrize("known", [{"token": "t0ken"}, {"project_id": "42"}])
    def test_a_new_secret_of_a_project_that_is_named(self, known: dict[str, str]) -> None:
        """By its token, which profile updates always need, or its number."""
        assert owner(secret="old", **known) == owner(secret="new", **known)
        other = {name: f"{value}0" for name, value in known.items()}
        assert owner(secret="old", **known) != owner(secret="old", **other)

    @pytest.mark.parametrize(
        ("change", "part"),
        [
            ({"secret": "other"}, "projects"),
            ({"region": "eu"}, "projects"),
            ({"mapping": None}, "mapping"),
            ({"privacy": Privacy(drop=["a"])}, "mapping"),
            ({"mapping": dataclasses.replace(MAPPING, insert_id=ContentId())}, "mapping"),
            ({"mapping": dataclasses.replace(MAPPING, insert_id=PositionId())}, "mapping"),
            (
                {"mapping": EventMapping(event="name", distinct_id="user", time="at")},
                "mapping",
            ),
        ],
    )
    def test_differs_with(self, change: dict[str, Any], part: str) -> None:
        changed = owner(**change)
        assert getattr(changed, part) != getattr(owner(), part)
        assert "s3cr3t" not in repr(changed)

    def test_all_that_privacy_does_belongs_to_the_mapping(self) -> None:
        settings = [
            Privacy(drop=["a"]), Privacy(hash=["a"]), Privacy(hash=["b"]),
            Privacy(hash=["a"], key="env:K"),
        ]  # fmt: skip
        assert len({owner(privacy=each).mapping for each in settings}) == len(settings)
        one, other = Privacy(drop=["a", "b"]), Privacy(drop=["b", "a"])
        assert owner(privacy=one) == owner(privacy=other)

    def test_how_an_id_is_made_belongs_to_the_mapping(self) -> None:
        made = [ContentId(), PositionId()]
        owners = {owner(mapping=dataclasses.replace(MAPPING, insert_id=each)) for each in made}
        assert len(owners) == 2

    def test_a_fingerprint_is_of_paths_and_sizes(self) -> None:
        assert fingerprint([("a", 1), ("b", 2)]) == fingerprint([("b", 2), ("a", 1)])
        assert fingerprint([("a", 1)]) != fingerprint([("a", 2)])


class TestTheMark:
    """A release that adds a setting, or renames a class, knows the checkpoints before it."""

    def test_is_made_of_what_differs_from_the_defaults(self) -> None:
        mapping = EventMapping(
            event=Constant("Sale"), time=TimeColumn("at", "ms"), distinct_id="user",
            insert_id=PositionId(), constants={"when": datetime.date(2024, 5, 6)},
        )  # fmt: skip
        canonical = (
            b'{"constants":{"when":"datetime.date(2024, 5, 6)"},"distinct_id":"user",'
            b'"event":{"constant":"Sale"},"insert_id":{"from":"position"},'
            b'"time":{"column":"at","unit":"ms"}}'
        )
        assert mapping_mark(mapping) == blake3(canonical).hexdigest()[:32]
        spelt_out = dataclasses.replace(mapping, drop_nulls=True, exclude=[], ip=Constant("0"))
        assert mapping_mark(spelt_out) == mapping_mark(mapping)

    @pytest.mark.parametrize(
        "mapping", [MAPPING, ProfileMapping(distinct_id="user", add=["n"], constants={"a": 1})]
    )
    def test_new_fields_and_other_class_names_change_nothing(self, mapping: Any) -> None:
        fields = [
            ("sampling", float, dataclasses.field(default=1.0)),
            ("labels", dict, dataclasses.field(default_factory=dict)),
        ]
        later = dataclasses.make_dataclass("Renamed", fields, bases=(type(mapping),), frozen=True)
        given = {f.name: getattr(mapping, f.name) for f in dataclasses.fields(mapping)}
        assert mapping_mark(later(**given)) == mapping_mark(mapping)
        assert mapping_mark(later(**given, sampling=0.5)) != mapping_mark(mapping)

    def test_a_new_field_of_the_time_changes_nothing(self) -> None:
        later = dataclasses.make_dataclass(
            "Instant", [("calendar", str, "gregorian")], bases=(TimeColumn,), frozen=True
        )
        given = {f.name: getattr(MAPPING.time, f.name) for f in dataclasses.fields(TimeColumn)}
        same = dataclasses.replace(MAPPING, time=later(**given))
        assert mapping_mark(same) == mapping_mark(MAPPING)
        other = dataclasses.replace(MAPPING, time=later(**given, calendar="julian"))
        assert mapping_mark(other) != mapping_mark(MAPPING)

    def test_any_constant_has_one(self) -> None:
        odd = {"a": Decimal("1.10"), "b": {1, 2}, "c": [uuid.UUID(int=5)], "d": {"x": b"y"}}
        marks = {
            mapping_mark(dataclasses.replace(MAPPING, constants={k: v})) for k, v in odd.items()
        }
        assert len(marks) == len(odd)
