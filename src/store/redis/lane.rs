//! A way to Redis that mends itself: one connection, made again where it was lost, with a pause that grows while it cannot be made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::super::StoreError;
use super::connect::{Ask, Conn, Connector};

/// The first pause after a connection could not be made, and the longest. Whoever asks in between is refused at once.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What an exchange came to where it came to nothing.
pub(super) enum Failed {
    /// The server knows this script by its text only.
    UnknownScript,
    /// Nothing was answered in time, or the connection ended: whether it was done is unknown.
    Unanswered(StoreError),
    /// The server will not do it, or cannot be reached.
    Refused(StoreError),
}

impl Failed {
    pub fn into_error(self) -> StoreError {
        match self {
            Self::UnknownScript => StoreError::Unreachable("Redis forgot a script that it was just given".to_owned()),
            Self::Unanswered(error) | Self::Refused(error) => error,
        }
    }
}

pub(super) struct Lane {
    connector: Arc<Connector>,
    /// How servers are named in errors; no credentials.
    name: Arc<str>,
    /// How long an exchange may take.
    patience: Duration,
    current: ArcSwapOption<Living>,
    making: Mutex<Making>,
    made: AtomicU64,
}

struct Living {
    number: u64,
    conn: Conn,
}

#[derive(Default)]
struct Making {
    failed: Option<(Instant, Duration, StoreError)>,
}

impl Lane {
    pub fn new(connector: Arc<Connector>, name: Arc<str>, patience: Duration) -> Self {
        Self { connector, name, patience, current: ArcSwapOption::empty(), making: Mutex::default(), made: AtomicU64::new(0) }
    }

    /// One exchange. A connection that was found dead is made again and asked once more if the question may be asked twice, which is so
    /// for everything we ask: reads change nothing, and a write knows itself again.
    pub async fn ask(&self, ask: &Ask) -> Result<Vec<Value>, Failed> {
        match self.once(ask).await {
            Err((Lost::Connection, _)) => self.once(ask).await.map_err(|(_, failed)| failed),
            other => other.map_err(|(_, failed)| failed),
        }
    }

    async fn once(&self, ask: &Ask) -> Result<Vec<Value>, (Lost, Failed)> {
        let living = self.connection().await.map_err(|error| (Lost::Nothing, Failed::Refused(error)))?;
        let mut conn = living.conn.clone();
        match timeout(self.patience, conn.exchange(ask)).await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(error)) => Err(self.judge(&living, &error)),
            Err(_) => {
                // It may be half open. What others wait for on it comes in its own time or not at all.
                self.forget(&living);
                Err((Lost::Time, Failed::Unanswered(self.unreachable(&format!("no answer within {} ms", self.patience.as_millis())))))
            }
        }
    }

    /// What an error means, and whether the connection is still good.
    fn judge(&self, living: &Living, error: &RedisError) -> (Lost, Failed) {
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoScript) => (Lost::Nothing, Failed::UnknownScript),
            ErrorKind::Server(ServerErrorKind::ReadOnly) => {
                // A primary that was demoted: another one is to be found.
                self.forget(living);
                (Lost::Connection, Failed::Refused(self.unreachable("it is a replica now and takes no writes")))
            }
            ErrorKind::Server(kind) => {
                // The texts of these may name keys, and ids stand in keys.
                let what = match kind {
                    ServerErrorKind::BusyLoading => "it is still loading its data",
                    ServerErrorKind::MasterDown => "it is a replica without its primary",
                    ServerErrorKind::ClusterDown => "the cluster is down",
                    ServerErrorKind::NoPerm => "the user may not do this: see docs/operations.md for what it needs",
                    _ => return (Lost::Nothing, Failed::Refused(self.unreachable(&format!("it answers {}", error.code().unwrap_or("an error"))))),
                };
                (Lost::Nothing, Failed::Refused(self.unreachable(what)))
            }
            ErrorKind::Extension => {
                // OOM, NOREPLICAS, MISCONF and the like: the word is enough.
                (Lost::Nothing, Failed::Refused(self.unreachable(&format!("it answers {}", error.code().unwrap_or("an error")))))
            }
            ErrorKind::AuthenticationFailed => {
                self.forget(living);
                (Lost::Nothing, Failed::Refused(self.unreachable("it does not take the user and password")))
            }
            _ => {
                self.forget(living);
                (Lost::Connection, Failed::Unanswered(self.unreachable(&short(error))))
            }
        }
    }

    fn unreachable(&self, what: &str) -> StoreError {
        StoreError::Unreachable(format!("{}: {what}", self.name))
    }

    async fn connection(&self) -> Result<Arc<Living>, StoreError> {
        if let Some(living) = self.current.load_full() {
            return Ok(living);
        }
        let mut making = self.making.lock().await;
        if let Some(living) = self.current.load_full() {
            return Ok(living);
        }
        if let Some((again, _, error)) = &making.failed
            && Instant::now() < *again
        {
            return Err(error.clone());
        }
        let made = timeout(self.connector.patience(), self.connector.connect()).await;
        let error = match made {
            Ok(Ok(conn)) => {
                let living = Arc::new(Living { number: self.made.fetch_add(1, Ordering::Relaxed), conn });
                self.current.store(Some(Arc::clone(&living)));
                if making.failed.take().is_some() {
                    tracing::info!(store = %self.name, "the store answers again");
                }
                return Ok(living);
            }
            Ok(Err(error)) => self.unreachable(&match error.kind() {
                ErrorKind::AuthenticationFailed => "it does not take the user and password".to_owned(),
                ErrorKind::Server(_) => format!("it answers {}", error.code().unwrap_or("an error")),
                _ => short(&error),
            }),
            Err(_) => self.unreachable("no connection in time"),
        };
        let pause = making.failed.as_ref().map_or(PAUSE.0, |(_, pause, _)| (*pause * 2).min(PAUSE.1));
        if making.failed.is_none() {
            tracing::error!(%error, "the store was lost");
        }
        making.failed = Some((Instant::now() + pause, pause, error.clone()));
        Err(error)
    }

    /// Lets go of a connection, unless another took its place already.
    fn forget(&self, living: &Living) {
        let held = self.current.load_full();
        if held.as_ref().is_some_and(|held| held.number == living.number) {
            self.current.compare_and_swap(&held, None);
        }
    }

    /// Lets go of whatever connection there is: the next question finds out where to go.
    pub fn let_go(&self) {
        self.current.store(None);
    }

    /// The connection itself, for what is no exchange.
    pub async fn conn(&self) -> Result<Conn, StoreError> {
        Ok(self.connection().await?.conn.clone())
    }
}

enum Lost {
    Nothing,
    Connection,
    Time,
}

/// What the client library says, without details a server put in.
fn short(error: &RedisError) -> String {
    if error.is_io_error() { error.to_string() } else { error.category().to_owned() }
}
