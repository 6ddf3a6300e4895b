//! Which HTTP somebody begins to speak in the clear. RFC 9113 §3.3: HTTP/2 is known by its preface.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream of which the first bytes were looked at.
pub(super) struct Looked<S> {
    /// What was read and not yet given on.
    seen: Vec<u8>,
    given: usize,
    inner: S,
}

/// Reads until it is known whether this is HTTP/2.
///
/// # Errors
/// The stream's own.
pub(super) async fn look<S: AsyncRead + Unpin>(mut inner: S) -> io::Result<(bool, Looked<S>)> {
    let mut seen = Vec::with_capacity(PREFACE.len());
    let is_h2 = loop {
        if !PREFACE.starts_with(&seen) {
            break false;
        }
        let left = PREFACE.len().saturating_sub(seen.len());
        if left == 0 {
            break true;
        }
        // Not a byte more than the preface: whatever follows is not ours.
        if (&mut inner).take(left as u64).read_buf(&mut seen).await? == 0 {
            break false;
        }
    };
    Ok((is_h2, Looked { seen, given: 0, inner }))
}

impl<S: AsyncRead + Unpin> AsyncRead for Looked<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let given = self.given;
        if let Some(rest) = self.seen.get(given..).filter(|rest| !rest.is_empty()) {
            let now = rest.get(..into.remaining()).unwrap_or(rest);
            into.put_slice(now);
            let given = given + now.len();
            self.given = given;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Looked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_lost_by_looking() {
        let h2 = [PREFACE, b"and frames"].concat();
        for (text, expected) in [
            (h2.as_slice(), true),
            (PREFACE, true),
            (b"GET / HTTP/1.1\r\n\r\n".as_slice(), false),
            (b"PRI * HTTP/1.1\r\n\r\n".as_slice(), false),
            (b"PRI".as_slice(), false),
            (b"".as_slice(), false),
        ] {
            let mut whole = Vec::new();
            let (is_h2, mut looked) = look(text).await.unwrap();
            looked.read_to_end(&mut whole).await.unwrap();
            assert_eq!((is_h2, whole.as_slice()), (expected, text));
        }
    }
}
