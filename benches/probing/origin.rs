//! An origin that answers, in a process of its own: its processor time is not
//! what is measured.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use tokio::net::{TcpListener, TcpSocket};

/// Set for the process that is the origin.
const ROLE: &str = "PROBING_BENCH_ORIGIN";

/// Addresses it is dialled at: with one, its ports in TIME_WAIT would run out.
const ADDRESSES: u8 = 100;

/// The bench's own program once more, as an origin; it ends with its handle.
pub struct Origin {
    child: Child,
    port: u16,
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Origin {
    pub async fn start() -> Origin {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        Origin {
            child,
            port: line.trim().parse().unwrap(),
        }
    }

    /// One of its addresses, in turn.
    pub fn address(&self, turn: usize) -> SocketAddr {
        let last = u8::try_from(turn % usize::from(ADDRESSES)).unwrap() + 1;
        (Ipv4Addr::new(127, 10, 0, last), self.port).into()
    }
}

/// Whether this process is to be the origin.
pub fn is_one() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Answers until whoever started it is gone.
pub fn serve() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let listener = socket.listen(4096).unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        std::io::stdout().flush().unwrap();
        accept(listener).await;
    });
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("ok")))
}

async fn accept(listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        tokio::spawn(
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)),
        );
    }
}
