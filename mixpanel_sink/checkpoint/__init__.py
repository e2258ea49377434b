"""The log of what was accepted, outside the runner."""
