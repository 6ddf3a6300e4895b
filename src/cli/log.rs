//! Where log events go: standard error, as text or JSON. What is written there is decided where it happens; secrets are not loggable types.

mod json;
mod lines;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::json::Json;
pub use self::lines::Lines;
use crate::config::{LogFormat, Server};

fn targets(level: tracing::Level) -> Targets {
    // Libraries speak only when something is wrong.
    Targets::new().with_default(LevelFilter::WARN).with_target("helsebro", level)
}

/// The demo's terminal belongs to the walk-through: warnings only.
pub fn for_demo() {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    // Set once a process; a second time there is a log already.
    let _already = tracing_subscriber::registry().with(targets(tracing::Level::WARN)).with(layer).try_init();
}

/// A mock says what it starts with and which switches fire.
pub fn for_mock() {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let _already = tracing_subscriber::registry().with(targets(tracing::Level::INFO)).with(layer).try_init();
}

/// Keep the lines that come back until the process ends: dropping them writes what still waits. The other one sets another level.
#[must_use = "what still waits is written when this is dropped"]
pub fn for_server(server: &Server) -> (Lines, Box<dyn Fn(tracing::Level) + Send + Sync>) {
    let lines = Lines::to(std::io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_writer(lines.writer()).with_ansi(false);
    let (targets_now, handle) = tracing_subscriber::reload::Layer::new(targets(server.log_level));
    let registry = tracing_subscriber::registry().with(targets_now);
    let _already = match server.log {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.event_format(Json)).try_init(),
    };
    // Where the log is another's already, nothing is set.
    let set = move |level| drop(handle.reload(targets(level)));
    (lines, Box::new(set))
}
