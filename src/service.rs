//! What a service manager such as systemd is told: that the server is ready,
//! how its sites are, that it lives, and that it ends.
//!
//! Without one (no `NOTIFY_SOCKET`) nothing here does anything. The crate
//! `sd-notify` would do, but for sockets in the abstract namespace.

use crate::clock::Clock;
use crate::failover::SiteHandle;
use crate::rule::address::Role;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, warn};

/// Between looks at the sites, if no watchdog asks for more.
const LOOK: Duration = Duration::from_secs(5);

/// The sites in force.
pub type Watched = Box<dyn Fn() -> Vec<Arc<SiteHandle>> + Send>;

/// A service manager, if one started us.
#[derive(Debug, Clone)]
pub struct Manager {
    socket: Option<Arc<SocketAddr>>,
    /// If nothing was heard of us for so long, it ends us.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names.
    #[must_use]
    pub fn from_environment() -> Manager {
        let text = |name| std::env::var(name).ok();
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let socket = address(&name);
            if let Err(error) = &socket {
                warn!("NOTIFY_SOCKET is no address to send to ({error}): the service manager is told nothing");
            }
            socket.ok()
        });
        let own = std::process::id();
        Manager {
            socket: socket.map(Arc::new),
            watchdog: watchdog(text("WATCHDOG_USEC"), text("WATCHDOG_PID"), own),
        }
    }

    /// Tells that the server is ready, and from now on that it lives and how
    /// its sites are.
    pub fn ready(&self, sites: Watched, clock: &Clock) {
        if self.socket.is_none() {
            return;
        }
        self.tell(&format!("READY=1\nSTATUS={}", summary(&sites())));
        tokio::spawn(self.clone().live(sites, clock.clone()));
    }

    /// Tells that the server ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=winding up");
    }

    /// Tells on and on; but while a site's loop is stuck, nothing of being alive.
    async fn live(self, sites: Watched, clock: Clock) {
        let pace = self.watchdog.map_or(LOOK, |limit| (limit / 2).min(LOOK));
        let (mut said, mut well) = (summary(&sites()), true);
        loop {
            if self.watchdog.is_some() && well {
                self.tell("WATCHDOG=1");
            }
            tokio::time::sleep(pace).await;
            let sites = sites();
            let now = summary(&sites);
            if now != said {
                self.tell(&format!("STATUS={now}"));
                said = now;
            }
            let stuck = sites.iter().find(|site| site.is_stuck(clock.moment()));
            if let Some(handle) = stuck.filter(|_| well) {
                let site = &handle.site.name;
                error!(%site, "{site}: its loop is stuck: the service manager is not told any more that this process lives");
            }
            well = stuck.is_none();
        }
    }

    fn tell(&self, what: &str) {
        let Some(socket) = &self.socket else { return };
        let sent = UnixDatagram::unbound().and_then(|from| {
            // A manager that does not listen holds nothing up.
            from.set_nonblocking(true)?;
            from.send_to_addr(what.as_bytes(), socket)
        });
        if let Err(error) = sent {
            warn!("the service manager could not be told {what:?}: {error}");
        }
    }
}

/// The address behind `NOTIFY_SOCKET`: a path, or with an `@` a name in the
/// abstract namespace.
fn address(name: &OsString) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)
        }
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::other("neither a path nor an abstract name")),
    }
}

/// What the watchdog waits for, if it is for this process.
fn watchdog(usec: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let usec: u64 = usec.filter(|_| ours)?.parse().ok()?;
    (usec > 0).then(|| Duration::from_micros(usec))
}

/// How the sites are, in one line without an address: anybody on the machine
/// may read it.
fn summary(sites: &[Arc<SiteHandle>]) -> String {
    let (mut off_main, mut held) = (0, 0);
    for site in sites {
        let status = site.status();
        let role = status.record.as_ref().map(|at| at.role);
        off_main += usize::from(role.is_some_and(|role| role != Role::Main));
        held += usize::from(status.hold.is_some());
    }
    let watched = sites.len();
    format!("sites: {watched} watched, {off_main} not on MAIN, {held} held")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_for_another_process_is_none_of_ours() {
        let some = |text: &str| Some(text.to_owned());
        let second = Some(Duration::from_secs(1));
        for (usec, pid, limit) in [
            (some("1000000"), None, second),
            (some("1000000"), some("7"), second),
            (some("1000000"), some("8"), None),
            (some("0"), None, None),
            (some("soon"), None, None),
            (None, None, None),
        ] {
            assert_eq!(watchdog(usec.clone(), pid, 7), limit, "{usec:?}");
        }
    }

    #[test]
    fn a_socket_has_a_path_or_an_abstract_name() {
        let path = address(&"/run/systemd/notify".into()).unwrap();
        let expected = std::path::Path::new("/run/systemd/notify");
        assert_eq!(path.as_pathname(), Some(expected));
        let hidden = address(&"@/org/freedesktop/notify".into()).unwrap();
        assert!(!hidden.is_unnamed() && hidden.as_pathname().is_none());
        assert!(address(&"vsock:2:1234".into()).is_err());
    }
}
