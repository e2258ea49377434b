"""Reasons of failed records: MXS5 event, ids and time, MXS6 values, MXS7 profiles, MXS8 sending."""

from __future__ import annotations

from mixpanel_sink.codes.code import Code

_COLUMN = "Correct the column's values, or name another column in the mapping."
_ID = "Correct the column's values, or replace nulls: {column: NAME, if_null: TEXT}."
_UNIT = "Name the column's unit in the mapping: {column: NAME, unit: s}, or ms, us or ns."
_SMALLER = "Leave properties out with `exclude`, or shorten them before the import."
_VALUE = "Correct the column, leave it out (`exclude`), or cast it with the mapping's `shape`."
_UPDATE = "Correct the mapping, or the column that it names."

REASONS: tuple[Code, ...] = tuple(
    Code(*row)
    for row in (
        ("MXS501", "event_null", "The event has no name.", _COLUMN),
        ("MXS502", "event_empty", "The event's name is empty.", _COLUMN),
        ("MXS503", "event_too_long", "The event's name has over 255 bytes.", _COLUMN),
        ("MXS504", "event_wrong_type", "The event's name is not text.", _COLUMN),
        ("MXS511", "distinct_id_null", "The user's id is null.", _ID),
        (
            "MXS512",
            "distinct_id_reserved",
            "The user's id is a word that Mixpanel refuses, such as null or undefined.",
            _COLUMN,
        ),
        ("MXS513", "distinct_id_too_long", "The user's id has over 255 bytes.", _COLUMN),
        (
            "MXS514",
            "distinct_id_wrong_type",
            "The user's id is neither text nor an integer.",
            _COLUMN,
        ),
        (
            "MXS521",
            "time_null",
            "The event has no time.",
            "Correct the column, or replace nulls with the mapping's `shape`: {defaults: ...}.",
        ),
        (
            "MXS522",
            "time_out_of_range",
            "Mixpanel accepts times from 1971 until an hour from now. Often, the unit is wrong.",
            _UNIT,
        ),
        (
            "MXS523",
            "time_without_unit",
            "The time is a number, and the mapping names no unit.",
            _UNIT,
        ),
        (
            "MXS524",
            "time_is_text",
            "The time is text where a number or a timestamp is expected.",
            "Say how it is written: {column: NAME, unit: iso8601} or {column: NAME, format: TEXT}.",
        ),
        (
            "MXS525",
            "time_unreadable",
            "The text is not a time in the format that the mapping names.",
            "Correct the mapping's `format` and `time_zone`, or the column.",
        ),
        ("MXS526", "time_wrong_type", "The column holds no times.", _COLUMN),
        (
            "MXS527",
            "too_old_for_track",
            "/track accepts events of the last five days only.",
            "Send older events to /import: --endpoint-kind import.",
        ),
        (
            "MXS531",
            "insert_id_null",
            "A column of the mapping's insert_id is null.",
            "Name columns that are never null, or leave out insert_id.",
        ),
        (
            "MXS532",
            "position_unknown",
            "The id is made from file and row, but those of the record are unknown.",
            "Name columns as insert_id.",
        ),
        ("MXS541", "ip_wrong_type", "The address is not text.", _VALUE),
        (
            "MXS542",
            "missing_column",
            "This file or record lacks a column that the mapping needs.",
            "Correct the mapping or the file.",
        ),
        (
            "MXS543",
            "event_ignored",
            "The property $ignore is true: Mixpanel would answer 200 and drop the event.",
            "Leave out the property if the event should be stored.",
        ),
        ("MXS601", "non_finite_number", "NaN and infinity are not JSON.", _VALUE),
        ("MXS602", "integer_too_large", "The integer has more than 64 bits.", _VALUE),
        ("MXS603", "number_too_large", "The number is too large for a 64-bit float.", _VALUE),
        ("MXS604", "invalid_text", "The text is not valid Unicode.", _VALUE),
        (
            "MXS605",
            "unreadable_value",
            "The value cannot be read, such as a damaged timestamp.",
            _VALUE,
        ),
        ("MXS606", "unsupported_type", "JSON cannot represent values of this type.", _VALUE),
        ("MXS607", "unsupported_value", "JSON cannot represent this value.", _VALUE),
        ("MXS611", "too_many_properties", "The event has 255 properties or more.", _SMALLER),
        ("MXS612", "list_too_long", "A list has 255 elements or more.", _SMALLER),
        ("MXS613", "lists_too_large", "A list has over 8 kB of JSON.", _SMALLER),
        ("MXS614", "too_many_keys", "An object has 255 keys or more.", _SMALLER),
        (
            "MXS615",
            "nested_too_deep",
            "Objects are nested deeper than Mixpanel allows.",
            "Flatten the column with the mapping's `shape`.",
        ),
        ("MXS616", "event_too_large", "The event is larger than Mixpanel accepts.", _SMALLER),
        ("MXS617", "object_too_large", "An object has over 8 kB of JSON.", _SMALLER),
        (
            "MXS621",
            "duplicate_property",
            "Two columns would become the same property.",
            "Rename or exclude one of them.",
        ),
        ("MXS622", "bad_key", "A property's name is empty or not text.", "Rename it."),
        ("MXS701", "operation_missing", "The update has no operation.", _UPDATE),
        ("MXS702", "operation_unknown", "Mixpanel has no operation of that name.", _UPDATE),
        ("MXS703", "operation_wrong_value", "The operation does not accept this value.", _UPDATE),
        (
            "MXS704",
            "update_empty",
            "Every column that the update would use is null.",
            "Leave the record out, or set drop_nulls: false.",
        ),
        ("MXS705", "not_an_update", "The record is not a profile update.", _UPDATE),
        ("MXS706", "group_key_null", "The update does not say which kind of group.", _UPDATE),
        ("MXS707", "group_id_null", "The update does not say which group.", _UPDATE),
        ("MXS708", "group_key_wrong_type", "The group's key is not text.", _UPDATE),
        (
            "MXS709",
            "group_id_wrong_type",
            "The group's id is neither text nor an integer.",
            _UPDATE,
        ),
        (
            "MXS711",
            "identity_incomplete",
            "$identify, $create_alias or $merge lacks an id, or $merge lacks the project token.",
            _UPDATE,
        ),
        (
            "MXS712",
            "wrong_endpoint",
            "This endpoint does not accept events of this kind.",
            "Send it with --endpoint-kind import or track, as the message says.",
        ),
        (
            "MXS713",
            "ambiguous",
            "Mixpanel may or may not have applied the update, and applying it "
            "twice would count twice.",
            "Look at the profile, and replay the update if it is missing.",
        ),
        (
            "MXS714",
            "not_comparable",
            "With --only-changed, an update that adds, appends or removes cannot be compared.",
            "Send such updates without --only-changed.",
        ),
        (
            "MXS801",
            "refused",
            "Mixpanel refused the event, for the reason in the message.",
            "Correct what the message names, then replay the failed records.",
        ),
        (
            "MXS802",
            "gave_up",
            "There was no usable response for too long, or Mixpanel refused a part "
            "of the batch without saying which. It may hold the event.",
            "Replay the failed records: nothing is doubled.",
        ),
        (
            "MXS803",
            "project_refused",
            "The record's project accepts nothing more; the other projects went on.",
            "Correct the project's credentials, region or endpoint, then replay.",
        ),
        (
            "MXS804",
            "destination_unknown",
            "The record names a project that `projects` does not have.",
            "Add the project, or correct the column.",
        ),
        (
            "MXS811",
            "unsupported_record",
            "The element is not a record.",
            "Use dicts, rows with a schema, or Arrow tables.",
        ),
        (
            "MXS812",
            "not_an_event",
            "Without a mapping, each record must be a Mixpanel event.",
            "Give a mapping.",
        ),
        (
            "MXS821",
            "file_unreadable",
            "The file is damaged, ends early, or has another format.",
            "Write the file again, or choose its format with --format.",
        ),
        (
            "MXS822",
            "line_unreadable",
            "A line is not a JSON object, or does not fit the CSV's header and types.",
            "Correct the line, and import the file again.",
        ),
        (
            "MXS831",
            "function_failed",
            "The function given to MapRecords raised an exception.",
            "Fix the function and run the pipeline again.",
        ),
        (
            "MXS832",
            "shape_failed",
            "The record does not fit the mapping's shape.",
            "Correct the mapping's shape or the data, and import again.",
        ),
    )
)
