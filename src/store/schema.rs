//! The tables, and how older files get them.

/// Says that a database is ours: `"osw1"`, in the file's header from byte 68.
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"osw1");

/// The schema this version writes, in the file's header from byte 60.
pub(super) const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// The n-th entry leads from schema n to schema n + 1. Never edited once
/// released: a change of the tables is a new entry.
pub(super) const MIGRATIONS: &[&str] = &[FIRST, ORDERS];

/// Times are nanoseconds since 1970, durations nanoseconds. Typed columns are
/// those that are queried or amended; `detail` is JSON with the rest.
const FIRST: &str = r#"
CREATE TABLE decision (
    -- never used again after a deletion: it is also the cursor of paging
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    site         TEXT NOT NULL,
    time_ns      INTEGER NOT NULL,
    action       TEXT NOT NULL,
    reason       TEXT NOT NULL,
    result       TEXT,
    -- of a switch: 1 it is known to have happened, 0 known not to, NULL not known yet
    applied      INTEGER,
    -- when a switch was sent to Cloudflare, or was about to be; NULL: nothing was to be sent
    sent_ns      INTEGER,
    from_role    TEXT,
    from_address TEXT,
    to_role      TEXT,
    to_address   TEXT,
    duration_ns  INTEGER,
    explanation  TEXT NOT NULL,
    detail       TEXT NOT NULL
) STRICT;
CREATE INDEX decision_by_site ON decision (site, id);
CREATE INDEX decision_by_time ON decision (time_ns);
CREATE INDEX decision_sent ON decision (site, sent_ns) WHERE sent_ns IS NOT NULL;

-- probe settings with which an origin was seen up
CREATE TABLE proof (
    site        TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    seen_ns     INTEGER NOT NULL,
    PRIMARY KEY (site, fingerprint)
) STRICT, WITHOUT ROWID;

CREATE TABLE site (
    name                  TEXT PRIMARY KEY,
    undoubted_fingerprint TEXT,
    undoubted_observed_ns INTEGER,
    undoubted_as_of_ns    INTEGER,
    known_content         TEXT,
    known_modified_ns     INTEGER,
    last_switch_ns        INTEGER
) STRICT, WITHOUT ROWID;

-- always empty: a row is written and deleted to learn whether there is room
CREATE TABLE room (filler BLOB) STRICT;
"#;

/// What people ordered: pins, freezes, releases. The row with an empty name is
/// of all sites together.
const ORDERS: &str = r#"
ALTER TABLE site ADD COLUMN pin_place TEXT;
ALTER TABLE site ADD COLUMN pin_until_ns INTEGER;
ALTER TABLE site ADD COLUMN pin_reason TEXT;
ALTER TABLE site ADD COLUMN pin_forced INTEGER;
-- 1: the site has yet to move there
ALTER TABLE site ADD COLUMN pin_due INTEGER;
ALTER TABLE site ADD COLUMN freeze_reason TEXT;
ALTER TABLE site ADD COLUMN freeze_until_ns INTEGER;
-- switches up to here count no more
ALTER TABLE site ADD COLUMN released_ns INTEGER;
"#;
