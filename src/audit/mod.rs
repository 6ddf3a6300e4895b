//! The audit log: every decision as a line of JSON in a chain of hashes, in files of this process's own. `docs/audit.md`.
//!
//! A request only puts a value into a bounded queue. One thread makes lines of what has gathered there, hashes them, writes them at once and
//! has them brought to the disk with one call.

pub mod entry;
pub mod fhir;
mod files;
pub mod forward;
mod line;
pub mod persons;
pub mod read;
pub mod trail;
pub mod verify;
mod writer;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use files::{Head, Keeping};
pub use line::VERSION;
use persons::Persons;
use writer::{Message, Writer};

use crate::domain::audit::{Action, AuditEvent, Facts, Outcome};
use crate::random::Random;
use crate::time::{Clock, UnixTime};

/// Events that may wait for the writer. A full queue makes requests wait: back pressure, not loss.
const QUEUE: usize = 16 * 1024;

/// What happens where nothing can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// What grants something is refused: what cannot be recorded is not done.
    Refuse,
    /// Everything goes on. What is lost is counted, and the count recorded once that is possible.
    Continue,
}

/// How this log works.
#[derive(Clone, Debug)]
pub struct Options {
    pub keeping: Keeping,
    pub on_failure: OnFailure,
    /// Whether an answer waits until its record is written.
    pub wait: bool,
}

/// Nothing can be recorded, so what would grant something is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written: {0}")]
pub struct Unrecorded(pub String);

/// How the log does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub head: Head,
    /// What is wrong, where something is.
    pub failing: Option<String>,
    /// Events lost since the process began.
    pub lost: u64,
    /// How sending it on does, where it is sent on.
    pub forward: Option<forward::State>,
}

/// The log of this process, or none.
#[derive(Clone)]
pub struct Audit(Option<Arc<Inner>>);

struct Inner {
    options: Options,
    clock: Arc<dyn Clock>,
    queue: mpsc::Sender<Message>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    forward: OnceLock<forward::Forward>,
}

/// What the writer tells everybody.
struct Shared {
    failing: watch::Sender<Option<String>>,
    head: watch::Sender<Head>,
    /// Lost, and not yet said so in the log.
    unsaid: AtomicU64,
    lost: AtomicU64,
    /// The process ends: what cannot be written now never will be.
    ending: AtomicBool,
}

impl Shared {
    fn lose(&self, count: u64) {
        self.unsaid.fetch_add(count, Ordering::SeqCst);
        self.lost.fetch_add(count, Ordering::SeqCst);
    }
}

impl Audit {
    /// No log: nothing is recorded, and nothing refused for it.
    pub fn off() -> Self {
        Self(None)
    }

    /// Opens the log, and starts its writer.
    ///
    /// # Errors
    /// A directory that cannot be used, or that another process uses.
    pub fn start(options: Options, persons: Persons, clock: Arc<dyn Clock>, random: &dyn Random) -> io::Result<Self> {
        let (files, before) = files::Files::open(options.keeping.clone(), random)?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            failing: watch::Sender::new(None),
            head: watch::Sender::new(files.head()),
            unsaid: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            ending: AtomicBool::new(false),
        });
        let mut writer = Writer { files, waiting, shared: Arc::clone(&shared), persons, clock: Arc::clone(&clock), options: options.clone() };
        writer.begin(&before)?;
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
        Ok(Self(Some(Arc::new(Inner { options, clock, queue, shared, thread: Mutex::new(Some(thread)), forward: OnceLock::new() }))))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// An event of now that nobody's request led to.
    pub async fn record_own(&self, action: Action, issuer: Option<crate::protocol::ids::Issuer>, facts: Facts) {
        let Some(inner) = &self.0 else { return };
        let event = AuditEvent { time: inner.clock.now(), action, outcome: Outcome::Allowed, issuer, request: None, source: None, facts };
        // Nothing is granted by it; where it is lost, it is counted.
        let _ = self.record(&mut VecDeque::from([event])).await;
    }

    pub fn now(&self) -> UnixTime {
        self.0.as_ref().map_or(UnixTime(0), |inner| inner.clock.now())
    }

    /// Why nothing that grants may be done, where that is so.
    pub fn refuses(&self) -> Option<Unrecorded> {
        let inner = self.0.as_ref().filter(|inner| inner.options.on_failure == OnFailure::Refuse)?;
        inner.shared.failing.borrow().clone().map(Unrecorded)
    }

    /// Records events in their order: queued, or written too where the log is to be waited for. Each leaves `events` with its queueing, so
    /// what is left there when this is given up was not recorded.
    ///
    /// # Errors
    /// [`Unrecorded`] where one of them grants something and must not be done. The others are recorded.
    pub async fn record(&self, events: &mut VecDeque<AuditEvent>) -> Result<(), Unrecorded> {
        let Some(inner) = &self.0 else {
            events.clear();
            return Ok(());
        };
        let (mut queued, mut granting, mut refused) = (false, false, None);
        while let Some(event) = events.front() {
            let grants = event.action.grants() && event.outcome == Outcome::Allowed;
            let room = match self.refuses() {
                // It was done, or refused anyway. Its record waits with the others as long as there is room.
                Some(_) if !grants => inner.queue.try_reserve().map_err(|_| Unrecorded("the queue is full".to_owned())),
                Some(failing) => Err(failing),
                None => inner.room().await,
            };
            let Some(event) = events.pop_front() else { break };
            match room {
                Ok(room) => {
                    (queued, granting) = (true, granting | grants);
                    room.send(Message::Event(Box::new(event)));
                }
                Err(why) if grants && inner.options.on_failure == OnFailure::Refuse => refused = Some(why),
                Err(_) => inner.shared.lose(1),
            }
        }
        match refused {
            Some(why) => Err(why),
            None if !queued || !inner.options.wait || inner.written().await => Ok(()),
            None if granting && inner.options.on_failure == OnFailure::Refuse => Err(inner.because("it could not be written in time")),
            None => Ok(()),
        }
    }

    /// Records an event where nobody can wait: a request that was given up.
    pub fn record_now(&self, event: AuditEvent) {
        let Some(inner) = &self.0 else { return };
        if inner.queue.try_send(Message::Event(Box::new(event))).is_err() {
            inner.shared.lose(1);
        }
    }

    /// Waits until everything queued before is written, or cannot be.
    pub async fn flush(&self) {
        if let Some(inner) = &self.0 {
            inner.written().await;
        }
    }

    pub fn status(&self) -> Option<Status> {
        let inner = self.0.as_ref()?;
        let (head, failing) = (inner.shared.head.borrow().clone(), inner.shared.failing.borrow().clone());
        let forward = inner.forward.get().map(forward::Forward::state);
        Some(Status { head, failing, lost: inner.shared.lost.load(Ordering::SeqCst), forward })
    }

    /// The directory, and how far it is written, to be followed.
    pub fn followed(&self) -> Option<(std::path::PathBuf, watch::Receiver<Head>)> {
        self.0.as_ref().map(|inner| (inner.options.keeping.dir.clone(), inner.shared.head.subscribe()))
    }

    /// Sends the log on until `stop`; nothing where there is none.
    pub fn forward(&self, to: forward::Receiver, stop: CancellationToken) -> Option<tokio::task::JoinHandle<()>> {
        let inner = self.0.as_ref()?;
        let (forward, task) = forward::Forward::start(&inner.options.keeping.dir, inner.shared.head.subscribe(), to, stop);
        // There is one at most: it is started once, with the server.
        let _ = inner.forward.set(forward);
        Some(task)
    }

    /// Writes what is queued, says that the process stops, and ends the writer.
    pub async fn close(&self) {
        let Some(inner) = &self.0 else { return };
        inner.shared.ending.store(true, Ordering::SeqCst);
        // Where the writer is gone, there is nothing to stop.
        let _ = inner.queue.send(Message::Stop).await;
        let thread = inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let ended = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::error!("the writer of the audit log ended badly");
            }
        }
    }
}

impl Inner {
    /// Whether everything queued so far was written; not where the writer cannot write.
    async fn written(&self) -> bool {
        let (done, is_done) = oneshot::channel();
        let mut failing = self.shared.failing.subscribe();
        tokio::select! {
            written = async { self.queue.send(Message::Written(done)).await.is_ok() && is_done.await.is_ok() } => written,
            _ = failing.wait_for(Option::is_some) => false,
        }
    }

    /// Room for one event, waited for as long as the writer writes.
    async fn room(&self) -> Result<mpsc::Permit<'_, Message>, Unrecorded> {
        if let Ok(room) = self.queue.try_reserve() {
            return Ok(room);
        }
        let mut failing = self.shared.failing.subscribe();
        tokio::select! {
            room = self.queue.reserve() => room.map_err(|_| self.because("the process is ending")),
            _ = failing.wait_for(Option::is_some) => Err(self.because("the queue is full")),
        }
    }

    /// What the writer failed of, or else `why`.
    fn because(&self, why: &str) -> Unrecorded {
        Unrecorded(self.shared.failing.borrow().clone().unwrap_or_else(|| why.to_owned()))
    }
}
