//! Where log events go: standard error, as text or JSON. What is written there is decided where it happens; secrets are not loggable types.

mod json;
mod lines;
#[cfg(feature = "otel")]
mod otel;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::json::Json;
use self::lines::Lines;
use crate::config::{Config, LogFormat};

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

/// What still waits is written, and sent, when this is dropped.
#[must_use = "what still waits is written when this is dropped"]
pub struct Waiting {
    #[cfg(feature = "otel")]
    _spans: Option<otel::Spans>,
    /// Behind the spans: the end of sending them may have to be told.
    _lines: Lines,
}

/// Sets another level from now on.
pub type SetLevel = Box<dyn Fn(tracing::Level) + Send + Sync>;

/// Keep the first of what comes back until the process ends.
///
/// # Errors
/// One sentence: spans are asked for and cannot be sent.
pub fn for_server(config: &Config) -> Result<(Waiting, SetLevel), String> {
    let server = &config.server;
    let lines = Lines::to(std::io::stderr());
    #[cfg(feature = "otel")]
    if let Some(tracing) = &config.tracing {
        use tracing_subscriber::Layer as _;
        let (spans, tracer) = otel::open(tracing)?;
        let layer = tracing_subscriber::fmt::layer().with_writer(lines.writer()).with_ansi(false);
        let (targets_now, handle) = tracing_subscriber::reload::Layer::new(targets(server.log_level));
        let _already = match server.log {
            LogFormat::Text => tracing_subscriber::registry().with(layer.with_filter(targets_now)).with(otel::layer(tracer)).try_init(),
            LogFormat::Json => tracing_subscriber::registry().with(layer.event_format(Json).with_filter(targets_now)).with(otel::layer(tracer)).try_init(),
        };
        return Ok((Waiting { _spans: Some(spans), _lines: lines }, Box::new(move |level| drop(handle.reload(targets(level))))));
    }
    let layer = tracing_subscriber::fmt::layer().with_writer(lines.writer()).with_ansi(false);
    let (targets_now, handle) = tracing_subscriber::reload::Layer::new(targets(server.log_level));
    let registry = tracing_subscriber::registry().with(targets_now);
    let _already = match server.log {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.event_format(Json)).try_init(),
    };
    let waiting = Waiting {
        #[cfg(feature = "otel")]
        _spans: None,
        _lines: lines,
    };
    // Where the log is another's already, nothing is set.
    Ok((waiting, Box::new(move |level| drop(handle.reload(targets(level))))))
}
