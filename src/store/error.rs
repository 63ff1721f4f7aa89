//! What can go wrong with the state file: one sentence each, causes apart.

use super::SCHEMA_VERSION;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// Why the state file was not opened. Whatever it is, the file is as it was.
///
/// The sentence says what to do; the cause, where there is one, is the source.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its folder is missing and could not be made.
    #[error(
        "the folder of state.path {} cannot be created: create it, or change state.path",
        path.display()
    )]
    NoFolder {
        /// The configured path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is a folder.
    #[error(
        "state.path {} is a folder: name a file in it, such as {}",
        path.display(),
        path.join("originswitch.db").display()
    )]
    IsFolder {
        /// The configured path.
        path: PathBuf,
    },
    /// It is a device, a pipe or a socket.
    #[error(
        "state.path {} is no regular file: change state.path",
        path.display()
    )]
    NotAFile {
        /// The configured path.
        path: PathBuf,
    },
    /// It, or its lock, cannot be read and written.
    #[error(
        "state.path {} cannot be read and written: check the owner, the permissions and the free \
         space of the file and its folder, or change state.path",
        path.display()
    )]
    Inaccessible {
        /// The configured path.
        path: PathBuf,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another process works with it.
    #[error(
        "state.path {} is in use by {}: stop that process first, or use another state.path",
        path.display(),
        holder(*pid)
    )]
    InUse {
        /// The configured path.
        path: PathBuf,
        /// The process that holds it, if it could leave its number.
        pid: Option<u32>,
    },
    /// Something else than a database.
    #[error(
        "state.path {} is no SQLite database, and is left as it is: move it away, or change state.path",
        path.display()
    )]
    NotADatabase {
        /// The configured path.
        path: PathBuf,
    },
    /// A database of another application.
    #[error(
        "state.path {} is another application's database, and is left as it is: change state.path",
        path.display()
    )]
    NotOurs {
        /// The configured path.
        path: PathBuf,
    },
    /// A database of a newer originswitch.
    #[error(
        "state.path {} was written by a newer originswitch (schema {found}, this one knows \
         {SCHEMA_VERSION}): install that version again, or restore a copy from before the upgrade",
        path.display()
    )]
    TooNew {
        /// The configured path.
        path: PathBuf,
        /// Its schema version.
        found: i64,
    },
    /// A database of an older originswitch that may only be read.
    #[error(
        "state.path {} was written by an older originswitch (schema {found}, this one needs \
         {SCHEMA_VERSION}): start this version on it once without --dry-run",
        path.display()
    )]
    TooOld {
        /// The configured path.
        path: PathBuf,
        /// Its schema version.
        found: i64,
    },
    /// Parts of it are missing or make no sense.
    #[error(
        "state.path {} is damaged, and is left as it is: restore a copy, or move it and its -wal \
         file away to start without history",
        path.display()
    )]
    Damaged {
        /// The configured path.
        path: PathBuf,
        /// What was found.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The thread that writes it did not start.
    #[error("the thread that writes the state file could not be started")]
    NoThread {
        /// The cause.
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
}

/// Why a call to the state file failed.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No answer in time; a write goes on, and may yet succeed.
    #[error("the state file did not answer in time: its disk stalls")]
    Stalled,
    /// Too many calls wait already; this one was not taken on.
    #[error("too many writes wait for the state file: its disk is slow or stalls")]
    Busy,
    /// A write failed.
    #[error("the state file took no write")]
    Write(#[source] Arc<rusqlite::Error>),
    /// A read failed.
    #[error("the state file could not be read")]
    Read(#[source] Arc<rusqlite::Error>),
    /// A row holds what this version does not understand.
    #[error("row {id} of the state file cannot be understood: {what}")]
    Unreadable {
        /// The row.
        id: i64,
        /// What is odd about it.
        what: String,
    },
    /// There is no such switch.
    #[error("the state file has no row {0}")]
    NoSuchRow(i64),
    /// It was opened for reading only.
    #[error("the state file is open for reading only")]
    ReadOnly,
    /// It was closed.
    #[error("the state file is closed")]
    Closed,
}

impl StoreError {
    /// Whether it is about time and not about the file: the disk is slow, and
    /// what was asked for may yet happen.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        matches!(self, StoreError::Stalled | StoreError::Busy)
    }

    /// Whether the same order may succeed later, when there is room again.
    pub(super) fn may_pass(&self) -> bool {
        use rusqlite::ErrorCode::{ApiMisuse, ConstraintViolation, TooBig, TypeMismatch};
        let (StoreError::Write(error) | StoreError::Read(error)) = self else {
            return false;
        };
        !matches!(
            error.sqlite_error_code(),
            None | Some(ApiMisuse | ConstraintViolation | TooBig | TypeMismatch)
        )
    }
}
