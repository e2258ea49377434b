"""Looks at an input or at what Mixpanel holds, and sends nothing."""
