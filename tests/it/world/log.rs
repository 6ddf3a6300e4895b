//! What the parts of the server that run in a test write to the log.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;

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

impl Log {
    pub fn begin() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let here = dynamic_filter_fn(|_, _| LOG.with_borrow(Option::is_some));
            let all = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Ours).with_filter(here);
            tracing::subscriber::set_global_default(tracing_subscriber::registry().with(all)).unwrap();
        });
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
