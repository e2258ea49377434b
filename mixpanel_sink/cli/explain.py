"""`mixpanel-sink explain`: what an error code means."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from mixpanel_sink import codes
from mixpanel_sink.cli import common


def run(
    code: Annotated[
        str,
        typer.Argument(
            metavar="CODE",
            show_default=False,
            help="A code such as MXS511, a reason such as distinct_id_null, or all.",
        ),
    ],
    as_json: common.AsJson = False,
) -> None:
    """Explain an error code, and say what to do.

    Example: mixpanel-sink explain MXS511
    """  # fmt: skip
    if code == "all":
        for each in codes.CODES:
            print(f"{each.code}  {each.name:<28}{each.meaning}")
        return
    found = codes.find(code)
    if found is None:
        meant = codes.near(code)
        hint = f" Did you mean {meant}?" if meant else ""
        common.fail(f"There is no code {code}.{hint} mixpanel-sink explain all lists them.")
    if as_json:
        said = dataclasses.asdict(found)
        print(json.dumps({name: said[name] for name in ("code", "name", "meaning", "fix")}))
        return
    common.show(f"[bold]{found.code}[/]  {found.name}\n\n{found.meaning}\n")
    common.show(f"[bold]What to do:[/] {found.fix}")
