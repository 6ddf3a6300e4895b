//! The one thread that writes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::files::{Before, Files};
use super::persons::Persons;
use super::{OnFailure, Options, Shared};
use crate::domain::audit::{Action, AuditEvent, Facts, Outcome};
use crate::time::Clock;

/// As many are written together at most.
const TOGETHER: usize = 4096;

/// How long the writer lets events gather where nobody waits for it: one write and one sync for all of them, and no waking up for each.
const GATHER: Duration = Duration::from_millis(2);

/// How long it waits before it tries again what could not be written.
const AGAIN: Duration = Duration::from_millis(200);

pub(super) enum Message {
    Event(Box<AuditEvent>),
    /// To be told when everything before is written; dropped where it cannot be.
    Written(oneshot::Sender<()>),
    Stop,
}

pub(super) struct Writer {
    pub files: Files,
    pub waiting: mpsc::Receiver<Message>,
    pub shared: Arc<Shared>,
    pub persons: Persons,
    pub clock: Arc<dyn Clock>,
    pub options: Options,
}

impl Writer {
    /// Says that the log begins, and how the last process left it. A log that cannot be begun is no log: the process does not start.
    ///
    /// # Errors
    /// What the file system says.
    pub fn begin(&mut self, before: &Before) -> io::Result<()> {
        let mut events = Vec::new();
        if let Some(file) = before.unsound {
            tracing::error!(file, "the audit log holds something other than what was written; `helsebro audit verify` says where");
            events.push(self.own("unsound", Some(file)));
        }
        if before.cut > 0 {
            tracing::warn!(bytes = before.cut, "the last record of the audit log was not whole and is gone");
            events.push(self.own("mended", Some(before.cut)));
        }
        events.push(self.own(if before.clean { "started" } else { "started-after-crash" }, None));
        self.files.commit(&events, &self.persons, self.clock.now())?;
        self.shared.head.send_replace(self.files.head());
        Ok(())
    }

    fn own(&self, way: &'static str, count: Option<u64>) -> AuditEvent {
        let facts = Facts { way: Some(way), count, ..Facts::default() };
        AuditEvent { time: self.clock.now(), action: Action::Log, outcome: Outcome::Allowed, issuer: None, request: None, source: None, facts }
    }

    pub fn run(mut self) {
        let mut messages = Vec::new();
        loop {
            messages.clear();
            if self.waiting.blocking_recv_many(&mut messages, TOGETHER) == 0 {
                return self.end();
            }
            if !self.options.wait && matches!(messages.last(), Some(Message::Event(_))) {
                std::thread::sleep(GATHER);
            }
            while messages.len() < TOGETHER
                && let Ok(more) = self.waiting.try_recv()
            {
                messages.push(more);
            }
            let (mut events, mut waiters, mut stop) = (Vec::with_capacity(messages.len()), Vec::new(), false);
            for message in messages.drain(..) {
                match message {
                    Message::Event(event) => events.push(*event),
                    Message::Written(waiter) => waiters.push(waiter),
                    Message::Stop => stop = true,
                }
            }
            if self.write(events) {
                for waiter in waiters {
                    // Whoever does not wait any more need not be told.
                    let _ = waiter.send(());
                }
            }
            if stop {
                return self.end();
            }
        }
    }

    fn end(&mut self) {
        self.write(vec![self.own("stopped", None)]);
    }

    /// Writes some events, and says before them how many were lost since the last. Whether they are written.
    fn write(&mut self, mut events: Vec<AuditEvent>) -> bool {
        let unsaid = self.shared.unsaid.swap(0, Ordering::SeqCst);
        if unsaid > 0 {
            events.insert(0, self.own("lost", Some(unsaid)));
        }
        if events.is_empty() {
            return true;
        }
        loop {
            match self.files.commit(&events, &self.persons, self.clock.now()) {
                Ok(()) => {
                    if self.shared.failing.send_replace(None).is_some() {
                        tracing::warn!("the audit log can be written again");
                    }
                    self.shared.head.send_replace(self.files.head());
                    return true;
                }
                Err(error) => self.failed(&error),
            }
            let ending = self.shared.ending.load(Ordering::SeqCst);
            if ending || self.options.on_failure == OnFailure::Continue {
                let lost = events.len() as u64 - u64::from(unsaid > 0);
                if ending {
                    tracing::error!(lost, "records of the audit log could not be written before the end");
                }
                self.shared.lose(lost);
                self.shared.unsaid.fetch_add(unsaid, Ordering::SeqCst);
                return false;
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Said once, not at each try.
    fn failed(&self, error: &io::Error) {
        if self.shared.failing.send_replace(Some(error.to_string())).is_none() {
            tracing::error!(%error, on_failure = ?self.options.on_failure, "the audit log cannot be written");
        }
    }
}
