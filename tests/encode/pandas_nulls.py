"""What pandas has for null, where it is installed: the sink does without."""

from typing import Any

try:
    import pandas as pd
except ImportError:
    NULLS: list[Any] = []
else:
    NULLS = [pd.NaT, pd.NA]
