"""Reasons of failed records: MXS5 event, ids and time, MXS6 values, MXS7 profiles, MXS8 sending."""

from __future__ import annotations

from mixpanel_sink.codes.code import Code

_COLUMN = "Correct the column, or name another in the mapping."
_ID = "Correct the column, or give a replacement: {column: NAME, if_null: TEXT}."
_UNIT = "Name the column's unit in the mapping: {column: NAME, unit: s} or ms, us or ns."
_SMALLER = "Leave properties out with `exclude`, or shorten them before the import."
_VALUE = "Correct or leave out the column (`exclude`), or cast it with the mapping's `shape`."
_UPDATE = "Correct the mapping of the update, or the column behind it."

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
            _ID,
        ),
        ("MXS513", "distinct_id_too_long", "The user's id has over 255 bytes.", _COLUMN),
        (
            "MXS514",
            "distinct_id_wrong_type",
            "The user's id is neither text nor an integer.",
            _COLUMN,
        ),
        ("MXS521", "time_null", "The event has no time.", _ID),
        (
            "MXS522",
            "time_out_of_range",
            "Mixpanel takes times from 1971 until an hour from now. Often the unit is wrong.",
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
            "Name its form in the mapping: {column: NAME, format: TEXT}.",
        ),
        (
            "MXS525",
            "time_unreadable",
            "The text is not a time of the form that the mapping names.",
            "Correct the mapping's `format` and `time_zone`, or the column.",
        ),
        ("MXS526", "time_wrong_type", "The column holds no times.", _COLUMN),
        (
            "MXS527",
            "too_old_for_track",
            "/track takes events of the last five days only.",
            "Send it to /import: --endpoint-kind import.",
        ),
        (
            "MXS531",
            "insert_id_null",
            "A column of the mapping's insert_id is null.",
            "Name columns that are always there, or leave insert_id out.",
        ),
        (
            "MXS532",
            "position_unknown",
            "The id comes from file and row, and the record has none.",
            "Name columns for insert_id.",
        ),
        ("MXS541", "ip_wrong_type", "The address is not text.", _VALUE),
        (
            "MXS542",
            "missing_column",
            "This file or record lacks a column that the mapping needs.",
            "Correct the mapping, or the file.",
        ),
        (
            "MXS543",
            "event_ignored",
            "The property $ignore is true: Mixpanel would answer 200 and drop the event.",
            "Leave the property out if the event is to be stored.",
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
        ("MXS606", "unsupported_type", "A value of this type has no form in JSON.", _VALUE),
        ("MXS607", "unsupported_value", "This value has no form in JSON.", _VALUE),
        ("MXS611", "too_many_properties", "The event has 255 properties or more.", _SMALLER),
        ("MXS612", "list_too_long", "A list has 255 elements or more.", _SMALLER),
        ("MXS613", "lists_too_large", "The event's lists have over 8 kB in all.", _SMALLER),
        ("MXS614", "too_many_keys", "An object has 255 keys or more.", _SMALLER),
        (
            "MXS615",
            "nested_too_deep",
            "Objects are nested deeper than Mixpanel allows.",
            "Flatten the column with the mapping's `shape`.",
        ),
        ("MXS616", "event_too_large", "The event is larger than Mixpanel takes.", _SMALLER),
        ("MXS617", "object_too_large", "An object has over 8 kB.", _SMALLER),
        (
            "MXS621",
            "duplicate_property",
            "Two columns become one property.",
            "Rename or exclude one of them.",
        ),
        ("MXS622", "bad_key", "A property's name is not text, or is empty.", "Rename it."),
        ("MXS701", "operation_missing", "The update has no operation.", _UPDATE),
        ("MXS702", "operation_unknown", "Mixpanel has no operation of that name.", _UPDATE),
        ("MXS703", "operation_wrong_value", "The operation does not take this value.", _UPDATE),
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
            "An event of this kind does not go to this endpoint.",
            "Send it with --endpoint-kind import or track, as the message says.",
        ),
        (
            "MXS713",
            "ambiguous",
            "Mixpanel may or may not have applied the update, and applying it "
            "twice would count twice.",
            "Look at the profile; replay the update if it is missing.",
        ),
        (
            "MXS714",
            "not_comparable",
            "With only_changed, an update that cannot be compared with what was last accepted.",
            "Send such updates without --only-changed, as the message says.",
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
            "There was no usable response for too long, or Mixpanel refused some "
            "of the batch and did not say which. It may hold the event.",
            "Replay the failed records: nothing is doubled.",
        ),
        (
            "MXS803",
            "project_refused",
            "The record's project takes nothing more; the other projects went on.",
            "Correct its credentials, region or endpoint, then replay.",
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
            "What came in is not a record.",
            "Give dicts, rows with a schema, or Arrow tables.",
        ),
        (
            "MXS812",
            "not_an_event",
            "Without a mapping, records must be Mixpanel events already.",
            "Give a mapping.",
        ),
        (
            "MXS821",
            "file_unreadable",
            "The file is not what its format says, or ends early.",
            "Write the file again, or choose its format with --format.",
        ),
        (
            "MXS822",
            "line_unreadable",
            "A line is not a JSON object, or does not fit the CSV's header and types.",
            "Correct the line.",
        ),
        (
            "MXS831",
            "function_failed",
            "The function of MapRecords raised an exception.",
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
