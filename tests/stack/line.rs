//! A line to a program that can be cut: TCP and UDP, as Alertmanagers speak to
//! each other over both.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// Whatever comes to one address is passed on to another, and answers back.
pub struct Line {
    at: SocketAddr,
    tasks: JoinSet<()>,
}

impl Line {
    pub async fn new(at: SocketAddr, to: SocketAddr) -> Self {
        let streams = TcpListener::bind(at).await.unwrap();
        let datagrams = UdpSocket::bind(at).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(pass_streams(streams, to));
        tasks.spawn(pass_datagrams(Arc::new(datagrams), to));
        Self { at, tasks }
    }

    /// Where it begins.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// Nothing goes through any more, also not on what is open.
    pub fn cut(&mut self) {
        self.tasks.abort_all();
    }
}

async fn pass_streams(listener: TcpListener, to: SocketAddr) {
    let mut open = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        open.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(to).await {
                // Either side may end it.
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}

/// Each sender gets a socket of its own on the far side, by which an answer is
/// known to be meant for it.
async fn pass_datagrams(near: Arc<UdpSocket>, to: SocketAddr) {
    let mut far: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut answers = JoinSet::new();
    let mut packet = vec![0; 65_536];
    loop {
        let Ok((length, from)) = near.recv_from(&mut packet).await else {
            continue;
        };
        let far = match far.entry(from) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let socket = UdpSocket::bind((to.ip(), 0)).await.unwrap();
                socket.connect(to).await.unwrap();
                let socket = Arc::new(socket);
                answers.spawn(pass_answers(socket.clone(), near.clone(), from));
                new.insert(socket)
            }
        };
        // A datagram may be lost.
        let _ = far.send(&packet[..length]).await;
    }
}

async fn pass_answers(far: Arc<UdpSocket>, near: Arc<UdpSocket>, to: SocketAddr) {
    let mut packet = vec![0; 65_536];
    loop {
        if let Ok(length) = far.recv(&mut packet).await {
            let _ = near.send_to(&packet[..length], to).await;
        }
    }
}
