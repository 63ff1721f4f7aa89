//! Logs: to standard error, so that standard output carries results only.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogLevel {
    /// Only what stops the program.
    Error,
    /// What a person should look at.
    Warn,
    /// Decisions that differ from the one before, and changes of state.
    #[default]
    Info,
    /// Why a request was refused, how a connection ended.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// Starts logging; a second call in one process changes nothing.
pub fn start(format: LogFormat, level: LogLevel) {
    // The verifier logs every rejected certificate as an error of its own; it
    // is the finding of a probe and said there. Libraries speak up at debug.
    let others = match level {
        LogLevel::Debug => "info",
        LogLevel::Trace => "debug",
        LogLevel::Error => "error",
        LogLevel::Warn | LogLevel::Info => "warn",
    };
    let filter = format!(
        "{others},originswitch={},rustls_platform_verifier=off",
        level.as_str()
    );
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_span_events(FmtSpan::NONE);
    let started = match format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Already started: the first call's settings stay.
    drop(started);
}
