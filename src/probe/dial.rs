//! From an address to a connection, within one time limit that also bounds
//! what is done with the connection.

use super::faults;
use crate::config::ProbeSettings;
use crate::crowd::{Crowds, Gate};
use crate::prober::{Probe, Sample};
use crate::rule::address::Address;
use crate::rule::finding::{Finding, Phase, Phases, Verdict};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Addresses of a CNAME origin tried at once; a name with more is served by
/// somebody large enough for these to speak for the rest.
const MOST_ADDRESSES: usize = 8;

/// What a kind of probe does with a fresh connection.
pub(super) trait Visit: Send + Sync + 'static {
    /// What has to be at hand before a connection is worth making.
    type Ready: Send + Sync;

    /// Gets it; its failure is our own, and the origin is not dialled.
    fn ready(&self) -> impl Future<Output = Result<Self::Ready, Finding>> + Send;

    /// Uses the connection, naming each phase to `track` as it is entered.
    fn visit(
        &self,
        ready: &Self::Ready,
        stream: TcpStream,
        track: &mut Track,
    ) -> impl Future<Output = Finding> + Send;
}

/// Where a probe is and how long its parts took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Track {
    start: Instant,
    now_in: Option<(Phase, Instant)>,
    phases: Phases,
}

impl Track {
    pub(super) fn new() -> Track {
        Track {
            start: Instant::now(),
            now_in: None,
            phases: Phases::default(),
        }
    }

    /// Since the start of the probe.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Ends the phase it is in, and begins `phase`.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.leave();
        self.now_in = Some((phase, Instant::now()));
    }

    fn leave(&mut self) {
        let Some((phase, since)) = self.now_in.take() else {
            return;
        };
        let took = match phase {
            Phase::Resolve => &mut self.phases.resolve,
            Phase::Connect => &mut self.phases.connect,
            Phase::Tls => &mut self.phases.tls,
            Phase::Response => &mut self.phases.response,
        };
        *took = Some(since.elapsed());
    }

    fn sample(mut self, finding: Finding) -> Sample {
        self.leave();
        Sample {
            finding,
            phases: self.phases,
        }
    }
}

/// Where to dial.
#[derive(Debug)]
enum Target {
    Literal(IpAddr),
    Named(String),
}

/// A probe: dials, then lets `V` use the connection.
#[derive(Debug)]
pub(super) struct Dialer<V> {
    target: Target,
    port: u16,
    limit: Duration,
    /// Addresses of one family that are tried.
    of_a_family: usize,
    /// Among those who probe the same address, if they are counted.
    gate: Option<Gate>,
    visit: V,
}

impl<V: Visit> Probe for Dialer<V> {
    fn probe(&self) -> BoxFuture<'_, Sample> {
        Box::pin(self.run())
    }

    fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }
}

impl<V: Visit> Dialer<V> {
    pub(super) fn new(address: &Address, settings: &ProbeSettings, visit: V) -> Self {
        let target = match address {
            Address::V4(ip) => Target::Literal((*ip).into()),
            Address::V6(ip) => Target::Literal((*ip).into()),
            Address::Name(name) => Target::Named(name.clone()),
        };
        Dialer {
            target,
            port: settings.port,
            limit: settings.timeout,
            of_a_family: MOST_ADDRESSES,
            gate: None,
            visit,
        }
    }

    /// One of those who probe the same address.
    pub(super) fn among(self, crowds: &Crowds, address: &Address) -> Self {
        let gate = crowds.gate(&address.to_string(), self.port, self.limit);
        Dialer {
            gate: Some(gate),
            ..self
        }
    }

    /// Tries the first address of each family only, for a name whose addresses
    /// all lead to the same place.
    pub(super) fn one_of_a_family(self) -> Self {
        Dialer {
            of_a_family: 1,
            ..self
        }
    }

    async fn run(&self) -> Sample {
        // Before the clock starts: a slow disk of ours must not eat the time
        // that the origin has.
        let ready = match timeout(self.limit, self.visit.ready()).await {
            Ok(Ok(ready)) => ready,
            Ok(Err(finding)) => return Track::new().sample(finding),
            Err(_) => {
                let what = format!("trust anchors not read within {:?}", self.limit);
                return Track::new().sample(Finding::Local(what.into()));
            }
        };
        let track = Track::new();
        match &self.target {
            Target::Literal(ip) => self.attempt(*ip, track, &ready).await,
            Target::Named(name) => self.any_address(name, track, &ready).await,
        }
    }

    /// One address, to the end of the time limit.
    async fn attempt(&self, ip: IpAddr, mut track: Track, ready: &V::Ready) -> Sample {
        track.enter(Phase::Connect);
        let deadline = track.start + self.limit;
        let finding = match timeout_at(deadline, self.reach(ip, &mut track, ready)).await {
            Ok(finding) => finding,
            Err(_) => self.silent(&track),
        };
        track.sample(finding)
    }

    fn silent(&self, track: &Track) -> Finding {
        let finding = Finding::Timeout {
            phase: track.now_in.map_or(Phase::Connect, |(phase, _)| phase),
            limit: self.limit,
        };
        self.dialled(track.start, Some(&finding));
        finding
    }

    /// Lets the others at the address know; a name has several, and tells nothing.
    fn dialled(&self, began: Instant, failed: Option<&Finding>) {
        if let (Some(gate), Target::Literal(_)) = (&self.gate, &self.target) {
            gate.dialled(began, failed);
        }
    }

    async fn reach(&self, ip: IpAddr, track: &mut Track, ready: &V::Ready) -> Finding {
        let there = SocketAddr::new(ip, self.port);
        let connected = match TcpStream::connect(there).await {
            Err(error) => Err(faults::connecting(&error)),
            Ok(stream) if meets_itself(&stream, there) => Err(Finding::Refused),
            Ok(stream) => Ok(stream),
        };
        self.dialled(track.start, connected.as_ref().err());
        match connected {
            Err(finding) => finding,
            Ok(stream) => self.visit.visit(ready, stream, track).await,
        }
    }

    /// All addresses of a name at once: up if any is up.
    async fn any_address(&self, name: &str, mut track: Track, ready: &V::Ready) -> Sample {
        track.enter(Phase::Resolve);
        let addresses = match self.look_up(name, track.start + self.limit).await {
            Ok(addresses) => addresses,
            Err(finding) => return track.sample(finding),
        };
        let best = self.first_up(&addresses, track, ready).await;
        best.unwrap_or_else(|| track.sample(no_address(name)))
    }

    /// The first address that is up, or the most telling failure of all.
    async fn first_up(&self, ips: &[IpAddr], track: Track, ready: &V::Ready) -> Option<Sample> {
        let mut attempts: FuturesUnordered<_> = ips
            .iter()
            .map(|ip| self.attempt(*ip, track, ready))
            .collect();
        let mut telling: Option<Sample> = None;
        while let Some(sample) = attempts.next().await {
            if sample.finding.verdict() == Verdict::Up {
                return Some(sample);
            }
            let rank = weight(&sample.finding);
            if telling.as_ref().is_none_or(|t| weight(&t.finding) < rank) {
                telling = Some(sample);
            }
        }
        telling
    }

    /// The name's addresses. A look-up that fails or hangs is our resolver's
    /// word and not the origin's, hence never a timeout of the origin.
    async fn look_up(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>, Finding> {
        let found = match timeout_at(deadline, tokio::net::lookup_host((name, self.port))).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                return Err(Finding::Unresolved(format!("{name}: {error}").into()));
            }
            Err(_) => {
                let what = format!("{name}: no answer within {:?}", self.limit);
                return Err(Finding::Unresolved(what.into()));
            }
        };
        let addresses = chosen(found.map(|socket| socket.ip()), self.of_a_family);
        if addresses.is_empty() {
            return Err(no_address(name));
        }
        Ok(addresses)
    }
}

/// Each address once, in the resolver's order, and so many of a family.
fn chosen(found: impl Iterator<Item = IpAddr>, of_a_family: usize) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in found {
        let family = addresses.iter().filter(|a| a.is_ipv4() == ip.is_ipv4());
        let room = family.count() < of_a_family && addresses.len() < MOST_ADDRESSES;
        if room && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    addresses
}

fn no_address(name: &str) -> Finding {
    Finding::Unresolved(format!("{name}: it has no address").into())
}

/// A free port of this machine may be the very one the kernel picks for our
/// end; TCP then connects a socket with itself, and nobody listens there.
fn meets_itself(stream: &TcpStream, there: SocketAddr) -> bool {
    let is_there = |here: SocketAddr| (here.ip(), here.port()) == (there.ip(), there.port());
    stream.local_addr().is_ok_and(is_there)
}

/// How much a failure tells; the further the probe got, the more, and any
/// evidence about an origin more than none. An edge that answered, whatever it
/// said, is not silent.
fn weight(finding: &Finding) -> u8 {
    match finding {
        Finding::Answered { .. } | Finding::Connected { .. } => 10,
        Finding::Status { .. } | Finding::Body => 9,
        Finding::Abstained(_) => 8,
        Finding::Certificate(_) => 7,
        Finding::Broken { .. } => 6,
        Finding::Timeout { .. } => 5,
        Finding::Refused => 4,
        Finding::Unreachable => 3,
        Finding::ThroughCdn => 2,
        Finding::Local(_) => 1,
        Finding::Unresolved(_) | Finding::Late(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tcp::Touch;
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn one_address_that_is_up_is_enough_wherever_it_stands() {
        let open: IpAddr = "127.0.1.7".parse().unwrap();
        let closed: IpAddr = "127.0.1.8".parse().unwrap();
        let listener = TcpListener::bind((open, 0)).await.unwrap();
        let dialer = Dialer {
            target: Target::Named("two.example".into()),
            port: listener.local_addr().unwrap().port(),
            limit: Duration::from_secs(20),
            of_a_family: MOST_ADDRESSES,
            gate: None,
            visit: Touch,
        };
        let found = async |ips: &[IpAddr]| {
            let best = dialer.first_up(ips, Track::new(), &()).await;
            best.map(|sample| sample.finding)
        };
        for ips in [[open, closed], [closed, open]] {
            let best = found(&ips).await;
            assert!(matches!(best, Some(Finding::Connected { .. })), "{best:?}");
        }
        assert_eq!(found(&[closed, closed]).await, Some(Finding::Refused));
        assert_eq!(found(&[]).await, None);
    }

    #[test]
    fn each_address_is_chosen_once_and_so_many_of_a_family() {
        let found = [
            "192.0.2.1",
            "2001:db8::1",
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8::2",
        ];
        let found = found.map(|ip| ip.parse().unwrap());
        let chosen = |most| {
            let shown = chosen(found.into_iter(), most);
            shown
                .iter()
                .map(IpAddr::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(chosen(1), "192.0.2.1 2001:db8::1");
        let all = "192.0.2.1 2001:db8::1 192.0.2.2 2001:db8::2";
        assert_eq!(chosen(MOST_ADDRESSES), all);
        let many = (0..20).map(|n| IpAddr::from([192, 0, 2, n]));
        assert_eq!(super::chosen(many, MOST_ADDRESSES).len(), MOST_ADDRESSES);
    }

    #[test]
    fn any_evidence_weighs_more_than_none() {
        let down = [
            Finding::Body,
            Finding::Refused,
            Finding::Unreachable,
            Finding::Certificate("x".into()),
        ];
        let unknown = [
            Finding::ThroughCdn,
            Finding::Local("x".into()),
            Finding::Unresolved("x".into()),
        ];
        for down in &down {
            assert_eq!(down.verdict(), Verdict::Down);
            for unknown in &unknown {
                assert_eq!(unknown.verdict(), Verdict::Unknown);
                assert!(weight(down) > weight(unknown), "{down} {unknown}");
            }
        }
    }
}
