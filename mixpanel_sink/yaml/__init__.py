"""Beam YAML: `type: WriteToMixpanel` in a pipeline without any code.

`python -m mixpanel_sink.yaml` prints the provider file, to include it in a pipeline.
"""

import pathlib

PROVIDER = pathlib.Path(__file__).with_name("provider.yaml")
"""The provider file, for `providers: [{include: ...}]`."""
