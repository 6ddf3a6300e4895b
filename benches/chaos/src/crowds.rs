//! Ten thousand who only wait, five hundred who never end their request, and one who never stops: everybody else is served all the while.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::Failed;
use crate::ask::basic;
use crate::cast::{Cast, On};
use crate::proc::raise_descriptors;
use crate::soak;

const IDLE: usize = 10_000;
const SLOW: usize = 500;
/// Connections of whoever floods.
const FLOOD: usize = 256;
const LASTS: Duration = Duration::from_secs(3);
/// Whoever is served at all is served within this, on two busy cores.
const WITHIN: Duration = Duration::from_secs(2);
/// What of their pace alone others keep beside a flood. Half is their share of the turns; some of it goes with the step that is under way each time they ask, and
/// with what the flood's own end takes of the same cores, though it gives way.
const KEEP: f64 = 1.0 / 3.0;

pub async fn run(helsebro: &Path) -> Result<bool, Failed> {
    let dir = tempfile::Builder::new().prefix("helsebro-crowds-").tempdir()?;
    let cast = Cast::start(On::Steady, helsebro, None, dir.path()).await?;
    let pid = *cast.pids().first().ok_or("a cast has a node")?;
    let wanted = 2 * (IDLE + SLOW) as u64;
    let (here, there) = (raise_descriptors(std::process::id(), wanted), raise_descriptors(pid, wanted));
    let room = usize::try_from(here)?.saturating_sub(1000);
    let idle = IDLE.min(room.saturating_sub(SLOW));
    println!("── crowds: {idle} idle and {SLOW} slow connections ({here} descriptors here, {there} there)");
    let alone = served(&cast).await?;
    println!("   alone                       {alone}");
    let mut held = alone.fine();

    // From one address, as behind a proxy, and from many.
    for (what, addresses) in [("all from one address", 1), ("from twelve addresses", 12)] {
        let crowd = crowd(&cast, idle, addresses).await;
        let among = served(&cast).await?;
        println!("   {what:<27} {among}   {} connections were let in", crowd.len());
        held &= among.fine();
    }
    // Anew, for the crowd is gone.
    let alone = served(&cast).await?;
    let flood = Flood::start(&cast)?;
    let among = served(&cast).await?;
    let (gives_way, flooded) = flood.stop();
    let kept = among.served as f64 / alone.served.max(1) as f64;
    let fair = kept >= KEEP;
    // Whoever never stops asking gets at least as much as who asks one thing after the other. Else it was none, and nothing was learned of fairness.
    let was_one = usize::try_from(flooded)? >= among.served;
    println!("   alone again                 {alone}");
    println!(
        "   beside a flood              {among}   {:.0} % of alone{}, {flooded} requests of the flood{}{}",
        100.0 * kept,
        if fair { "" } else { ": UNFAIR" },
        if was_one { "" } else { ": NO FLOOD" },
        if gives_way { "" } else { " (`renice` did not work: its own end takes cores from everybody)" }
    );
    held &= among.fine() && fair && was_one;
    Ok(held)
}

/// A connection from an address of this machine.
async fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(to).await
}

fn address(number: usize, of: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, if of == 1 { 1 } else { u8::try_from(number % of).unwrap_or(0) + 2 })
}

async fn crowd(cast: &Cast, idle: usize, addresses: usize) -> Vec<TcpStream> {
    let to = cast.address();
    let mut all = Vec::new();
    for number in 0..idle + SLOW {
        // Whoever is not let in is no crowd.
        let Ok(mut stream) = connect(address(number, addresses), to).await else { continue };
        if number >= idle && stream.write_all(b"POST /main/token HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.is_err() {
            continue;
        }
        all.push(stream);
    }
    all
}

#[derive(Default)]
struct Felt {
    served: usize,
    refused: usize,
    slowest: Duration,
}

impl Felt {
    fn fine(&self) -> bool {
        self.served > 0 && self.refused == 0 && self.slowest < WITHIN
    }
}

impl std::fmt::Display for Felt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fine = if self.fine() { "" } else { "   NOT SERVED" };
        write!(f, "{:>5} served, {} not, slowest {:.1} ms{fine}", self.served, self.refused, self.slowest.as_secs_f64() * 1000.0)
    }
}

/// What somebody at another address feels who does whole launches, and who makes a new connection for each token as well.
async fn served(cast: &Cast) -> Result<Felt, Failed> {
    let load = soak::load(cast)?;
    let (begun, mut felt) = (Instant::now(), Felt::default());
    while begun.elapsed() < LASTS {
        load.once().await;
        let asked = Instant::now();
        let answered = tokio::time::timeout(WITHIN * 2, token(cast, Ipv4Addr::new(127, 0, 0, 1))).await;
        felt.slowest = felt.slowest.max(asked.elapsed());
        if matches!(answered, Ok(Ok(200))) { felt.served += 1 } else { felt.refused += 1 }
    }
    felt.served += usize::try_from(load.asker.recorder.served())?;
    felt.refused += load.asker.recorder.history().entries.len();
    felt.slowest = load.asker.recorder.timed().into_iter().map(Duration::from_micros).fold(felt.slowest, Duration::max);
    Ok(felt)
}

fn request(cast: &Cast, connection: &str) -> String {
    let body = "grant_type=client_credentials&scope=launch%3Acreate";
    format!(
        "POST /main/token HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
        cast.address(),
        basic("epj"),
        body.len()
    )
}

/// A token on a connection of its own; the status.
async fn token(cast: &Cast, from: Ipv4Addr) -> Result<u16, Failed> {
    let mut stream = connect(from, cast.address()).await?;
    stream.write_all(request(cast, "close").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| digits.parse().ok());
    Ok(status.ok_or("no answer")?)
}

/// One address that asks for signatures on many connections, as fast as they are given. On a thread of its own: who is measured waits for the
/// server, not for who asks beside it here.
struct Flood {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    /// Whether its own end leaves the cores to others.
    gives_way: Arc<AtomicBool>,
}

impl Flood {
    fn start(cast: &Cast) -> Result<Self, Failed> {
        let flood = Self { stop: Arc::default(), done: Arc::default(), gives_way: Arc::default() };
        let gives_way = Arc::clone(&flood.gives_way);
        let (stop, done, to, request) = (Arc::clone(&flood.stop), Arc::clone(&flood.done), cast.address(), request(cast, "keep-alive"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            // Who is measured does not wait for a core here because of it: what is compared is what the server does.
            let thread = std::fs::read_link("/proc/thread-self").ok().and_then(|own| Some(own.file_name()?.to_owned()));
            let told =
                thread.and_then(|own| std::process::Command::new("renice").args(["-n", "19", "-p"]).arg(own).stdout(std::process::Stdio::null()).status().ok());
            gives_way.store(told.is_some_and(|told| told.success()), Ordering::Relaxed);
            runtime.block_on(async {
                let mut all = JoinSet::new();
                for _ in 0..FLOOD {
                    all.spawn(asks(Arc::clone(&stop), Arc::clone(&done), to, request.clone()));
                }
                while all.join_next().await.is_some() {}
            });
        });
        Ok(flood)
    }

    /// Whether it gave way, and how much it got.
    fn stop(&self) -> (bool, u64) {
        self.stop.store(true, Ordering::Relaxed);
        (self.gives_way.load(Ordering::Relaxed), self.done.load(Ordering::Relaxed))
    }
}

/// Asks until it is stopped or cut off.
async fn asks(stop: Arc<AtomicBool>, done: Arc<AtomicU64>, to: SocketAddr, request: String) -> std::io::Result<()> {
    let mut stream = connect(Ipv4Addr::new(127, 0, 0, 99), to).await?;
    let mut answer = vec![0; 16 * 1024];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(request.as_bytes()).await?;
        if stream.read(&mut answer).await? == 0 {
            break;
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
