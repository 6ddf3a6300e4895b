//! Sending the log on, from the files and behind a cursor: a receiver that is down loses nothing, it only gets it later.
//!
//! Each line arrives at least once, in order, as it stands in the file; `seq` and `node` tell what came twice.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Head;
use super::read::{Cursor, seq_of};
use crate::fetch::outgoing::client;
use crate::secret::Secret;

const CURSOR: &str = "forwarded.json";

/// Lines sent at once.
const TOGETHER: usize = 500;

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The first pause after a failure; it doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where to.
#[derive(Clone, Debug)]
pub enum Receiver {
    /// POST, one line a record (`application/x-ndjson`); what is answered with 2xx has arrived.
    Http { url: Url, token: Option<Secret<String>> },
    /// RFC 5424 over TCP with octet counting (RFC 6587 §3.4.1). TCP knows nothing of arriving: what the peer's kernel took has arrived.
    SyslogTcp { address: String },
    /// RFC 5424 over UDP (RFC 5426): nobody knows what arrives.
    SyslogUdp { address: String },
}

/// How forwarding does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct State {
    /// The last record that arrived.
    pub forwarded: u64,
    pub last_error: Option<String>,
}

/// Kept beside the log, so that a restart goes on where it was.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    cursor: Cursor,
    seq: u64,
}

/// A forwarder at work.
#[derive(Clone)]
pub struct Forward {
    state: Arc<Mutex<State>>,
}

impl Forward {
    pub fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Forwards what stands in `dir` until `stop`, as far as `head` says that it is written.
    pub(super) fn start(dir: &Path, mut head: watch::Receiver<Head>, to: Receiver, stop: CancellationToken) -> (Self, tokio::task::JoinHandle<()>) {
        let dir = dir.to_owned();
        let mut kept = load(&dir).unwrap_or_else(|error| {
            tracing::warn!(file = CURSOR, %error, "how far the audit log was forwarded cannot be read: it is sent from its first record again");
            Kept::default()
        });
        let forward = Self { state: Arc::new(Mutex::new(State { forwarded: kept.seq, last_error: None })) };
        let own = forward.clone();
        let task = tokio::spawn(async move {
            let mut sender = Sender::new(to);
            let mut pause = PAUSE;
            loop {
                let until = head.borrow_and_update().clone();
                let stepped = tokio::select! {
                    () = stop.cancelled() => return,
                    stepped = own.step(&dir, &until, &mut kept, &mut sender) => stepped,
                };
                match stepped {
                    Ok(true) => pause = PAUSE,
                    Ok(false) => {
                        pause = PAUSE;
                        tokio::select! {
                            () = stop.cancelled() => return,
                            changed = head.changed() => if changed.is_err() { return },
                        }
                    }
                    Err(error) => {
                        if own.state().last_error.is_none() {
                            tracing::warn!(%error, "the audit log cannot be forwarded; it is kept and tried again");
                        }
                        own.set(|state| state.last_error = Some(error));
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                        }
                    }
                }
            }
        });
        (forward, task)
    }

    /// Sends the next lines; false where there are none.
    async fn step(&self, dir: &Path, until: &Head, kept: &mut Kept, sender: &mut Sender) -> Result<bool, String> {
        let (mut cursor, from, until) = (kept.cursor.clone(), dir.to_owned(), until.clone());
        let read = tokio::task::spawn_blocking(move || cursor.next(&from, TOGETHER, Some(&until)).map(|lines| (cursor, lines))).await;
        let (cursor, lines) = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        if lines.is_empty() {
            kept.cursor = cursor;
            return Ok(false);
        }
        sender.send(&lines).await?;
        kept.cursor = cursor;
        kept.seq = lines.iter().rev().find_map(|line| seq_of(line)).unwrap_or(kept.seq);
        let (to, bytes) = (dir.to_owned(), serde_json::to_vec(kept).map_err(|error| error.to_string())?);
        let saved = tokio::task::spawn_blocking(move || save(&to, &bytes)).await;
        saved.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        self.set(|state| *state = State { forwarded: kept.seq, last_error: None });
        Ok(true)
    }
}

fn load(dir: &Path) -> io::Result<Kept> {
    match std::fs::read(dir.join(CURSOR)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
        Err(error) => Err(error),
    }
}

/// Written beside, brought to the disk and renamed, so that there is always a whole one. What is lost of it is sent again.
fn save(dir: &Path, kept: &[u8]) -> io::Result<()> {
    let fresh = dir.join(format!("{CURSOR}.new"));
    let mut file = File::create(&fresh)?;
    file.write_all(kept)?;
    file.sync_all()?;
    std::fs::rename(fresh, dir.join(CURSOR))
}

enum Sender {
    Http { client: reqwest::Client, url: Url, token: Option<Secret<String>> },
    Tcp { address: String, stream: Option<TcpStream> },
    Udp { address: String },
}

impl Sender {
    fn new(to: Receiver) -> Self {
        match to {
            Receiver::Http { url, token } => Self::Http { client: client(|builder| builder.timeout(TIMEOUT)), url, token },
            Receiver::SyslogTcp { address } => Self::Tcp { address, stream: None },
            Receiver::SyslogUdp { address } => Self::Udp { address },
        }
    }

    async fn send(&mut self, lines: &[String]) -> Result<(), String> {
        match self {
            Self::Http { client, url, token } => {
                let body = lines.iter().fold(String::new(), |body, line| body + line + "\n");
                let mut request = client.post(url.clone()).header("content-type", "application/x-ndjson").body(body);
                if let Some(token) = token {
                    request = request.bearer_auth(token.expose());
                }
                // Without its URL, which may hold a key.
                let response = request.send().await.map_err(|error| error.without_url().to_string())?;
                if response.status().is_success() { Ok(()) } else { Err(format!("the receiver answered {}", response.status())) }
            }
            Self::Tcp { address, stream } => in_time(over_tcp(address, stream, lines)).await.map_err(|error| {
                *stream = None;
                error.to_string()
            }),
            Self::Udp { address } => in_time(over_udp(address, lines)).await.map_err(|error| error.to_string()),
        }
    }
}

async fn in_time(sending: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::time::timeout(TIMEOUT, sending).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn over_tcp(address: &str, kept: &mut Option<TcpStream>, lines: &[String]) -> io::Result<()> {
    // A connection the peer has closed takes one more write without a word: it is looked at first. RFC 6587 receivers send nothing.
    if let Some(stream) = kept
        && !matches!(stream.try_read(&mut [0u8; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    {
        *kept = None;
    }
    let stream = match kept {
        Some(stream) => stream,
        None => kept.insert(TcpStream::connect(address).await?),
    };
    let mut out = Vec::new();
    for line in lines {
        let message = syslog(line);
        out.extend_from_slice(format!("{} ", message.len()).as_bytes());
        out.extend_from_slice(message.as_bytes());
    }
    stream.write_all(&out).await?;
    stream.flush().await
}

async fn over_udp(address: &str, lines: &[String]) -> io::Result<()> {
    let to = tokio::net::lookup_host(address).await?.next().ok_or_else(|| io::Error::other("the receiver has no address"))?;
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).await?;
    for line in lines {
        socket.send_to(syslog(line).as_bytes(), to).await?;
    }
    Ok(())
}

/// RFC 5424 §6: facility 13 (log audit), severity 6 (informational) or 5 (notice) for a refusal; the record is the message.
fn syslog(line: &str) -> String {
    let record: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let severity = if record.get("outcome").is_some_and(|value| value == "refused") { 5 } else { 6 };
    let (time, node) = (record.get("time").and_then(Value::as_str).unwrap_or("-"), record.get("node").and_then(Value::as_str).unwrap_or("-"));
    let about = record.get("action").and_then(Value::as_str).unwrap_or("file");
    format!("<{}>1 {time} {node} helsebro {} {about} - {line}", 13 * 8 + severity, std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_as_a_syslog_message() {
        let line = r#"{"seq":1,"time":"2026-01-01T00:00:00Z","node":"n","action":"token","outcome":"refused"}"#;
        let pid = std::process::id();
        assert_eq!(syslog(line), format!("<109>1 2026-01-01T00:00:00Z n helsebro {pid} token - {line}"));
        assert!(syslog("{}").starts_with("<110>1 - - helsebro "));
    }
}
