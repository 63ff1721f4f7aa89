//! The command line.

use crate::app::{App, from_file, many};
use crate::clock::Clock;
use crate::config::{self, Config, parse_listen};
use crate::ending::{DONE, FAILED, USAGE, chain, told_to_end};
use crate::remote::{self, Command as Ask, Connection, Evacuation, Order};
use crate::service::Manager;
use crate::telemetry::{self, LogFormat, LogLevel};
use crate::{demo, descriptors, once};
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// Moves a Cloudflare DNS record from a MAIN origin that is down to a BACKUP
/// that is up, and back: on Alertmanager's word, confirmed by its own probes.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: probe, take alerts, switch.
    Serve(Serve),
    /// One pass of the rule, then exit: the form for cron.
    Once(Once),
    /// Read the configuration and report every fault at once.
    CheckConfig(CheckConfig),
    /// Everything in one process, on this machine: no account, no network.
    Demo(Demo),
    /// Where each site is, what it would do, what stops it, and what lifts that.
    Status(AnySites),
    /// What was decided, newest first.
    History(History),
    /// Give an origin MAIN's part, and move the site there now.
    Pin(Pin),
    /// End a pin.
    Unpin(Sites),
    /// Let nothing be written: for these sites, or for all.
    Freeze(Freeze),
    /// End a freeze: of these sites, or that of all.
    Unfreeze(AnySites),
    /// Count the origins as proven: what fails now was well before.
    Trust(Sites),
    /// Drop what holds: budget, foreign edit, brake, wave; without SITE, brake and waves for all.
    Release(AnySites),
    /// Go back to MAIN now, if it is up.
    Failback(Sites),
    /// Move every site away from an address that is given up, and pin it there.
    Evacuate(Evacuate),
    /// Whether the server is healthy, or ready: for a container's health check.
    Health(Health),
}

#[derive(Debug, Args)]
struct Where {
    /// The configuration file.
    #[arg(
        long,
        value_name = "FILE",
        env = "ORIGINSWITCH_CONFIG",
        default_value = "config/originswitch.toml"
    )]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Logging {
    /// How log lines are written, to standard error.
    #[arg(long, value_enum, value_name = "text|json", default_value = "text")]
    log_format: LogFormat,
    /// How much is logged.
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "info")]
    log_level: LogLevel,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    at: Where,
    /// Listen here instead of at server.listen.
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    logging: Logging,
}

#[derive(Debug, Args)]
struct Once {
    /// Only these sites; all, if none is named.
    #[arg(value_name = "SITE")]
    sites: Vec<String>,
    #[command(flatten)]
    at: Where,
    /// Decide and say, but change nothing: neither the record nor the state.
    #[arg(long)]
    dry_run: bool,
    /// Print {"decisions":[…]} instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    logging: QuietLogging,
}

#[derive(Debug, Args)]
struct QuietLogging {
    /// How log lines are written, to standard error.
    #[arg(long, value_enum, value_name = "text|json", default_value = "text")]
    log_format: LogFormat,
    /// How much is logged.
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "error")]
    log_level: LogLevel,
}

#[derive(Debug, Args)]
struct CheckConfig {
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Args)]
struct Demo {
    /// Listen here.
    #[arg(long, value_name = "ADDR", value_parser = parse_listen, default_value = "127.0.0.1:10053")]
    listen: SocketAddr,
    /// End after the story: 0 if every step went as told.
    #[arg(long)]
    exit: bool,
    #[command(flatten)]
    logging: QuietLogging,
}

#[derive(Debug, Args)]
struct Address {
    /// Where the server is.
    #[arg(
        long,
        value_name = "URL",
        env = "ORIGINSWITCH_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:10053"
    )]
    url: String,
}

#[derive(Debug, Args)]
struct Remote {
    #[command(flatten)]
    server: Address,
    /// The file with its admin token, if it has one.
    #[arg(long, value_name = "FILE", env = "ORIGINSWITCH_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Print what the API answered, as one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Health {
    /// Ask whether it is ready: every origin was probed, and it is not shutting down.
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    server: Address,
}

#[derive(Debug, Args)]
struct AnySites {
    /// Only these sites; all, if none is named.
    #[arg(value_name = "SITE")]
    sites: Vec<String>,
    #[command(flatten)]
    at: Remote,
}

#[derive(Debug, Args)]
struct Sites {
    /// The sites.
    #[arg(value_name = "SITE", required = true)]
    sites: Vec<String>,
    #[command(flatten)]
    at: Remote,
}

#[derive(Debug, Args)]
struct History {
    /// Only this site.
    #[arg(value_name = "SITE")]
    site: Option<String>,
    /// So many decisions.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// One decision whole, with the probes that decided it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["site", "limit"])]
    id: Option<i64>,
    #[command(flatten)]
    at: Remote,
}

#[derive(Debug, Args)]
struct Terms {
    /// End by itself after this long, such as 30m or 2h; until lifted, if not given.
    #[arg(long = "for", value_name = "TIME", allow_hyphen_values = true)]
    time: Option<String>,
    /// Why, in one line, for whoever looks.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
struct Pin {
    /// The site.
    #[arg(value_name = "SITE")]
    site: String,
    /// The origin: main, backup, backup-2 or its address; where the site is, if not given.
    #[arg(value_name = "ORIGIN")]
    origin: Option<String>,
    #[command(flatten)]
    terms: Terms,
    /// Also if the origin is not up; freezes the site, too.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    at: Remote,
}

#[derive(Debug, Args)]
struct Freeze {
    /// Only these sites; all, if none is named.
    #[arg(value_name = "SITE")]
    sites: Vec<String>,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    at: Remote,
}

#[derive(Debug, Args)]
struct Evacuate {
    /// The address of the origin, or its hostname where the record is a CNAME.
    #[arg(value_name = "ADDRESS")]
    address: String,
    #[command(flatten)]
    terms: Terms,
    /// Only say where each site would go.
    #[arg(long)]
    dry_run: bool,
    /// End the pins of the evacuation: the rule has the sites again.
    #[arg(long, conflicts_with_all = ["time", "reason"])]
    undo: bool,
    #[command(flatten)]
    at: Remote,
}

impl From<Terms> for remote::Terms {
    fn from(Terms { time, reason }: Terms) -> remote::Terms {
        remote::Terms { time, reason }
    }
}

/// Runs the command that the arguments name.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("originswitch: no threads can be started: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let code = runtime.block_on(command(cli.command));
    // What the deadline left behind is not waited for a second time.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn command(command: Command) -> u8 {
    let (ask, at) = match command {
        Command::Serve(args) => return serve(args).await,
        Command::Once(args) => return one_pass(args).await,
        Command::CheckConfig(args) => return check_config(&args.at),
        Command::Demo(args) => {
            telemetry::start(args.logging.log_format, args.logging.log_level);
            descriptors::raise();
            return demo::run(args.listen, args.exit).await;
        }
        Command::Status(args) => (Ask::Status(args.sites), args.at),
        Command::History(args) => {
            let (site, limit) = (args.site, args.limit);
            let list = Ask::History { site, limit };
            (args.id.map_or(list, Ask::Decision), args.at)
        }
        Command::Pin(args) => {
            let order = Order::Pin {
                origin: args.origin,
                terms: args.terms.into(),
                force: args.force,
            };
            (Ask::Order(order, vec![args.site]), args.at)
        }
        Command::Freeze(args) => {
            let order = Order::Freeze(args.terms.into());
            (Ask::Order(order, args.sites), args.at)
        }
        Command::Unpin(args) => (Ask::Order(Order::Unpin, args.sites), args.at),
        Command::Unfreeze(args) => (Ask::Order(Order::Unfreeze, args.sites), args.at),
        Command::Trust(args) => (Ask::Order(Order::Trust, args.sites), args.at),
        Command::Release(args) => (Ask::Order(Order::Release, args.sites), args.at),
        Command::Failback(args) => (Ask::Order(Order::Failback, args.sites), args.at),
        Command::Evacuate(args) => {
            let evacuation = Evacuation {
                address: args.address,
                terms: args.terms.into(),
                dry_run: args.dry_run,
                undo: args.undo,
            };
            (Ask::Evacuate(evacuation), args.at)
        }
        Command::Health(args) => {
            let at = Remote {
                server: args.server,
                token_file: None,
                json: false,
            };
            (Ask::Health { ready: args.ready }, at)
        }
    };
    let connection = Connection {
        url: at.server.url,
        token_file: at.token_file,
    };
    remote::run(connection, ask, at.json).await
}

/// The configuration, or every fault of it on standard error.
fn load(at: &Where) -> Result<Config, u8> {
    config::load(&at.config, config::environment()).map_err(|faults| {
        eprintln!("{faults}");
        USAGE
    })
}

fn check_config(at: &Where) -> u8 {
    let config = match load(at) {
        Ok(config) => config,
        Err(code) => return code,
    };
    for warning in &config.warnings {
        println!("warning: {warning}");
    }
    for note in config.notes() {
        println!("note: {note}");
    }
    let sites = many(config.sites.len());
    println!("{}: good, {sites}", config.source.display());
    DONE
}

async fn serve(args: Serve) -> u8 {
    telemetry::start(args.logging.log_format, args.logging.log_level);
    let config = match load(&args.at) {
        Ok(config) => config,
        Err(code) => return code,
    };
    descriptors::raise();
    tracing::debug!("the configuration in force:\n{}", config.effective());
    let read = from_file(args.at.config);
    let (clock, manager) = (Clock::system(), Manager::from_environment());
    let app = match App::start(config, read, args.listen, clock.clone()).await {
        Ok(app) => app,
        Err(error) => {
            error!("{}", chain(&error));
            return start_code(&error);
        }
    };
    manager.ready(Box::new(app.sites()), &clock);
    match wait_for_the_end(&app).await {
        Ok(()) => {}
        Err(error) => {
            error!("signals cannot be heard: {error}");
            return FAILED;
        }
    }
    let told_again = told_to_end();
    info!("winding up");
    manager.stopping();
    tokio::select! {
        () = app.stop() => DONE,
        () = told_again => {
            warn!("told twice to end: ending at once");
            FAILED
        }
    }
}

/// The code of a start that failed: state in use is for the caller to mend.
pub(crate) fn start_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<crate::store::OpenError>() {
        Some(crate::store::OpenError::InUse { .. }) => USAGE,
        _ => FAILED,
    }
}

/// Waits for SIGTERM or SIGINT; SIGHUP reads the configuration again.
async fn wait_for_the_end(app: &App) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => {
                // Each fault is in the log already.
                if app.reload().await.is_err() {
                    error!("the configuration before stays in force");
                }
            }
        }
    }
}

async fn one_pass(args: Once) -> u8 {
    telemetry::start(args.logging.log_format, args.logging.log_level);
    descriptors::raise();
    match load(&args.at) {
        Ok(config) => once::run(config, &args.sites, args.dry_run, args.json).await,
        Err(code) => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
