"""Beam YAML: `type: WriteToMixpanel` in a pipeline without any code.

`python -m mixpanel_sink.yaml` prints where the provider file is, to include it in a pipeline;
`python -m mixpanel_sink.yaml --remote` prints one for machines that do not have the package.
"""

import pathlib

from mixpanel_sink.version import __version__

PROVIDER = pathlib.Path(__file__).with_name("provider.yaml")
"""The provider file, for `providers: [{include: ...}]`."""


def remote_provider() -> str:
    """A provider file that installs this version of the package where the pipeline is built, as in
    Dataflow's job builder: it may be anywhere that can be included, such as Cloud Storage."""
    local = PROVIDER.read_text(encoding="utf-8")
    _, _, transforms = local.partition("  config: {}\n")
    return (
        f"# Beam YAML installs mixpanel-sink {__version__} itself for these transforms.\n"
        "- type: pythonPackage\n"
        f"  config: {{packages: ['mixpanel-sink[gcp]=={__version__}']}}\n"
        f"{transforms}"
    )
