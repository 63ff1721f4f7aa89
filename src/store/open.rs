//! Opening the state file: what it must be, who may have it, and its tables.
//!
//! A file that is not ours is only ever read, and that before SQLite gets to
//! see it: opening a database can already change it.

use super::OpenError;
use super::schema::{APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long SQLite waits for another program's lock (a shell, a backup).
const BUSY: Duration = Duration::from_secs(2);
/// What SQLite's files begin with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What the first bytes of the file say.
enum Found {
    Nothing,
    Ours,
}

/// Opens for writing, creating what is missing, and takes the lock.
pub(super) fn writer(path: &Path) -> Result<(Connection, File), OpenError> {
    look(path)?;
    make_folder(path)?;
    let lock = lock(path)?;
    // Whoever held the lock before may have made the file in between.
    look(path)?;
    keep_private(path)?;
    let db = connect(path).map_err(|error| refused(path, error))?;
    if db.is_readonly("main").unwrap_or(true) {
        let cause = "it can be read only";
        return Err(inaccessible(path, cause));
    }
    check(path, &db)?;
    migrate(&db).map_err(|error| refused(path, error))?;
    settle(&db).map_err(|error| refused(path, error))?;
    Ok((db, lock))
}

/// Creates the file for its owner alone: it holds the origins' addresses.
/// SQLite gives its side files the same permissions.
fn keep_private(path: &Path) -> Result<(), OpenError> {
    if path.exists() {
        return Ok(());
    }
    let made = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(inaccessible(path, error)),
    }
}

/// Opens for reading, beside a writer or alone; nothing is written.
pub(super) fn reader(path: &Path) -> Result<Connection, OpenError> {
    let log = size(&beside(path, "-wal"));
    if matches!(look(path)?, Found::Nothing) {
        return empty().map_err(|error| refused(path, error));
    }
    // Without a log nobody is at work, and SQLite would have to create one.
    let name = uri(path, log.is_none());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(name, flags).map_err(|error| refused(path, error))?;
    db.busy_timeout(BUSY)
        .map_err(|error| refused(path, error))?;
    check(path, &db)?;
    let found = version(&db).map_err(|error| refused(path, error))?;
    if found < SCHEMA_VERSION {
        let path = path.into();
        return Err(OpenError::TooOld { path, found });
    }
    Ok(db)
}

/// A state of which nothing is known yet.
fn empty() -> rusqlite::Result<Connection> {
    let db = Connection::open_in_memory()?;
    migrate(&db)?;
    Ok(db)
}

/// Reads the header and judges by it.
fn look(path: &Path) -> Result<Found, OpenError> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            let path = path.into();
            return Err(OpenError::IsFolder { path });
        }
        Ok(meta) if !meta.is_file() => {
            let path = path.into();
            return Err(OpenError::NotAFile { path });
        }
        Ok(meta) if meta.len() == 0 => return Ok(Found::Nothing),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(source) if source.kind() == ErrorKind::NotADirectory => {
            let path = path.into();
            return Err(OpenError::NoFolder { path, source });
        }
        Err(error) => return Err(inaccessible(path, error)),
    }
    let mut header = Vec::new();
    File::open(path)
        .and_then(|file| file.take(100).read_to_end(&mut header))
        .map_err(|error| inaccessible(path, error))?;
    judge(path, &header)
}

fn judge(path: &Path, header: &[u8]) -> Result<Found, OpenError> {
    let path = path.to_owned();
    if header.len() < 100 || !header.starts_with(MAGIC) {
        return Err(OpenError::NotADatabase { path });
    }
    let number = |at: usize| {
        let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        i32::from_be_bytes(bytes)
    };
    if number(68) != APPLICATION_ID {
        return Err(OpenError::NotOurs { path });
    }
    let found = i64::from(number(60));
    if found > SCHEMA_VERSION {
        return Err(OpenError::TooNew { path, found });
    }
    Ok(Found::Ours)
}

/// One level only: more is more likely a slip than a wish.
fn make_folder(path: &Path) -> Result<(), OpenError> {
    let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) else {
        return Ok(());
    };
    match fs::create_dir(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(source) => {
            let path = path.into();
            Err(OpenError::NoFolder { path, source })
        }
    }
}

/// Takes the lock, which the system frees when the process ends, however it ends.
///
/// The lock's file stays behind: if it were removed, two processes could hold
/// locks on two files of that name.
fn lock(path: &Path) -> Result<File, OpenError> {
    let name = beside(path, ".lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&name)
        .map_err(|error| inaccessible(path, error))?;
    match file.try_lock() {
        Ok(()) => {
            // The number is a courtesy: on a full disk it may be missing.
            let pid = format!("{}\n", std::process::id());
            let left = file
                .set_len(0)
                .and_then(|()| file.write_all(pid.as_bytes()));
            drop(left);
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            drop(file.take(20).read_to_string(&mut text));
            let pid = text.trim().parse().ok();
            let path = path.into();
            Err(OpenError::InUse { path, pid })
        }
        Err(TryLockError::Error(error)) => Err(inaccessible(path, error)),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let log = size(&beside(path, "-wal"));
    let db = Connection::open_with_flags(path, flags)?;
    if log.is_some_and(|bytes| bytes > 0) {
        // Should it turn out damaged, closing must not move the log into it.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    }
    db.busy_timeout(BUSY)?;
    Ok(db)
}

/// The checks that need the whole file, log included.
fn check(path: &Path, db: &Connection) -> Result<(), OpenError> {
    let found = version(db).map_err(|error| refused(path, error))?;
    if found > SCHEMA_VERSION {
        let path = path.into();
        return Err(OpenError::TooNew { path, found });
    }
    let sound: String = db
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| refused(path, error))?;
    match sound.as_str() {
        "ok" => Ok(()),
        _ => Err(OpenError::Damaged {
            path: path.into(),
            // It comes on several lines, and is to end a sentence.
            source: sound.lines().collect::<Vec<_>>().join(" ").into(),
        }),
    }
}

fn version(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings the tables up to date, each step whole or not at all.
///
/// A new file is not in WAL mode yet: what marks it as ours is in its header
/// as soon as there is one.
fn migrate(db: &Connection) -> rusqlite::Result<()> {
    let mut at = version(db)?;
    while let Some(step) = usize::try_from(at).ok().and_then(|at| MIGRATIONS.get(at)) {
        at += 1;
        let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", at)?;
        transaction.commit()?;
    }
    Ok(())
}

/// How it works from here on: a log beside it, and every commit on the disk.
fn settle(db: &Connection) -> rusqlite::Result<()> {
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        tracing::warn!(
            mode,
            "the state file's disk has no shared memory: readers will wait"
        );
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    // In KiB. What is asked for again and again is in our own memory.
    db.pragma_update(None, "cache_size", -512)?;
    db.set_prepared_statement_cache_capacity(32);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

fn inaccessible(
    path: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> OpenError {
    OpenError::Inaccessible {
        path: path.into(),
        source: source.into(),
    }
}

fn refused(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged {
            path,
            source: error.into(),
        },
        _ => inaccessible(&path, error),
    }
}

/// The file with this ending, as SQLite names its own: beside the file itself,
/// also where `path` is a link to it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let mut name: OsString = real.into();
    name.push(ending);
    name.into()
}

fn size(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|meta| meta.len())
}

/// The path as SQLite's URI.
fn uri(path: &Path, immutable: bool) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_: io::Error| path.into());
    let mut uri = String::from("file:");
    for &byte in absolute.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(byte.into());
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str(if immutable { "?immutable=1" } else { "" });
    uri
}
