"""What Dataflow's launch API and a template's metadata take. Standard library only: it is imported
in Airflow's own virtual environment as well."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "examples/schedules"
_LAUNCH = {"jobName", "containerSpecGcsPath", "parameters", "environment"}
_ENVIRONMENT = {"serviceAccountEmail", "tempLocation", "stagingLocation", "maxWorkers"}
"""Of FlexTemplateRuntimeEnvironment, what the examples use."""
_JOB_NAME = r"[a-z]([-a-z0-9]{0,1022}[a-z0-9])?"


def check(body: dict[str, Any], metadata: str = "metadata.json") -> list[str]:
    """What is wrong with the body of a launch of this template; nothing, if it is right."""
    listed = json.loads((ROOT / "configs/flex_template" / metadata).read_text())["parameters"]
    known = {each["name"]: each for each in listed}
    (given,) = body.values() if set(body) == {"launchParameter"} else ({},)
    wrong = [f"launchParameter has no {name}" for name in _LAUNCH - set(given)]
    wrong += [f"launchParameter.{name} is unknown" for name in set(given) - _LAUNCH]
    wrong += [f"{name} is unknown" for name in set(given.get("environment", {})) - _ENVIRONMENT]
    if not re.fullmatch(_JOB_NAME, str(given.get("jobName"))):
        wrong.append(f"the job's name is {given.get('jobName')!r}")
    parameters = given.get("parameters", {})
    for name, value in parameters.items():
        if name not in known:
            wrong.append(f"the template has no parameter {name}")
        elif not isinstance(value, str) or not re.search(known[name]["regexes"][0], value):
            wrong.append(f"{name} is {value!r}, which {known[name]['regexes'][0]} does not match")
    needed = [each["name"] for each in listed if not each["isOptional"]]
    return wrong + [f"{name} is missing" for name in needed if name not in parameters]
