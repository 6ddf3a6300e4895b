//! What the parts of the server that run in a test write to the log.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

use tracing_subscriber::Layer as _;
#[cfg(feature = "otel")]
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::filter::{LevelFilter, Targets, dynamic_filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;

use super::leaks;

thread_local! {
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// What is logged on this thread, which is all of a test whose runtime has one thread. Other tests of the process log nothing.
pub struct Log;

/// One subscriber for the process that asks each time whose thread it is: what a test installs for its own thread alone decides by chance
/// which of the places that log are ever asked, as other threads come by them first.
struct Ours;

impl Write for Ours {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.iter_mut().for_each(|log| log.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whatever a server of this process logs from now on is looked through for secrets, as much as it can be configured to log.
pub fn watched() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let here = dynamic_filter_fn(|metadata, _| metadata.target() != helsebro::trace::TARGET && LOG.with_borrow(Option::is_some));
        let all = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Ours).with_filter(here);
        let most = Targets::new().with_default(LevelFilter::WARN).with_target("helsebro", LevelFilter::TRACE);
        let scanned = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| leaks::Scan).with_filter(most);
        let registry = tracing_subscriber::registry().with(all).with(scanned);
        #[cfg(feature = "otel")]
        let registry = {
            let spans = filter_fn(|metadata| metadata.is_span() && metadata.target() == helsebro::trace::TARGET);
            registry.with(
                tracing_opentelemetry::layer()
                    .with_tracer(super::spans::tracer())
                    // As the program sends them.
                    .with_location(false)
                    .with_threads(false)
                    .with_tracked_inactivity(false)
                    .with_level(false)
                    .with_target(false)
                    .with_filter(spans),
            )
        };
        tracing::subscriber::set_global_default(registry).unwrap();
    });
}

impl Log {
    pub fn begin() -> Self {
        watched();
        LOG.set(Some(Vec::new()));
        Self
    }

    /// Forgets what was logged so far.
    pub fn clear(&self) {
        LOG.set(Some(Vec::new()));
    }

    pub fn text(&self) -> String {
        LOG.with_borrow(|log| String::from_utf8(log.clone().unwrap()).unwrap())
    }
}
