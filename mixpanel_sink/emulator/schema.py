"""The tables of the emulator's SQLite database, and how a connection to it is set up."""

import contextlib
import sqlite3
from collections.abc import Iterator

VERSION = 3
"""Of the tables. A file with others is refused: to convert what a test stored is not worth it."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY,
    request INTEGER NOT NULL,
    project INTEGER NOT NULL,
    event TEXT NOT NULL,
    distinct_id TEXT,
    insert_id TEXT,
    time INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS texts (
    first INTEGER PRIMARY KEY,
    ends BLOB NOT NULL,
    json BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS blocks (
    first INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    request INTEGER NOT NULL,
    projects TEXT NOT NULL,
    owners BLOB,
    names TEXT NOT NULL,
    codes BLOB,
    times BLOB NOT NULL,
    keys BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS ids (
    first INTEGER PRIMARY KEY,
    users BLOB NOT NULL,
    ids BLOB NOT NULL,
    exact BLOB
);
CREATE TABLE IF NOT EXISTS gone (
    seq INTEGER PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS duplicates (
    seq INTEGER PRIMARY KEY,
    request INTEGER NOT NULL,
    project INTEGER NOT NULL,
    event TEXT NOT NULL,
    distinct_id TEXT,
    insert_id TEXT,
    time INTEGER NOT NULL,
    json BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS updates (
    seq INTEGER PRIMARY KEY,
    request INTEGER NOT NULL,
    project INTEGER NOT NULL,
    kind TEXT NOT NULL,
    profile TEXT NOT NULL,
    seen INTEGER,
    geo TEXT,
    json BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS updates_by_profile ON updates (profile, kind, project);
CREATE TABLE IF NOT EXISTS profiles (
    kind TEXT NOT NULL,
    project INTEGER NOT NULL,
    profile TEXT NOT NULL,
    updates INTEGER NOT NULL,
    last_seen INTEGER,
    geo TEXT,
    properties BLOB NOT NULL,
    PRIMARY KEY (kind, project, profile)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS identities (
    project INTEGER NOT NULL,
    id TEXT NOT NULL,
    canonical TEXT NOT NULL,
    PRIMARY KEY (project, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS identities_by_canonical ON identities (project, canonical);
CREATE TABLE IF NOT EXISTS links (
    seq INTEGER PRIMARY KEY,
    request INTEGER NOT NULL,
    project INTEGER NOT NULL,
    event TEXT NOT NULL,
    id TEXT NOT NULL,
    other TEXT NOT NULL,
    ignored TEXT
);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL,
    arrived REAL NOT NULL,
    finished REAL,
    status INTEGER,
    project INTEGER,
    quota TEXT,
    events INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    truncated_strings INTEGER NOT NULL,
    without_insert_id INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    hidden INTEGER NOT NULL,
    raw_bytes INTEGER NOT NULL,
    body_bytes INTEGER NOT NULL,
    content_encoding TEXT,
    content_type TEXT,
    user_agent TEXT,
    remote TEXT,
    geo TEXT,
    fault TEXT,
    error TEXT
);
CREATE INDEX IF NOT EXISTS requests_by_arrival ON requests (arrived);
CREATE TABLE IF NOT EXISTS details (
    request INTEGER PRIMARY KEY,
    body BLOB,
    answer BLOB NOT NULL,
    failed BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS lookup_tables (
    project INTEGER NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    replaced REAL,
    rows INTEGER NOT NULL,
    columns TEXT NOT NULL,
    csv BLOB NOT NULL,
    PRIMARY KEY (project, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deletions (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    submitted REAL NOT NULL,
    about TEXT NOT NULL,
    users INTEGER NOT NULL,
    events INTEGER NOT NULL,
    undone REAL
);
CREATE TABLE IF NOT EXISTS deleted (
    deletion INTEGER NOT NULL,
    origin TEXT NOT NULL,
    seq INTEGER NOT NULL,
    request INTEGER NOT NULL,
    project INTEGER NOT NULL,
    key INTEGER,
    event TEXT NOT NULL,
    distinct_id TEXT,
    insert_id TEXT,
    time INTEGER NOT NULL,
    json BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS deleted_by_key ON deleted (key);
CREATE TABLE IF NOT EXISTS shares (
    request INTEGER NOT NULL,
    project INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    stored INTEGER NOT NULL
);
"""
TABLES = (
    *(
        "events",
        "texts",
        "blocks",
        "ids",
        "gone",
        "duplicates",
        "updates",
        "profiles",
        "identities",
        "links",
        "shares",
    ),
    *("requests", "details", "shares", "lookup_tables", "deletions", "deleted"),
)
"""What `Writer.clear` empties."""


def connect(path: str) -> sqlite3.Connection:
    """Open the database at `path`; the connection may move between threads.

    Raises:
        sqlite3.Error: if it cannot be opened, or has the tables of another version.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        if connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            connection.close()
            raise sqlite3.DatabaseError(
                "another version of the emulator, or another program, wrote it. Give another file, "
                "or delete this one"
            )
        connection.execute(f"PRAGMA user_version = {VERSION}")
    for pragma in (
        # Searches read much, and what is written lies side by side.
        "page_size=16384",
        "journal_mode=WAL",
        # What a test's emulator stored need not survive the machine's power cut.
        "synchronous=OFF",
        "cache_size=-65536",
        "wal_autocheckpoint=2000",
        # Searches read most of the file: at a third of the cost where its pages are not copied.
        "mmap_size=8000000000",
        # A query may have to make an index of millions of events first.
        "threads=2",
        "busy_timeout=120000",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of what is written, or nothing of it; part of the one that has begun, if there is."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """Let several queries see the same: between two of them everything may be deleted."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("COMMIT")
