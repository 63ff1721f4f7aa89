//! The real blackbox_exporter, asked for the same origin.

use super::origin::Origin;
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT_ENCODING, HOST};
use hyper_util::rt::TokioIo;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

/// One GET, as a probe of ours is.
const CONFIG: &str = "modules:\n  http_2xx:\n    prober: http\n    timeout: 2s\n    \
                      http: { follow_redirects: false, preferred_ip_protocol: ip4 }\n";

/// Where `tests/stack/install` puts the programs, unless told otherwise.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/monitoring/bin");

/// A running exporter; killed when it is dropped.
pub struct Blackbox {
    child: Child,
    addr: SocketAddr,
    _folder: TempDir,
}

impl Blackbox {
    /// `None`, said aloud, if there is no exporter here.
    pub async fn start() -> Option<Blackbox> {
        let folder = std::env::var_os("ORIGINSWITCH_TOOLS").map_or(FOLDER.into(), PathBuf::from);
        let program = folder.join("blackbox_exporter");
        if !program.is_file() {
            eprintln!("no {}: see tests/stack/install", program.display());
            return None;
        }
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("blackbox.yml");
        std::fs::write(&config, CONFIG).unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = free.local_addr().unwrap();
        drop(free);
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--web.listen-address={addr}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let blackbox = Blackbox {
            child: child.unwrap(),
            addr,
            _folder: folder,
        };
        for _ in 0..500 {
            if TcpStream::connect(addr).await.is_ok() {
                return Some(blackbox);
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("blackbox_exporter does not listen at {addr}");
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// A connection that stays.
    async fn connect(&self) -> SendRequest<Empty<Bytes>> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// So many probes, one after the other in each of so many loops.
    pub async fn closed(&self, origin: &Origin, count: usize, loops: usize) -> usize {
        let mut tasks = Vec::new();
        for one in 0..loops {
            let mut sender = self.connect().await;
            let addresses: Vec<_> = (0..count / loops)
                .map(|turn| origin.address(one + turn * loops))
                .collect();
            tasks.push(tokio::spawn(async move {
                for address in addresses {
                    ask(&mut sender, address).await;
                }
            }));
        }
        for ended in join_all(tasks).await {
            ended.unwrap();
        }
        count
    }
}

async fn ask(sender: &mut SendRequest<Empty<Bytes>>, address: SocketAddr) {
    let path = format!("/probe?module=http_2xx&target=http://{address}/");
    // As Prometheus asks: its answer is zipped.
    let request = Request::get(path)
        .header(HOST, "blackbox")
        .header(ACCEPT_ENCODING, "gzip");
    let request = request.body(Empty::new()).unwrap();
    sender.ready().await.unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let mut text = String::new();
    let mut unzipped = flate2::read::GzDecoder::new(&body[..]);
    unzipped.read_to_string(&mut text).unwrap();
    assert!(text.contains("\nprobe_success 1\n"), "{text}");
}
