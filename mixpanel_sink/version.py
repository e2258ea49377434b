"""The version, where setup.py and the code read it without importing anything else."""

__version__ = "0.1.0"
