//! The one thread that writes the log. Whoever writes at the same time waits for the disk together: everything that has come in while one
//! wait went on is written and made safe in the next.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::Snapshot;
use super::log::Log;

/// The most writes that are kept in one go: the first of them should not wait for ever.
const TOGETHER: usize = 256;

/// A place in the queue of the log.
#[derive(Debug)]
pub struct Keeper(Sender<Job>);

/// What will have happened when it is kept.
pub struct Waiting(oneshot::Receiver<io::Result<()>>);

struct Job {
    what: What,
    /// What everybody sees once this is kept.
    after: Arc<Snapshot>,
    done: oneshot::Sender<io::Result<()>>,
}

enum What {
    /// Whole lines; none, to wait for those before.
    Lines(Vec<u8>),
    Forget,
}

impl Keeper {
    /// `now` is what readers see; `head` what the next write is decided over, locked by whoever puts something in the queue.
    ///
    /// # Errors
    /// Where no thread can be had.
    pub fn start(log: Log, now: Arc<ArcSwap<Snapshot>>, head: Arc<Mutex<Arc<Snapshot>>>) -> io::Result<Self> {
        let (jobs, waiting) = channel();
        // Ends with the sender.
        std::thread::Builder::new().name("fhir-log".to_owned()).spawn(move || Keeping { log, now, head, waiting }.run())?;
        Ok(Self(jobs))
    }

    pub fn keep(&self, lines: Vec<u8>, after: Arc<Snapshot>) -> Waiting {
        self.send(What::Lines(lines), after)
    }

    pub fn forget(&self, after: Arc<Snapshot>) -> Waiting {
        self.send(What::Forget, after)
    }

    fn send(&self, what: What, after: Arc<Snapshot>) -> Waiting {
        let (done, waiting) = oneshot::channel();
        // Where the thread is gone, so is the sender of the answer: whoever waits is told.
        let _gone = self.0.send(Job { what, after, done });
        Waiting(waiting)
    }
}

impl Waiting {
    /// # Errors
    /// Where it cannot be kept.
    pub async fn wait(self) -> io::Result<()> {
        self.0.await.unwrap_or_else(|_| Err(io::Error::other("nobody writes the log any more")))
    }
}

struct Keeping {
    log: Log,
    now: Arc<ArcSwap<Snapshot>>,
    head: Arc<Mutex<Arc<Snapshot>>>,
    waiting: Receiver<Job>,
}

impl Keeping {
    fn run(mut self) {
        let mut next = None;
        while let Some(first) = next.take().or_else(|| self.waiting.recv().ok()) {
            let mut together = vec![first];
            // Forgetting goes alone: it is done or it is not.
            while together.len() < TOGETHER && !matches!(together.first(), Some(Job { what: What::Forget, .. })) {
                match self.waiting.try_recv() {
                    Ok(job) if matches!(job.what, What::Forget) => {
                        next = Some(job);
                        break;
                    }
                    Ok(job) => together.push(job),
                    Err(_) => break,
                }
            }
            let kept = match together.first() {
                Some(Job { what: What::Forget, .. }) => self.log.clear(),
                _ => {
                    let lines: Vec<&[u8]> = together.iter().map(|job| if let What::Lines(lines) = &job.what { lines.as_slice() } else { &[] }).collect();
                    self.log.append(&lines.concat())
                }
            };
            match kept {
                Ok(()) => {
                    if let Some(last) = together.last() {
                        self.now.store(Arc::clone(&last.after));
                    }
                    for job in together {
                        // Whoever asked may have gone away.
                        let _gone = job.done.send(Ok(()));
                    }
                }
                Err(why) => self.lost(together.into_iter().chain(next.take()), &why),
            }
        }
    }

    /// What could not be kept has not happened, and neither has what was decided over it in the meantime.
    fn lost(&self, jobs: impl Iterator<Item = Job>, why: &io::Error) {
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        *head = self.now.load_full();
        for job in jobs.chain(self.waiting.try_iter()) {
            let _gone = job.done.send(Err(io::Error::new(why.kind(), why.to_string())));
        }
    }
}
