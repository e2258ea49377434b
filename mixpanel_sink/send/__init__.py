"""Brings chunks to Mixpanel: waiting, posting, retrying, settling. No Beam."""
