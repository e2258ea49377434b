"""What a proof costs: `verify` of an import that went well, by CPU, time and memory.

    python -m benchmarks.verifying --events 1000000

The export comes from a process of its own, as one file of JSON lines; its CPU is not counted.
"""

from __future__ import annotations

import argparse
import http.server
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import data, measure, paths, report, sets
from mixpanel_sink.read.file_source import as_source
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.stages.local import convert_tables

_ADDED = (
    b',"$import":true,"mp_processing_time_ms":1767225600000,"$insert_key":"x",'
    b'"mp_country_code":"AT","$city":"Vienna"}}'
)


def exported_file(parquet: Path) -> Path:
    """What the raw export gives of the file's events; made once."""
    path = parquet.with_suffix(".export.jsonl")
    if path.exists():
        return path
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    mapping = EventMapping.from_yaml(sets.MAPPING)
    tables = as_source([str(parquet)], mapping).elements()
    with unfinished.open("wb") as out:
        for chunk in convert_tables(tables, mapping):
            if isinstance(chunk, FailedRecord):
                raise SystemExit(f"The benchmark's own data: {chunk.message}")
            for event in chunk.events():
                text = event.replace(b'"ip":"0",', b"").rstrip()
                out.write(text.removesuffix(b"}}") + _ADDED + b"\n")
    unfinished.rename(path)
    return path


def serve(path: Path) -> None:
    """Serves the file on a free port, whatever is asked, and prints the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            with path.open("rb") as file:
                shutil.copyfileobj(file, self.wfile, 1 << 20)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def measured(parquet: Path, events: int, folder: Path) -> measure.Cost:
    """The cost of one proof."""
    mapping = folder / "verifying.yaml"
    mapping.write_text(sets.MAPPING)
    exported = exported_file(parquet)
    module = [sys.executable, "-m", "benchmarks.verifying", "--serve", str(exported)]
    with subprocess.Popen(module, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        log = folder / "verifying.log"
        command = [sys.executable, "-m", "mixpanel_sink.jobs.verify", "--input", str(parquet)]
        command += ["--mapping", str(mapping), "--api-secret", "env:VERIFYING_SECRET"]
        try:
            cost = measure.run(
                [*command, "--endpoint", f"http://127.0.0.1:{port}"], log, {"VERIFYING_SECRET": "s"}
            )
        finally:
            server.terminate()
    said = log.read_text()
    if cost.exit_code or f"all {events:,} events" not in said:
        raise SystemExit(f"The proof failed:\n{said}")
    return cost


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verifying", description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--set", choices=[each.name for each in sets.ALL], help="another input")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return 0
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    rows = []
    for events in options.events:
        parquet = data.parquet_file(events)
        if options.set is not None:
            (chosen,) = (each for each in sets.ALL if each.name == options.set)
            parquet, events = chosen.file(), chosen.rows
        cost = measured(parquet, events, paths.CACHE)
        micro = cost.cpu / events * 1e6
        row = [f"{events:,}", f"{cost.wall:.1f}", f"{cost.cpu:.1f}", f"{micro:.1f}"]
        rows.append([*row, f"{cost.peak_memory / 1e6:.0f}"])
    print(report.table(("events", "seconds", "CPU-s", "us CPU an event", "peak MB"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
