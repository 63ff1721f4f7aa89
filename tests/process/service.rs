//! What a service manager is told: the protocol of systemd, from outside.

use crate::support::server::{Server, World};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Longer than anything takes, however loaded the machine is.
const DEADLINE: Duration = Duration::from_secs(30);

/// The manager's side of the socket.
struct Manager(tokio::net::UnixDatagram);

impl Manager {
    fn listen(at: &SocketAddr) -> Manager {
        let socket = UnixDatagram::bind_addr(at).unwrap();
        socket.set_nonblocking(true).unwrap();
        Manager(tokio::net::UnixDatagram::from_std(socket).unwrap())
    }

    /// The next thing it is told, in lines.
    async fn told(&self) -> Vec<String> {
        let mut text = vec![0; 4096];
        let length = timeout(DEADLINE, self.0.recv(&mut text)).await;
        text.truncate(length.expect("it is told something").unwrap());
        let text = String::from_utf8(text).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The next thing that it is told with a line that begins so.
    async fn until(&self, begins: &str) -> Vec<String> {
        loop {
            let told = self.told().await;
            if told.iter().any(|line| line.starts_with(begins)) {
                return told;
            }
        }
    }

    /// What it is told in this time.
    async fn told_within(&self, time: Duration) -> Vec<String> {
        let (end, mut told) = (Instant::now() + time, Vec::new());
        while let Ok(lines) = tokio::time::timeout_at(end, self.told()).await {
            told.extend(lines);
        }
        told
    }
}

/// A server as a manager starts it.
async fn serve(world: &World, environment: &[(&str, &str)]) -> Server {
    world.configure();
    let folder = world.folder.clone();
    let mut command = folder.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.envs(environment.iter().copied());
    Server::from_command(folder, command).await
}

#[tokio::test]
async fn it_says_when_it_is_ready_that_it_lives_and_that_it_ends() {
    let world = World::new().await;
    let path = world.folder.path("notify.sock");
    let manager = Manager::listen(&SocketAddr::from_pathname(&path).unwrap());
    let socket = path.to_str().unwrap();
    let pace = Duration::from_millis(200);
    let mut server = serve(
        &world,
        &[("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "400000")],
    )
    .await;
    // It listens by then, and its state is open.
    let first = manager.told().await;
    assert_eq!(first[0], "READY=1");
    assert!(
        first[1].starts_with("STATUS=sites: 1 watched, "),
        "{first:?}"
    );
    assert_eq!(server.get("/-/healthy").await.status, 200);

    manager.until("WATCHDOG=1").await;
    let time = Duration::from_secs(3);
    let told = manager.told_within(time).await;
    let alive = told.iter().filter(|line| *line == "WATCHDOG=1").count();
    let most = time.as_millis() / pace.as_millis() + 1;
    assert!((8..=most as usize).contains(&alive), "{told:?}");

    world.kill_main().await;
    let off_main = manager
        .until("STATUS=sites: 1 watched, 1 not on MAIN")
        .await;
    assert!(!off_main.concat().contains(&world.backup_ip()));

    server.signal("TERM");
    manager.until("STOPPING=1").await;
    assert_eq!(server.ended().await, Some(0));
}

#[tokio::test]
async fn a_socket_may_be_in_the_abstract_namespace() {
    let world = World::new().await;
    let name = format!("originswitch-test-{}", std::process::id());
    let manager = Manager::listen(&SocketAddr::from_abstract_name(&name).unwrap());
    let socket = format!("@{name}");
    let server = serve(&world, &[("NOTIFY_SOCKET", &socket)]).await;
    assert_eq!(manager.told().await[0], "READY=1");
    // Nobody asked to be told that it lives.
    let told = manager.told_within(Duration::from_secs(1)).await;
    assert!(!told.contains(&"WATCHDOG=1".to_owned()), "{told:?}");
    drop(server);
}

#[tokio::test]
async fn a_configuration_at_fault_is_never_ready() {
    let world = World::new().await;
    let path = world.folder.path("notify.sock");
    let manager = Manager::listen(&SocketAddr::from_pathname(&path).unwrap());
    world.folder.configure("[server]\nlisten = \"nowhere\"\n");
    let mut command = world.folder.command(&["serve"]);
    command.env("NOTIFY_SOCKET", &path);
    let ended = crate::support::server::finish(command).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(
        manager.told_within(Duration::from_millis(50)).await,
        Vec::<String>::new()
    );
}

/// Its manager may be gone, or may have told it nonsense: that is no reason not
/// to serve.
#[tokio::test]
async fn a_manager_that_does_not_listen_holds_nothing_up() {
    for socket in ["/nowhere/notify.sock", "vsock:2:1234"] {
        let world = World::new().await;
        let mut server = serve(&world, &[("NOTIFY_SOCKET", socket)]).await;
        server.wait_reason("www", "on_main").await;
        assert_eq!(server.term().await, Some(0));
    }
}
