"""What the example pipelines share: exit codes, the accounting, errors in one sentence."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from mixpanel_sink import errors

_IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"

EXIT_OK, EXIT_FAILED, EXIT_SETTING = 0, 1, 2

_KNOWN = "|".join(
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.MixpanelSinkError)
)
_RAISED = re.compile(
    rf"(?:mixpanel_sink\.errors\.)?(?:{_KNOWN}): (.+?)(?: \[while running|$)", re.M
)


def run_in_this_process(options: PipelineOptions) -> None:
    """Makes the DirectRunner, chosen or by default, the one that runs in this process.

    By that name Beam first tries to fetch and start Prism, which takes a second where there is
    no network, and twice the time and memory where there is. --runner=PrismRunner asks for it.
    """
    direct = options.view_as(DirectOptions)
    if (options.view_as(StandardOptions).runner or "DirectRunner") != "DirectRunner":
        return
    if direct.direct_num_workers == 1 and direct.direct_running_mode == "in_memory":
        options.view_as(StandardOptions).runner = _IN_PROCESS


def job_error(error: BaseException) -> str | None:
    """Our own sentence out of what a runner raised; None if the fault is not one of ours."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, errors.MixpanelSinkError):
            return str(seen).split(" [while running")[0].strip()
        found = _RAISED.findall(str(seen))
        if found:
            return str(found[-1]).strip().replace("\\n", " ").strip("'\"")
        seen = seen.__cause__ or seen.__context__
    return None


def print_accounting(counters: Mapping[str, int], failed_output: str | None) -> bool:
    """Prints a run's books and says whether they balance."""
    read = counters.get("records_read", 0)
    accepted = counters.get("events_accepted", 0)
    failed = counters.get("records_failed", 0)
    requests = counters.get("requests", 0)
    known = counters.get("events_known", 0)
    balanced = read == accepted + failed
    lines = [
        ("files", _count(counters.get("files_read", 0))),
        ("records read", _count(read)),
        ("events accepted", _count(accepted)),
        *([("  known to checkpoint", _count(known))] if known else []),
        ("records failed", _count(failed)),
    ]
    by_reason = {
        name.removeprefix("failed_"): value
        for name, value in counters.items()
        if name.startswith("failed_") and value
    }
    lines += [(f"  {reason}", _count(n)) for reason, n in sorted(by_reason.items())]
    if unreadable := counters.get("files_unreadable", 0):
        lines.append(("files not readable", _count(unreadable)))
    statuses = ", ".join(
        f"{name.removeprefix('requests_')}: {value}"
        for name, value in sorted(counters.items())
        if name.startswith("requests_") and value
    )
    lines.append(("requests", _count(requests) + (f"  ({statuses})" if statuses else "")))
    lines.append(("seconds throttled", _count(counters.get("cumulativeThrottlingSeconds", 0))))
    if long := counters.get("long_strings", 0):
        lines.append(("strings over 255 bytes", f"{_count(long)}  (Mixpanel cuts them)"))
    print("\nAccounting")
    for name, value in lines:
        number, _, remark = value.partition("  ")
        print(f"  {name:<24}{number:>12}  {remark}".rstrip())
    sign = "=" if balanced else "is not"
    print(f"  {_count(read)} read {sign} {_count(accepted)} accepted + {_count(failed)} failed")
    if failed and failed_output:
        print(f"  Failed records: {failed_output}*.jsonl")
    elif failed:
        print("  Failed records were not kept; --failed_output PREFIX writes them.")
    if not balanced:
        print("Error: the books do not balance; do not trust this run.", file=sys.stderr)
    return balanced


def _count(number: int) -> str:
    return f"{number:,}"
