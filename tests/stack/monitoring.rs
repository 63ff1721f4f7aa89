//! The real monitoring programs, as processes of the test.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::server::signal;
use crate::support::skip::skip;

const NAMES: [&str; 5] = [
    "prometheus",
    "promtool",
    "alertmanager",
    "amtool",
    "blackbox_exporter",
];

/// In the folder a program is started in: whose certificates it trusts beside
/// those that the machine does.
pub const TRUSTED: &str = "trusted.pem";

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
        command(&self.0.join(name))
    }

    /// Starts a program that logs into `folder`, in a file called like this one
    /// of its runs: `alertmanager-2` is a second `alertmanager`.
    pub fn start(&self, run: &str, folder: &Path, arguments: Vec<String>) -> Program {
        let name = run.split('-').next().unwrap();
        let recipe = Recipe {
            program: self.0.join(name),
            run: run.into(),
            folder: folder.into(),
            arguments,
        };
        Program {
            child: recipe.run(),
            recipe,
        }
    }
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// How a program is started, the first time and again.
struct Recipe {
    program: PathBuf,
    run: String,
    folder: PathBuf,
    arguments: Vec<String>,
}

impl Recipe {
    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.run))
    }

    fn run(&self) -> Child {
        let file = File::options().append(true).create(true).open(self.log());
        let file = file.unwrap();
        let child = command(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env("SSL_CERT_FILE", self.folder.join(TRUSTED))
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn();
        child.unwrap_or_else(|error| panic!("{}: {error}", self.run))
    }
}

/// A running program; killed when it is dropped.
pub struct Program {
    recipe: Recipe,
    child: Child,
}

impl Program {
    /// What it wrote, in all its lives.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.recipe.log()).unwrap_or_default();
        format!("== {}\n{text}", self.recipe.run)
    }

    /// SIGKILL: it has no time to say goodbye.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM, and waits until it is gone.
    pub async fn end(&mut self) {
        self.signal("TERM");
        let ended = timeout(Duration::from_secs(60), self.child.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("it does not end\n{}", self.log()))
            .unwrap();
    }

    /// Starts it once more, where it was and with what it had stored.
    pub fn again(&mut self) {
        self.child = self.recipe.run();
    }

    /// Sends a signal by its name, such as `STOP`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id().expect("it runs"), name);
    }
}

/// An address on which nobody listens. Its network is this test's own, so
/// nobody takes it before the program does that it is for.
pub fn free(on: SocketAddr) -> SocketAddr {
    TcpListener::bind(on).unwrap().local_addr().unwrap()
}
