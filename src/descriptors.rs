//! Open files: how many the process may have, raised to what it is granted, and
//! whether that is enough. Each probe under way and each connection is one.
//!
//! Running out of them is never an origin's fault: see `probe/faults.rs`.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt;
use std::io;
use tracing::{info, warn};

/// What is open beside probes and connections: the state, the log, the
/// runtime's own, and calls to Cloudflare and to Alertmanagers.
const BESIDE: usize = 64;

/// How many files may be open at once; `None` is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(Option<u64>);

impl Limit {
    /// So many files.
    #[must_use]
    pub fn of(files: u64) -> Limit {
        Limit(Some(files))
    }

    /// The limit in force.
    #[must_use]
    pub fn now() -> Limit {
        Limit(getrlimit(Resource::Nofile).current)
    }

    /// What is wrong with it, and what to do, if so many `probes` and so many
    /// `connections` at once are more than it has room for.
    #[must_use]
    pub fn shortage(self, probes: usize, connections: usize) -> Option<String> {
        let needed = probes + connections + BESIDE;
        let enough = self.0.is_none_or(|limit| limit >= needed as u64);
        (!enough).then(|| {
            format!(
                "only {self} files may be open at once, and probe.max_in_flight = {probes} needs \
                 {needed}: raise LimitNOFILE= in the systemd unit (elsewhere: ulimit -n) or lower \
                 probe.max_in_flight; without, probes that find no socket are unknown"
            )
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => limit.fmt(f),
            None => f.write_str("any number of"),
        }
    }
}

/// Raises the soft limit to the hard one. The soft one is 1,024 nearly
/// everywhere, for the sake of programs that use `select`.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let wanted = Rlimit {
            current: maximum,
            maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, wanted) {
            let most = Limit(maximum);
            warn!("the limit of open files cannot be raised to {most}: {error}");
        }
    }
}

/// Says what the limit is, and what is wrong with it.
pub fn say(probes: usize, connections: usize) {
    let limit = Limit::now();
    info!("{limit} files may be open at once");
    if let Some(shortage) = limit.shortage(probes, connections) {
        warn!("{shortage}");
    }
}

/// Whether an error says that there is nothing left to make a connection of:
/// no descriptor, no buffer, no port of our own.
#[must_use]
pub fn exhausted(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_says_what_is_needed_and_what_to_do() {
        assert_eq!(Limit::of(1344).shortage(256, 1024), None);
        assert_eq!(Limit(None).shortage(100_000, 1024), None);
        let said = Limit::of(1343).shortage(256, 1024).unwrap();
        for part in [
            "only 1343 files",
            "max_in_flight = 256",
            "1344",
            "LimitNOFILE=",
            "ulimit -n",
        ] {
            assert!(said.contains(part), "{said:?} has no {part:?}");
        }
    }

    #[test]
    fn only_a_want_of_ours_is_one() {
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::ADDRNOTAVAIL,
        ] {
            assert!(exhausted(&errno.into()), "{errno}");
        }
        for errno in [
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::TIMEDOUT,
            Errno::HOSTUNREACH,
        ] {
            assert!(!exhausted(&errno.into()), "{errno}");
        }
        assert!(!exhausted(&io::ErrorKind::ConnectionRefused.into()));
    }
}
