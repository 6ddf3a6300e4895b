//! One connection to a server on this machine, kept as long as the server keeps it. HTTP/1.1.

use std::fmt;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Why an operation did not end well.
#[derive(Debug)]
pub enum Fail {
    Io(std::io::Error),
    /// Which step, what it answered, and the beginning of the body.
    Status(usize, u16, String),
    /// A pool is empty: the run ends.
    UsedUp,
    Other(String),
}

impl fmt::Display for Fail {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(out, "{error}"),
            Self::Status(step, status, body) => write!(out, "step {step} was answered with {status}: {body}"),
            Self::UsedUp => write!(out, "a pool is used up"),
            Self::Other(what) => write!(out, "{what}"),
        }
    }
}

impl std::error::Error for Fail {}

impl From<std::io::Error> for Fail {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    /// Name and value, nothing behind them.
    pub cookies: Vec<(String, String)>,
    pub body: Vec<u8>,
}

pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    read: Vec<u8>,
}

impl Connection {
    pub fn to(address: SocketAddr) -> Self {
        Self { address, stream: None, read: Vec::with_capacity(65536) }
    }

    /// Sends a request and reads its answer; of the body only where it is wanted or tells of a failure.
    ///
    /// # Errors
    /// A connection that broke, or an answer that is no HTTP.
    pub async fn send(&mut self, request: &[u8], with_body: bool) -> Result<Answer, Fail> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        stream.write_all(request).await?;
        let (answer, kept) = self.read(&mut stream, with_body).await?;
        self.stream = kept.then_some(stream);
        Ok(answer)
    }

    async fn read(&mut self, stream: &mut TcpStream, with_body: bool) -> Result<(Answer, bool), Fail> {
        self.read.clear();
        let (head, mut answer, framing, kept) = loop {
            more(stream, &mut self.read).await?;
            if let Some(head) = parse_head(&self.read)? {
                break head;
            }
        };
        let wanted = with_body || answer.status >= 400;
        match framing {
            Framing::Length(length) => {
                let end = head + length;
                while self.read.len() < end {
                    more(stream, &mut self.read).await?;
                }
                if wanted {
                    answer.body.extend_from_slice(self.read.get(head..end).unwrap_or_default());
                }
            }
            Framing::Chunked => {
                let mut at = head;
                loop {
                    let line = loop {
                        match self.read.get(at..).unwrap_or_default().windows(2).position(|two| two == b"\r\n") {
                            Some(length) => break at..at + length,
                            None => more(stream, &mut self.read).await?,
                        }
                    };
                    let size =
                        self.read.get(line.clone()).and_then(|text| usize::from_str_radix(str::from_utf8(text).ok()?.split(';').next()?.trim(), 16).ok());
                    let size = size.ok_or_else(|| Fail::Other("a chunk without a size".to_owned()))?;
                    let chunk = line.end + 2..line.end + 2 + size;
                    while self.read.len() < chunk.end + 2 {
                        more(stream, &mut self.read).await?;
                    }
                    if wanted {
                        answer.body.extend_from_slice(self.read.get(chunk.clone()).unwrap_or_default());
                    }
                    at = chunk.end + 2;
                    if size == 0 {
                        break;
                    }
                }
            }
        }
        Ok((answer, kept))
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

async fn more(stream: &mut TcpStream, into: &mut Vec<u8>) -> Result<(), Fail> {
    if stream.read_buf(into).await? == 0 {
        return Err(Fail::Other("the server closed the connection".to_owned()));
    }
    Ok(())
}

fn parse_head(bytes: &[u8]) -> Result<Option<(usize, Answer, Framing, bool)>, Fail> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes).map_err(|error| Fail::Other(format!("no HTTP: {error}")))? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let mut answer = Answer { status: response.code.unwrap_or(0), location: None, cookies: Vec::new(), body: Vec::new() };
    let (mut framing, mut kept) = (Framing::Length(0), true);
    for header in response.headers.iter() {
        let text = || String::from_utf8_lossy(header.value);
        if header.name.eq_ignore_ascii_case("content-length") {
            framing = Framing::Length(text().trim().parse().unwrap_or(0));
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
        } else if header.name.eq_ignore_ascii_case("connection") {
            kept = !header.value.eq_ignore_ascii_case(b"close");
        } else if header.name.eq_ignore_ascii_case("location") {
            answer.location = Some(text().into_owned());
        } else if header.name.eq_ignore_ascii_case("set-cookie")
            && let Some((name, value)) = text().split(';').next().and_then(|pair| pair.split_once('='))
        {
            answer.cookies.push((name.trim().to_owned(), value.to_owned()));
        }
    }
    if matches!(answer.status, 204 | 304) {
        framing = Framing::Length(0);
    }
    Ok(Some((head, answer, framing, kept)))
}
