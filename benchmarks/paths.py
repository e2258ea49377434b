"""Where the benchmarks keep what they make: git ignores all of it."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "RESULTS.md"
CACHE = Path(os.environ.get("BENCHMARKS_CACHE") or REPOSITORY / "data" / "benchmarks")
"""Data files and installed contestants; BENCHMARKS_CACHE names another place."""
