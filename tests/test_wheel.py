"""A regular wheel, installed in a fresh environment, and used in a folder without the clone."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import zipfile

import pyarrow.parquet as pq
import pytest

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.jobs.demo import MAPPING, shop_events
from tests import virtual_environment

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    clone, place = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    for name in ("mixpanel_sink", "pipelines", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={place}"]
    subprocess.run([*pip, str(clone)], check=True)
    (made,) = place.iterdir()
    return made


@pytest.fixture(scope="module")
def python(wheel: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return virtual_environment.make(tmp_path_factory.mktemp("environment"), wheel)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A user's project, which has a package that is called `pipelines` too."""
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/__init__.py").write_text("raise RuntimeError('the user\\'s own')\n")
    return tmp_path


def test_it_has_one_top_level_name(wheel: pathlib.Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"mixpanel_sink"}


def test_the_commands_run_beside_a_package_called_pipelines(
    python: pathlib.Path, folder: pathlib.Path
) -> None:
    pq.write_table(shop_events(3000), folder / "shop.parquet")
    with Emulator(quota="none", variant="reference") as mixpanel:
        # PYTHONPATH, so that the user's package would be found before an installed one.
        environment = virtual_environment.without_clone(
            PYTHONPATH=str(folder), MIXPANEL_API_SECRET=mixpanel.api_secret
        )

        def call(*arguments: str) -> str:
            command = [str(python.parent / "mixpanel-sink"), *arguments]
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        where = ("--mapping", "mapping.yaml", "--endpoint", mixpanel.url)
        assert "Next: mixpanel-sink check" in call("init", "shop.parquet")
        assert "requests" in call("check", "shop.parquet", "--mapping", "mapping.yaml")
        assert "2,993 accepted + 7 failed" in call("import", "shop.parquet", *where)
        assert mixpanel.stats()["events_distinct"] == 2993
        assert "all 2,993 events" in call("verify", "shop.parquet", *where)


def test_the_demo_runs_in_any_folder(python: pathlib.Path, folder: pathlib.Path) -> None:
    environment = virtual_environment.without_clone(PYTHONPATH=str(folder))
    done = subprocess.run(
        [str(python.parent / "mixpanel-sink"), "demo"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "100,000 read = 99,993 accepted + 7 failed" in done.stdout
    assert "99,993 distinct events" in done.stdout
    assert (folder / "demo-output/shop.yaml").exists()


def test_the_demos_mapping_is_the_documented_one() -> None:
    assert (ROOT / "configs/shop.yaml").read_text() == MAPPING
