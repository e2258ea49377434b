"""Every code block of the documents is run.

Commands run as they stand, in a folder with the input that they name, against the emulator:
only the host, `gs://bucket` and the interpreter are replaced. What needs other machines
(gcloud, bq, docker, a JVM) is checked for its syntax, and counted, so that
none is skipped by accident.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import gzip
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.jobs.demo import shop_events
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.profile_mapping import GroupMapping, ProfileMapping

ROOT = pathlib.Path(__file__).parents[2]
ELSEWHERE = ("gcloud", "bq", "gsutil", "docker", "go", "mvn", "./", "bash", "cd")
"""What runs on machines that are not here."""
SERVERS = ("mixpanel-sink emulator", "python -m mixpanel_sink.expansion_service")
"""What runs until it is ended."""


@dataclasses.dataclass(frozen=True)
class Block:
    file: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line}"


def blocks(*paths: pathlib.Path) -> Iterator[Block]:
    for path in paths:
        lines = path.read_text().splitlines()
        opened: tuple[int, str] | None = None
        for number, line in enumerate(lines, 1):
            if not line.lstrip().startswith("```"):
                continue
            if opened is None:
                opened = number, line.strip().removeprefix("```").strip()
                continue
            start, language = opened
            text = textwrap.dedent("\n".join(lines[start : number - 1]))
            yield Block(str(path.relative_to(ROOT)), start, language, text)
            opened = None


PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if path.parent.name != "tutorials"  # which test_tutorials.py follows
]
BLOCKS = list(blocks(*PAGES))


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def commands(text: str) -> list[str]:
    """One a line, comments and continuations resolved."""
    joined = re.sub(r"\\\n\s*", " ", text)
    bare = [re.sub(r"\s+#\s.*$", "", line).strip() for line in joined.splitlines()]
    return [line for line in bare if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    with Emulator(service_account=("importer", "importer-secret"), project_id=12345) as running:
        yield running


@pytest.fixture
def place(tmp_path: pathlib.Path, server: Emulator) -> pathlib.Path:
    """A folder with everything that the documents' commands read."""
    server.reset(quota="none")
    server.create_lookup_table("Songs", id="8b4f0a52")
    (tmp_path / "songs.csv").write_text("id,artist\nc1,Drake\n")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    shop = shop_events(3000)
    for name in ("events.parquet", "events/may.parquet", "bucket/events/may.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(shop, tmp_path / name)
    at = datetime.datetime(2024, 5, 6, 7, 8, 9)
    logs = tmp_path / "bucket/logs"
    logs.mkdir(parents=True)
    with gzip.open(logs / "a.jsonl.gz", "wt") as file:
        for n in range(20):
            row = {
                "name": "Visit", "user_id": f"u{n}", "anonymous_id": f"a{n}", "message_id": f"m{n}",
                "timestamp": at.isoformat() + "Z", "ip": "198.51.100.7", "headers": {},
            }  # fmt: skip
            file.write(json.dumps(row) + "\n")
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders/may.csv").write_text(
        "order_number,customer,created_at,amount\n1,u1,1714980000,9.5\n2,u2,1714980001,3\n"
    )
    (tmp_path / "bucket/orders").mkdir()
    orders = {"name": ["Order"], "user": ["u1"], "at": [1714980000000], "id": ["o1"]}
    pq.write_table(pa.table(orders), tmp_path / "bucket/orders/a.parquet")
    profile = {"distinct_id": "u1", "time": int(time.time() * 1000), "$insert_id": "replayed-1"}
    (tmp_path / "failed").mkdir()
    failed = {"reason": "gave_up", "event": {"event": "Visit", "properties": profile}}
    (tmp_path / "failed/2024-05-00000-of-00001.jsonl").write_text(json.dumps(failed) + "\n")
    for block in of("yaml"):
        if "pipeline:" in block.text:
            (tmp_path / "orders.yaml").write_text(there(block.text, tmp_path, server))
    return tmp_path


def there(text: str, place: pathlib.Path, server: Emulator) -> str:
    """The text for this machine: the emulator's host, a folder as the bucket."""
    text = text.replace("http://127.0.0.1:8080", server.url)
    text = text.replace("gs://bucket", f"{place}/bucket")
    text = re.sub(r"--(mixpanel_)?region[= ]\w+", f"--endpoint={server.url}", text)
    return re.sub(r"^(\s*)region: \w+$", rf"\1endpoint: {server.url}", text, flags=re.MULTILINE)


def environment(server: Emulator) -> dict[str, str]:
    basic = base64.b64encode(f"{server.api_secret}:".encode()).decode()
    return {
        **os.environ,
        "MIXPANEL_API_SECRET": server.api_secret,
        "MIXPANEL_TOKEN": server.project_token,
        "MIXPANEL_PROJECT_TOKEN": server.project_token,
        "MIXPANEL_SECRET": "importer-secret",
        "MIXPANEL_BASIC_AUTH": f"Basic {basic}",
        "PII_KEY": "pepper",
        "SLACK_WEBHOOK": "http://127.0.0.1:9/",  # nobody takes it, which costs a warning
        **dict.fromkeys(("SHOP_US_SECRET", "SHOP_EU_SECRET"), server.api_secret),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MIXPANEL_EMULATOR": server.url,
    }


_SENDS = ("mixpanel-sink import", "mixpanel-sink replay", "mixpanel-sink verify",
          "mixpanel-sink doctor", "mixpanel-sink lookup-table")  # fmt: skip


def run(command: str, place: pathlib.Path, server: Emulator) -> str:
    """Runs one command as the document has it; gives how it was dealt with."""
    first = shlex.split(command)[0]
    if first == "export":
        return "set"
    if first == "make":
        target = shlex.split(command)[1]
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return "make"
    if first == "pip":
        extras = set(re.findall(r"\[(\w+)\]", command)) - {"yaml"}
        assert all(f'"{extra}"' in (ROOT / "setup.py").read_text() for extra in extras)
        return "pip"
    if first.startswith(ELSEWHERE) or "DataflowRunner" in command:
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return "elsewhere"
    if command.startswith(SERVERS):
        until_ready(re.sub(r"--port \d+", "--port 0", command), place, server)
        return "ran"
    line = there(command, place, server)
    sends = line.startswith(_SENDS) or "-m pipelines." in line
    if sends and "--endpoint" not in line and "--dry-run" not in line and "--help" not in line:
        line += f" --endpoint={server.url}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=place,
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return "ran"


def until_ready(command: str, place: pathlib.Path, server: Emulator) -> None:
    process = subprocess.Popen(
        shlex.split(command.replace("python -m", f"{sys.executable} -m")),
        cwd=place,
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("block", of("sh", "bash", "shell"), ids=lambda block: block.name)
def test_commands(block: Block, place: pathlib.Path, server: Emulator) -> None:
    found = commands(block.text)
    assert found
    if "mixpanel-sink init" not in block.text:  # which makes it
        shutil.copy(ROOT / "configs/shop.yaml", place / "events.yaml")
    if "verify_import" in block.text:  # which finds what an import has sent
        sent = (
            "python -m pipelines.parquet_to_mixpanel --input 'events/*.parquet' "
            "--mapping configs/shop.yaml --api-secret env:MIXPANEL_API_SECRET --region eu"
        )
        run(sent, place, server)
    for command in found:
        run(command, place, server)


@pytest.mark.parametrize("block", of("yaml"), ids=lambda block: block.name)
def test_yaml(block: Block) -> None:
    value = yaml.safe_load(block.text)
    if isinstance(value, dict) and "pipeline" in value:
        return  # the command under it runs it
    if isinstance(value, dict) and "group_key" in value:
        GroupMapping.from_yaml(block.text)
    elif isinstance(value, dict) and "event" not in value and "distinct_id" in value:
        ProfileMapping.from_yaml(block.text)
    elif isinstance(value, dict) and "event" in value:
        EventMapping.from_yaml(block.text)
    else:
        assert value


@pytest.mark.parametrize("block", of("json"), ids=lambda block: block.name)
def test_json(block: Block) -> None:
    json.loads(block.text)


PRELUDE = """
import os, time
import apache_beam as beam
import mixpanel_sink
from mixpanel_sink import *
from mixpanel_sink.api import hosts as _destination
for _region in _destination.REGIONS:
    _destination.REGIONS[_region] = os.environ["MIXPANEL_EMULATOR"]
_rows = [
    {"event_name": "Visit", "user_id": f"u{n}", "created_at": beam.utils.timestamp.Timestamp.now(),
     "shop": "shop_eu", "device_id": f"d{n}", "plan": "pro", "first_seen": "2024", "logins": 1}
    for n in range(3)
]
from mixpanel_sink.api.identity import *
from mixpanel_utils import MixpanelUtils as _Utils
_made = _Utils.__init__
def _init(self, *given, **named):
    _made(self, *given, **named)
    self.import_api = os.environ["MIXPANEL_EMULATOR"] + "/import"
_Utils.__init__ = _init
mapping = EventMapping(event="event_name", distinct_id="user_id", time="created_at")
credentials = ApiSecret("env:MIXPANEL_API_SECRET")
pipeline = beam.Pipeline()
rows = pipeline | "Rows" >> beam.Create(_rows)
messages = rows
class ReadYourRecords(beam.PTransform):
    def expand(self, begin):
        return begin | beam.Create(_rows)
class WriteSomewhere(beam.PTransform):
    def expand(self, records):
        return records | beam.Map(print)
def run_my_pipeline(endpoint):
    with beam.Pipeline() as pipeline:
        mapping = EventMapping(event="event_name", distinct_id="user_id", time="created_at")
        secret = ApiSecret("env:MIXPANEL_API_SECRET")
        pipeline | beam.Create(_rows) | WriteToMixpanel(mapping, secret, endpoint=endpoint)
"""


@pytest.mark.parametrize("block", of("python"), ids=lambda block: block.name)
def test_python(block: Block, place: pathlib.Path, server: Emulator) -> None:
    program = PRELUDE + block.text.replace("https://api.mixpanel.com", server.url)
    if re.search(r"\brows \|", block.text):
        program += "\npipeline.run().wait_until_finish()\n"
    for name in re.findall(r"^def (test_\w+)\((\w+)\):", block.text, re.MULTILINE):
        program += (
            "\n\nfrom mixpanel_sink.emulator.testing import Emulator\n"
            "with Emulator() as _emulator:\n"
            '    os.environ["MIXPANEL_API_SECRET"] = _emulator.api_secret\n'
            f"    {name[0]}(_emulator)\n"
        )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=place,
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{block.text}\n{done.stderr}"


def test_none_is_left_out() -> None:
    """Blocks of output have no language; foreign languages have tests of their own."""
    known = {
        "mermaid",
        "sh",
        "bash",
        "shell",
        "yaml",
        "json",
        "python",
        "java",
        "go",
        "",
        "text",
        "sql",
        "console",
    }
    assert {block.language for block in BLOCKS} <= known
    every = [command for block in of("sh", "bash", "shell") for command in commands(block.text)]
    elsewhere = [c for c in every if shlex.split(c)[0].startswith(ELSEWHERE)]
    print(f"{len(BLOCKS)} blocks, {len(every)} commands, {len(elsewhere)} of them for elsewhere")
    assert len(elsewhere) < len(every) / 2
