"""The files that are made from the table of options: the Dataflow template's metadata, and
docs/options.md.

    python -m mixpanel_sink.jobs.reference

writes both, in the folder of a clone. No Beam here.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

from mixpanel_sink.settings.option import FLAG, Option
from mixpanel_sink.settings.options import COMMANDS, OPTIONS, options_of

METADATA = pathlib.Path("configs/flex_template/metadata.json")
PAGE = pathlib.Path("docs/options.md")
_REQUIRED = ("input", "mapping")
_ABOUT = """\
# Options

Every option, and who has it. This page is made from the table in `mixpanel_sink/settings/options.py` by
`python -m mixpanel_sink.jobs.reference`; do not edit it.

An option has one name. On the command line it is written with hyphens or underscores, as
`--failed-output failed` or `--failed_output=failed`; a switch is on by itself, or takes `=true` or `=false`.
`mixpanel-sink` takes files as words, the pipelines as `--input`. A REFERENCE says where a secret is, and is
never the secret itself: `env:NAME`, `file:PATH` or `gcpsecret:projects/P/secrets/S`. Beside Beam's options,
where `--region` is Google Cloud's too, a region of Mixpanel's may also be given as `--mixpanel_region`; in the
template it is called that.

| short | who has it |
|---|---|
| init, check, import, replay, verify, doctor | the command of `mixpanel-sink`; `import`, `replay` and `verify` are also the pipelines in `pipelines/` |
| stream | `pipelines.pubsub_to_mixpanel` |
| template | the Dataflow template, see [dataflow.md](dataflow.md) |
| rows | [Beam YAML](yaml.md), and pipelines in [other languages](cross-language.md) |
| Python | the keyword of `WriteToMixpanel` or its siblings that has the same effect |
"""


def metadata() -> str:
    """The template's metadata.json."""
    listed = {
        "name": "Files or BigQuery to Mixpanel",
        "description": "Sends the records of Parquet, CSV, JSON lines, Avro, ORC or Arrow files in Cloud "
        "Storage, or of a BigQuery table or query, to Mixpanel as events or profiles, each once, "
        "within the project's rate limit.",
        "parameters": [_parameter(option) for option in options_of("template")],
    }
    return json.dumps(listed, indent=2, ensure_ascii=False) + "\n"


def _parameter(option: Option) -> dict[str, Any]:
    kind = option.kind
    made: dict[str, Any] = {
        "name": option.beside_beam,
        "label": option.label,
        "helpText": f"{option.help} {kind.note}".strip(),
        "paramType": kind.form,
        "isOptional": option.name not in _REQUIRED,
        "regexes": [kind.regex],
    }
    shown = "false" if kind is FLAG else kind.show(option.default)
    if shown is not None:
        made["defaultValue"] = str(shown)
    if kind.choices:
        made["enumOptions"] = [{"value": value, "label": label} for value, label in kind.choices]
    return made


def page() -> str:
    """docs/options.md."""
    parts = [_ABOUT]
    for group in dict.fromkeys(option.group for option in OPTIONS):
        parts.append(f"\n## {group}\n\n| option | what it is for | who has it | Python |")
        parts.append("|---|---|---|---|")
        parts += [_row(option) for option in OPTIONS if option.group == group]
    return "\n".join(parts) + "\n"


def _row(option: Option) -> str:
    short = f", `-{option.short}`" if option.short else ""
    value = f" {option.metavar}" if option.metavar else ""
    name = f"`--{option.name}{value}`{short}".replace("|", "\\|")
    who = ", ".join(face for face in (*COMMANDS, "template", "rows") if face in option.faces)
    python = f"`{option.python}`" if option.python else ""
    return f"| {name} | {option.help} | {who} | {python} |"


def main() -> int:
    """Writes both files."""
    METADATA.write_text(metadata(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Written: {METADATA}, {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
