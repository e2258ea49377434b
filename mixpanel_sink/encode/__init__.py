"""From records to the JSON texts of Mixpanel events.

`records` takes dicts one by one, `columnar` Arrow tables as a whole; both follow
`values` and give equal JSON for equal data. None of it knows Beam.
"""
