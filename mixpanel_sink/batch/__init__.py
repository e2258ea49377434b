"""One request's worth of events, and where each of them comes from. No Beam."""
