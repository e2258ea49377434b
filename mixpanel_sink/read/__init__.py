"""Files as Arrow tables and blocks of records that know their file and row.

`source` has the protocols, `registry` the formats, `transform` the pipelines' side; a format is a
module.
"""
