//! The mock's own time: that of the process, and so many seconds more. §7.2 `/__mock/clock`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::time::{Clock, UnixTime};

/// A clock ahead of another by an offset that can be set.
pub struct MockClock {
    base: Arc<dyn Clock>,
    offset_s: AtomicI64,
}

impl MockClock {
    pub fn over(base: Arc<dyn Clock>) -> Self {
        Self { base, offset_s: AtomicI64::new(0) }
    }

    /// Seconds ahead of the process.
    pub fn offset(&self) -> i64 {
        self.offset_s.load(Ordering::SeqCst)
    }

    pub fn set_offset(&self, seconds: i64) {
        self.offset_s.store(seconds, Ordering::SeqCst);
    }

    /// Sets the offset so that it is `now` at this moment.
    pub fn set_now(&self, now: UnixTime) {
        self.set_offset(now.since(self.base.now()));
    }

    pub fn advance(&self, seconds: i64) {
        self.offset_s.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for MockClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.base.now().0.saturating_add(self.offset()))
    }
}

/// The sample API keeps the mock's time.
impl Clock for super::Idp {
    fn now(&self) -> UnixTime {
        self.clock.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::FixedClock;

    #[test]
    fn it_is_ahead_by_its_offset() {
        let clock = MockClock::over(Arc::new(FixedClock::at(UnixTime(1000))));
        assert_eq!(clock.now(), UnixTime(1000));
        clock.set_now(UnixTime(5000));
        clock.advance(-10);
        assert_eq!((clock.now(), clock.offset()), (UnixTime(4990), 3990));
    }
}
