"""Settings of several projects that do not fit together."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import CredentialsError, MappingError, SettingError
from mixpanel_sink.settings.credentials import ApiSecret
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.project import Project
from tests.running import reasons, run
from tests.write.test_write_projects import (
    NAMES,
    _running,  # noqa: F401
    ids,
    mixpanel,  # noqa: F401
    projects,
    raw,
    record,
    stored,
    write,
)


class TestSettings:
    def test_each_needs_the_other(self, mixpanel: Emulator) -> None:
        for given in ({"destination": None}, {"projects": {}}, {"projects": None}):
            with pytest.raises(SettingError, match=r"need both projects=.* and destination="):
                write(mixpanel, **given)

    @pytest.mark.parametrize(
        "given",
        [{"credentials": ApiSecret("env:X")}, {"region": "eu"}, {"quota": "none"},
         {"endpoint": "https://x"}],
    )  # fmt: skip
    def test_one_or_several(self, mixpanel: Emulator, given: dict[str, Any]) -> None:
        with pytest.raises(SettingError, match="or several projects with theirs"):
            write(mixpanel, **given)

    def test_names_and_projects(self, mixpanel: Emulator) -> None:
        project = projects(mixpanel)["alpha"]
        for name in ("", "a\nb", 5):
            with pytest.raises(SettingError, match="is not a valid name for a project"):
                write(mixpanel, projects={name: project})
        with pytest.raises(SettingError, match=r"projects\['a'\] is a str, not a Project"):
            write(mixpanel, projects={"a": "env:X"})
        with pytest.raises(SettingError, match="destination is a column's name, or a function"):
            write(mixpanel, destination=5)

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"credentials": None}, "give ApiSecret, ServiceAccount or ProjectToken"),
            ({"credentials": "env:X"}, "give ApiSecret, ServiceAccount or ProjectToken"),
            ({"region": "mars"}, "us, eu and in"),
            ({"quota": 60}, "quota is an int"),
            ({"quota": "often"}, "cannot be read"),
            ({"region": "us", "endpoint": "https://x"}, "not both"),
            ({"endpoint": "http://example.com"}, "unencrypted"),
        ],
    )
    def test_a_wrong_project(self, given: dict[str, Any], said: str) -> None:
        with pytest.raises(SettingError, match=said):
            Project(**{"credentials": ApiSecret("env:X"), **given})

    def test_a_project_without_a_token(self, mixpanel: Emulator) -> None:
        with pytest.raises(CredentialsError, match="by its token alone"):
            write(mixpanel, endpoint_kind="track")

    def test_the_column_must_be_there(self, mixpanel: Emulator) -> None:
        rows = beam.Create([beam.Row(**record(0))])
        with pytest.raises(MappingError, match=r"destination names the column 'shopp'.*'shop'"):
            run(rows, write(mixpanel, destination="shopp"))

    @pytest.mark.parametrize("privacy", [Privacy(drop=["shop"]), Privacy(hash=["shop"])])
    def test_the_column_must_not_be_masked(self, mixpanel: Emulator, privacy: Privacy) -> None:
        with pytest.raises(SettingError, match="destination needs as it is"):
            write(mixpanel, privacy=privacy)

    def test_masked_events_of_a_table(self, mixpanel: Emulator) -> None:
        events = [raw(n, True) for n in range(9)]
        for number, event in enumerate(events):
            event["properties"] |= {"mail": "a@b.c", "phone": number}
        source = [pa.Table.from_pylist(events)]
        privacy = Privacy(drop=["mail"], hash=["phone"])
        assert run(source, write(mixpanel, None, privacy=privacy)).failed == []
        assert stored(mixpanel) == {name: ids(n, n + 3, n + 6) for n, name in enumerate(NAMES)}
        kept = [e["event"]["properties"] for e in mixpanel.event_details(10_000, project=1)]
        assert all(len(each["phone"]) == 32 and "mail" not in each for each in kept)

    def test_masked_columns_do_not_leave(self, mixpanel: Emulator) -> None:
        records = [record(0, mail="a@b.c"), record(1, "delta", mail="a@b.c")]
        for source in (records, [pa.Table.from_pylist(records)]):
            ran = run(source, write(mixpanel, privacy=Privacy(drop=["mail"])))
            assert "a@b.c" not in repr(ran)
            assert "a@b.c" not in repr(mixpanel.events())
            assert reasons(ran) == ["destination_unknown"]
