//! Log lines on their way: gathered for some milliseconds and written together by a thread of their own, so that a request does not wait
//! for whoever reads the log, and a line does not cost a call of the system.
//!
//! Nothing is dropped: where lines come faster than they can be written, whoever writes them waits. A warning or an error goes out at once,
//! with everything before it.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long lines gather. A crash of the process loses no more than that, and no warning.
const GATHER: Duration = Duration::from_millis(5);

/// More than so many bytes do not wait; whoever comes then does.
const ROOM: usize = 1 << 20;

struct State {
    waiting: Vec<u8>,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Lines wait, or it is over.
    some: Condvar,
    /// There is room again.
    room: Condvar,
    /// Held for as long as something is written, so that lines stay in order.
    out: Mutex<Out>,
}

struct Out {
    to: Box<dyn Write + Send>,
    /// What is being written; in between only room for it.
    lines: Vec<u8>,
}

/// Lines of a log. Dropping it writes what still waits.
pub struct Lines(Arc<Shared>);

/// What a subscriber writes to.
#[derive(Clone)]
pub struct Writer(Arc<Shared>);

/// Takes one event.
pub struct Event<'a> {
    shared: &'a Shared,
    urgent: bool,
}

impl Lines {
    pub fn to(out: impl Write + Send + 'static) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State { waiting: Vec::with_capacity(64 << 10), closed: false }),
            some: Condvar::new(),
            room: Condvar::new(),
            out: Mutex::new(Out { to: Box::new(out), lines: Vec::with_capacity(64 << 10) }),
        });
        let theirs = Arc::clone(&shared);
        let started = thread::Builder::new().name("log".to_owned()).spawn(move || theirs.work());
        if started.is_err() {
            // Without a thread every line is written by whoever has it.
            shared.state().closed = true;
        }
        Self(shared)
    }

    pub fn writer(&self) -> Writer {
        Writer(Arc::clone(&self.0))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.some.notify_all();
        self.0.write();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Appending to a vector leaves no half-done state behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let mut state = self.state();
            while state.waiting.is_empty() && !state.closed {
                state = self.some.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let closed = state.closed;
            drop(state);
            if closed {
                self.write();
                return;
            }
            thread::sleep(GATHER);
            self.write();
        }
    }

    /// Writes what waits.
    fn write(&self) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let Out { to, lines } = &mut *out;
        std::mem::swap(&mut self.state().waiting, lines);
        self.room.notify_all();
        // Whoever should read the log has gone; there is nobody to tell.
        let _gone = to.write_all(lines).and_then(|()| to.flush());
        lines.clear();
    }

    fn take(&self, line: &[u8], urgent: bool) {
        let mut state = self.state();
        while state.waiting.len() > ROOM && !state.closed {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        let at_once = urgent || state.closed;
        drop(state);
        if at_once {
            self.write();
        } else if was_empty {
            self.some.notify_one();
        }
    }
}

impl Write for Event<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.shared.take(bytes, self.urgent);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event { shared: &self.0, urgent: false }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Event<'a> {
        Event { shared: &self.0, urgent: *about.level() <= Level::WARN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn every_line_of_every_thread_is_written_by_the_end() {
        let kept = Kept::default();
        let lines = Lines::to(kept.clone());
        thread::scope(|scope| {
            for number in 0..4 {
                let writer = lines.writer();
                scope.spawn(move || {
                    (0..5000).for_each(|line| writer.make_writer().write_all(format!("{number} {line} {}\n", "x".repeat(200)).as_bytes()).unwrap());
                });
            }
        });
        drop(lines);
        let text = kept.text();
        assert_eq!(text.lines().count(), 4 * 5000);
        for number in 0..4 {
            let own: Vec<usize> = text.lines().filter_map(|line| line.strip_prefix(&format!("{number} "))?.split(' ').next()?.parse().ok()).collect();
            assert_eq!(own, (0..5000).collect::<Vec<_>>(), "the lines of one thread stay in order");
        }
    }

    #[test]
    fn a_warning_does_not_wait_and_takes_what_was_before_it_along() {
        let kept = Kept::default();
        let lines = Lines::to(kept.clone());
        let shared = &lines.0;
        shared.take(b"first\n", false);
        shared.take(b"warning\n", true);
        assert_eq!(kept.text(), "first\nwarning\n");
        drop(lines);
    }

    #[test]
    fn what_comes_after_the_end_is_written_too() {
        let kept = Kept::default();
        let writer = Lines::to(kept.clone()).writer();
        writer.make_writer().write_all(b"last words\n").unwrap();
        assert_eq!(kept.text(), "last words\n");
    }
}
