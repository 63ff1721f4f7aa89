//! The least that hyper can do: a connection, one GET, and the end.

use super::origin::Origin;
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};

async fn ask(address: SocketAddr) {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let request = Request::get("/").header(HOST, "www.example.com");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let mut answer = pin!(sender.send_request(request));
    let mut connection = pin!(connection);
    let status = tokio::select! {
        biased;
        answer = &mut answer => answer.unwrap().status(),
        _ = &mut connection => answer.await.unwrap().status(),
    };
    assert_eq!(status, 200);
}

/// So many, one after the other in each of so many loops.
pub async fn closed(origin: &Origin, count: usize, loops: usize) -> usize {
    let tasks = (0..loops).map(|one| {
        let addresses: Vec<_> = (0..count / loops)
            .map(|turn| origin.address(one + turn * loops))
            .collect();
        tokio::spawn(async move {
            for address in addresses {
                ask(address).await;
            }
        })
    });
    for ended in join_all(tasks).await {
        ended.unwrap();
    }
    count
}

/// So many a second, whether or not the one before has ended.
pub async fn open(origin: &Origin, rate: usize, time: Duration) -> usize {
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate).unwrap());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let count = rate * usize::try_from(time.as_secs()).unwrap();
    let mut under_way = Vec::with_capacity(count);
    for turn in 0..count {
        ticks.tick().await;
        under_way.push(tokio::spawn(ask(origin.address(turn))));
    }
    for ended in join_all(under_way).await {
        ended.unwrap();
    }
    count
}
