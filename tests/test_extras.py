"""The base install imports a local file; each extra adds what it names, and its absence is one
sentence."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from mixpanel_sink import extras
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import SettingError
from mixpanel_sink.jobs.demo import MAPPING, shop_events
from tests.only_installed import hidden, wanted

ROOT = pathlib.Path(__file__).parents[1]


def call(given: str, *arguments: str, cwd: pathlib.Path, **more: str) -> tuple[int, str, str]:
    """`mixpanel-sink` where only these extras are installed: exit code, stdout, stderr."""
    command = [sys.executable, "-m", "tests.only_installed", given, "mixpanel_sink.cli"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    done = subprocess.run(
        [*command, *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_an_extra_brings_what_it_needs() -> None:
    for extra, module in extras._NEEDS.values():
        for given, there in (([], False), ([extra], True), (["all"], True)):
            missing = [name for name in hidden(given) if f"{module}.".startswith(f"{name}.")]
            assert (not missing) is there, (module, given, missing)


def test_the_base_install_stays_small() -> None:
    base = wanted([])
    assert {"apache-beam", "pyarrow", "polars", "requests"} <= base
    large = {"google-cloud-bigquery", "google-cloud-aiplatform", "boto3", "pandas", "uvicorn"}
    assert not base & large
    assert len(base) < 75


def test_a_local_import_needs_the_base_install_alone(tmp_path: pathlib.Path) -> None:
    pq.write_table(shop_events(3000), tmp_path / "shop.parquet")
    (tmp_path / "shop.yaml").write_text(MAPPING)
    with Emulator(quota="none", variant="reference") as mixpanel:
        where = ("--mapping", "shop.yaml", "--endpoint", mixpanel.url)
        secret = {"MIXPANEL_API_SECRET": mixpanel.api_secret}
        for verb, said in (
            ("import", "2,993 accepted + 7 failed"),
            ("verify", "all 2,993 events"),
        ):
            code, out, err = call("-", verb, "shop.parquet", *where, cwd=tmp_path, **secret)
            assert code == 0, err
            assert said in out
            assert "google" not in err, err
            assert "apitools" not in err, "Beam misses it, and says so with every import"


@pytest.mark.parametrize("place", ["gs://bucket/a.parquet", "s3://bucket/a.parquet"])
def test_a_missing_extra_is_one_sentence(tmp_path: pathlib.Path, place: str) -> None:
    (tmp_path / "shop.yaml").write_text(MAPPING)
    code, _, err = call("-", "check", place, "--mapping", "shop.yaml", cwd=tmp_path)
    extra = extras._NEEDS[place.partition(":")[0]][0]
    assert code == 2
    assert f"pip install 'mixpanel-sink[{extra}]'" in err
    assert "Traceback" not in err


def test_the_demo_without_the_emulators_packages_says_so(tmp_path: pathlib.Path) -> None:
    code, _, err = call("-", "demo", cwd=tmp_path)
    assert code == 2
    assert "pip install 'mixpanel-sink[emulator]'" in err
    assert "Traceback" not in err


def test_the_demo_needs_the_emulators_packages_alone(tmp_path: pathlib.Path) -> None:
    code, out, err = call("emulator", "demo", cwd=tmp_path)
    assert code == 0, err
    assert "100,000 read = 99,993 accepted + 7 failed" in out


def test_every_scheme_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_is_installed", lambda module: False)
    for scheme, (extra, _) in extras._NEEDS.items():
        with pytest.raises(SettingError, match=rf"mixpanel-sink\[{extra}\]"):
            extras.require(f"{scheme}://bucket/file")
    extras.require("file.parquet")
    extras.require("C:/file.parquet")
