//! The real monitoring programs, as processes of the test.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::support::skip::skip;

const NAMES: [&str; 5] = [
    "prometheus",
    "promtool",
    "alertmanager",
    "amtool",
    "blackbox_exporter",
];

/// The folder that has the programs.
pub struct Tools(PathBuf);

impl Tools {
    /// `None`, said aloud, if one of them is not here.
    pub fn find() -> Option<Self> {
        let Some(folder) = std::env::var_os("ORIGINSWITCH_TOOLS") else {
            skip("Prometheus and Alertmanager: ORIGINSWITCH_TOOLS is not set");
            return None;
        };
        let folder = PathBuf::from(folder);
        match NAMES.iter().find(|name| !folder.join(name).is_file()) {
            None => Some(Self(folder)),
            Some(name) => {
                skip(&format!(
                    "Prometheus and Alertmanager: no {name} in ORIGINSWITCH_TOOLS"
                ));
                None
            }
        }
    }

    /// A program, killed when its handle is dropped.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.0.join(name));
        command.kill_on_drop(true).stdin(Stdio::null());
        command
    }

    /// Starts a program that logs into `folder`.
    pub fn start(&self, name: &'static str, folder: &Path, arguments: &[String]) -> Program {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).unwrap();
        let mut command = self.command(name);
        let child = command
            .args(arguments)
            .current_dir(folder)
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{name}: {error}"));
        Program { name, child, log }
    }
}

/// A running program; killed when it is dropped.
pub struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// What it wrote.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        format!("== {}\n{text}", self.name)
    }

    /// SIGKILL: it has no time to say goodbye.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }
}

/// An address on which nobody listens. Its network is this test's own, so
/// nobody takes it before the program does that it is for.
pub fn free(on: SocketAddr) -> SocketAddr {
    TcpListener::bind(on).unwrap().local_addr().unwrap()
}
