//! A link that can be cut: stands between two parties, and passes on what it is told to.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::Failed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Open,
    /// Nobody is let in, and whoever is in is put out.
    Refused,
    /// Everything is taken and nothing arrives.
    Silent,
    /// Everything arrives so much later.
    Slow(Duration),
    /// Connections end in the middle of what comes next, again and again.
    Reset,
}

/// Texts of one length, and what stands in their place behind the link: a Sentinel tells of ports, and each party is to use its own links.
pub type Rewrites = Arc<Vec<(Vec<u8>, Vec<u8>)>>;

pub struct Link {
    pub port: u16,
    mode: watch::Sender<Mode>,
}

impl Link {
    pub async fn to(port: u16, rewrites: Rewrites) -> Result<Self, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let link = Self { port: listener.local_addr()?.port(), mode: watch::Sender::new(Mode::Open) };
        let told = link.mode.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *told.borrow() != Mode::Refused {
                    tokio::spawn(carry(near, port, told.clone(), Arc::clone(&rewrites)));
                }
            }
        });
        Ok(link)
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn carry(near: TcpStream, to: u16, told: watch::Receiver<Mode>, rewrites: Rewrites) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    // Small answers are not to wait for more.
    let _slower = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pump(near_read, far_write, told.clone(), Rewrites::default()) => {}
        () = pump(far_read, near_write, told, rewrites) => {}
    }
}

/// Until either side ends, or the mode ends it.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut told: watch::Receiver<Mode>, rewrites: Rewrites) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mode = *told.borrow_and_update();
        let read = match mode {
            Mode::Refused => return,
            Mode::Silent => {
                if told.changed().await.is_err() {
                    return;
                }
                continue;
            }
            _ => tokio::select! {
                read = from.read(&mut buffer) => read,
                changed = told.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
            },
        };
        let Ok(length @ 1..) = read else { return };
        let Some(bytes) = buffer.get_mut(..length) else { return };
        for (before, after) in rewrites.iter() {
            replace(bytes, before, after);
        }
        match mode {
            Mode::Slow(by) => tokio::time::sleep(by).await,
            Mode::Reset => {
                let _half = to.write_all(bytes.get(..length / 2).unwrap_or_default()).await;
                return;
            }
            _ => {}
        }
        // What was read before everything was to be swallowed is swallowed as well.
        if *told.borrow() == Mode::Silent && told.wait_for(|mode| *mode != Mode::Silent).await.is_err() {
            return;
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

fn replace(bytes: &mut [u8], before: &[u8], after: &[u8]) {
    let mut at = 0;
    while let Some(rest) = bytes.get_mut(at..at + before.len()) {
        if rest == before {
            rest.copy_from_slice(after);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_differently() {
        let mut said = *b"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n40001\r\n";
        replace(&mut said, b"40001", b"50002");
        assert_eq!(&said, b"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n50002\r\n");
    }

    #[tokio::test]
    async fn a_link_carries_is_cut_and_carries_again() {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = echo.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = echo.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ended = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let link = Link::to(port, Rewrites::default()).await.unwrap();
        let mut near = TcpStream::connect(("127.0.0.1", link.port)).await.unwrap();
        let mut back = [0; 4];
        near.write_all(b"ping").await.unwrap();
        near.read_exact(&mut back).await.unwrap();
        link.set(Mode::Refused);
        assert!(near.read_exact(&mut back).await.is_err());
        link.set(Mode::Open);
        let mut near = TcpStream::connect(("127.0.0.1", link.port)).await.unwrap();
        near.write_all(b"pong").await.unwrap();
        near.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"pong");
    }
}
