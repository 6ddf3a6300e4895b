//! A closed loop: every connection begins its next operation when the last one has ended, or when its time has come where there is a pace.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Failed;
use crate::client::{Connection, Fail};
use crate::histogram::Histogram;
use crate::keys::{self, Key};
use crate::machine::{Spent, memory_mib};
use crate::question::{Pool, Script, Step};
use crate::script::{Memory, Prepared};
use crate::template::{Stock, Stocks};

/// After so many failures on end a connection gives up.
const GIVE_UP: u32 = 50;

/// Setting up connections and filling pools takes no longer.
const PREPARING: Duration = Duration::from_secs(120);

/// One run.
pub struct Run {
    pub script: Script,
    pub address: SocketAddr,
    /// Where `setup` is asked, where that is somebody else.
    pub setup_address: SocketAddr,
    /// Variables that hold for the whole run.
    pub known: BTreeMap<String, String>,
    pub keys: PathBuf,
    /// The server, for its processor time and memory.
    pub pid: u32,
    pub connections: usize,
    pub warm_up: Duration,
    pub measured: Duration,
    /// Operations a second of all connections together; as many as there can be where there is none.
    pub pace: Option<f64>,
    /// Written when the measuring begins, for whoever looks on: what comes before takes as long as it takes.
    pub begun: Option<PathBuf>,
}

/// What came out of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub operations: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    pub seconds: f64,
    /// Processor time of the server for one operation.
    pub server_micros: f64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    /// Of one core: the server's, the generator's and everybody else's.
    pub server_share: f64,
    pub generator_share: f64,
    pub others_share: f64,
    pub memory_mib: f64,
    pub peak_mib: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measured,
    Over,
}

/// What the connections of a run share.
struct Shared {
    phase: Cell<Phase>,
    ready: Cell<usize>,
    gone: Cell<usize>,
    operations: Cell<u64>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
    latencies: RefCell<Histogram>,
    stocks: Stocks,
    connect: Vec<Prepared>,
    step: Vec<Prepared>,
    forget_cookies: bool,
    address: SocketAddr,
}

impl Shared {
    fn failed(&self, error: &Fail) {
        self.errors.set(self.errors.get() + 1);
        self.first_error.borrow_mut().get_or_insert_with(|| error.to_string());
    }
}

impl Run {
    /// # Errors
    /// When what comes before the measuring does not work.
    pub async fn go(self) -> Result<Outcome, Failed> {
        let host = self.address.to_string();
        let prepare_for = |steps: &[Step], host: &str| steps.iter().map(|step| Prepared::new(step, host, &self.known, self.script.cookies)).collect::<Vec<_>>();
        let prepare = |steps: &[Step]| prepare_for(steps, &host);
        let mut memory = Memory { variables: HashMap::new(), cookies: self.script.cookies.then(BTreeMap::new) };
        memory.refresh();
        let (mut connection, mut buffer) = (Connection::to(self.setup_address), Vec::new());
        let mut stocks = Stocks::new();
        // First what is signed here: the set-up may need it.
        for (name, pool) in &self.script.pool {
            if let Some(assertion) = &pool.assertion {
                let audience = self.known.get("issuer").map_or("", String::as_str);
                let made = keys::assertions(&Key::at(&self.keys, assertion.alg)?, &assertion.client, audience, pool.count)?;
                stocks.insert(name.clone(), Stock::new(made));
            }
        }
        for (at, step) in prepare_for(&self.script.setup, &self.setup_address.to_string()).iter().enumerate() {
            step.run(at, &mut memory, &stocks, &mut connection, &mut buffer).await.map_err(|error| format!("setting up: {error}"))?;
        }
        drop(connection);
        for (name, pool) in &self.script.pool {
            if let Some(step) = &pool.step {
                let values =
                    collect(Prepared::new(step, &host, &self.known, self.script.cookies), pool, &memory, stocks, self.address, self.connections).await?;
                stocks = values.1;
                stocks.insert(name.clone(), Stock::new(values.0));
            }
        }
        let shared = Rc::new(Shared {
            phase: Cell::new(Phase::WarmUp),
            ready: Cell::new(0),
            gone: Cell::new(0),
            operations: Cell::new(0),
            errors: Cell::new(0),
            first_error: RefCell::new(None),
            latencies: RefCell::new(Histogram::new()),
            stocks,
            connect: prepare(&self.script.connect),
            step: prepare(&self.script.step),
            forget_cookies: self.script.cookies && self.script.forget_cookies,
            address: self.address,
        });
        let tasks: Vec<_> = (0..self.connections)
            .map(|number| {
                let (shared, mut memory) = (Rc::clone(&shared), memory.clone());
                memory.variables.insert("connection".to_owned(), number.to_string());
                tokio::task::spawn_local(connection_loop(shared, memory, Pace::of(self.pace, self.connections, number)))
            })
            .collect();
        self.measure(&shared, tasks).await
    }

    async fn measure(&self, shared: &Shared, tasks: Vec<tokio::task::JoinHandle<()>>) -> Result<Outcome, Failed> {
        let begun = Instant::now();
        while shared.ready.get() < self.connections {
            if begun.elapsed() > PREPARING {
                return Err("the connections were not ready in time".into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let alive = || shared.gone.get() < self.connections;
        wait(self.warm_up, alive).await;
        let before = Spent::now(self.pid);
        let begun = Instant::now();
        shared.phase.set(Phase::Measured);
        if let Some(begun) = &self.begun {
            std::fs::write(begun, "")?;
        }
        // Where a pool is used up, the time until then is what was measured.
        wait(self.measured, || alive() && shared.gone.get() == 0).await;
        shared.phase.set(Phase::Over);
        let seconds = begun.elapsed().as_secs_f64();
        let spent = Spent::now(self.pid).since(before);
        let (memory_now, peak) = (memory_mib(self.pid, "VmRSS:"), memory_mib(self.pid, "VmHWM:"));
        for task in tasks {
            // Whatever hangs is not waited for.
            let _late = tokio::time::timeout(Duration::from_secs(5), task).await;
        }
        let operations = shared.operations.get();
        if let (0, Some(error)) = (operations, &*shared.first_error.borrow()) {
            return Err(error.clone().into());
        }
        let latencies = shared.latencies.borrow();
        Ok(Outcome {
            operations,
            errors: shared.errors.get(),
            first_error: shared.first_error.borrow().clone(),
            seconds,
            server_micros: if operations > 0 { spent.server * 1e6 / operations as f64 } else { 0.0 },
            p50: latencies.at(0.5),
            p90: latencies.at(0.9),
            p99: latencies.at(0.99),
            p999: latencies.at(0.999),
            server_share: spent.server / seconds,
            generator_share: spent.own / seconds,
            others_share: (spent.machine - spent.server - spent.own).max(0.0) / seconds,
            memory_mib: memory_now,
            peak_mib: peak,
        })
    }
}

async fn wait(time: Duration, go_on: impl Fn() -> bool) {
    let end = Instant::now() + time;
    while Instant::now() < end && go_on() {
        tokio::time::sleep(end.saturating_duration_since(Instant::now()).min(Duration::from_millis(10))).await;
    }
}

/// When the operations of one connection begin: those of all take turns.
struct Pace {
    every: Duration,
    next: Instant,
}

impl Pace {
    fn of(pace: Option<f64>, connections: usize, number: usize) -> Option<Self> {
        let each = 1.0 / pace?;
        Some(Self { every: Duration::from_secs_f64(each * connections as f64), next: Instant::now() + Duration::from_secs_f64(each * number as f64) })
    }

    /// Waits awake, as everything here does, and says since when the operation is due. Who is late begins at once and leaves out what it missed beyond one, but
    /// keeps its place among the others: or all would soon begin together.
    async fn turn(&mut self) -> Instant {
        while Instant::now() < self.next {
            tokio::task::yield_now().await;
        }
        let (due, now) = (self.next, Instant::now());
        while self.next + self.every <= now {
            self.next += self.every;
        }
        self.next += self.every;
        due
    }
}

async fn connection_loop(shared: Rc<Shared>, mut memory: Memory, mut pace: Option<Pace>) {
    let (mut connection, mut buffer) = (Connection::to(shared.address), Vec::with_capacity(8192));
    memory.refresh();
    for (at, step) in shared.connect.iter().enumerate() {
        if let Err(error) = step.run(at, &mut memory, &shared.stocks, &mut connection, &mut buffer).await {
            shared.failed(&error);
            shared.ready.set(shared.ready.get() + 1);
            shared.gone.set(shared.gone.get() + 1);
            return;
        }
    }
    shared.ready.set(shared.ready.get() + 1);
    let mut failures = 0;
    let changes = shared.step.len() > 1;
    while shared.phase.get() != Phase::Over {
        let due = match &mut pace {
            Some(pace) => Some(pace.turn().await),
            None => None,
        };
        let phase = shared.phase.get();
        if shared.forget_cookies
            && let Some(jar) = &mut memory.cookies
        {
            jar.clear();
        }
        if changes {
            memory.refresh();
        }
        // From when it was due: who is late for the sake of the operation before has that time too.
        let begun = due.unwrap_or_else(Instant::now);
        let mut ended = Ok(());
        for (at, step) in shared.step.iter().enumerate() {
            ended = step.run(at, &mut memory, &shared.stocks, &mut connection, &mut buffer).await;
            if ended.is_err() {
                break;
            }
        }
        match ended {
            Ok(()) => {
                failures = 0;
                // Counted where it ended inside the measured time, timed where it began there too.
                if shared.phase.get() == Phase::Measured {
                    shared.operations.set(shared.operations.get() + 1);
                    if phase == Phase::Measured {
                        shared.latencies.borrow_mut().record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX).max(1));
                    }
                }
            }
            Err(Fail::UsedUp) => break,
            Err(error) => {
                shared.failed(&error);
                connection = Connection::to(shared.address);
                failures += 1;
                if failures > GIVE_UP {
                    break;
                }
            }
        }
    }
    shared.gone.set(shared.gone.get() + 1);
}

/// Fills a pool: the same request again and again, over several connections.
async fn collect(
    step: Prepared,
    pool: &Pool,
    memory: &Memory,
    stocks: Stocks,
    address: SocketAddr,
    connections: usize,
) -> Result<(Vec<String>, Stocks), Failed> {
    let (step, stocks, left, member) = (Rc::new(step), Rc::new(stocks), Rc::new(Cell::new(pool.count)), pool.member.clone());
    let found = Rc::new(RefCell::new(Vec::with_capacity(pool.count)));
    let tasks: Vec<_> = (0..connections.max(8))
        .map(|_| {
            let (step, stocks, left, found, member, mut memory) =
                (Rc::clone(&step), Rc::clone(&stocks), Rc::clone(&left), Rc::clone(&found), member.clone(), memory.clone());
            tokio::task::spawn_local(async move {
                let (mut connection, mut buffer) = (Connection::to(address), Vec::new());
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    step.run(0, &mut memory, &stocks, &mut connection, &mut buffer).await?;
                    found.borrow_mut().extend(memory.variables.get(&member).cloned());
                }
                Ok::<(), Fail>(())
            })
        })
        .collect();
    for task in tasks {
        tokio::time::timeout(PREPARING, task).await??.map_err(|error| format!("filling a pool: {error}"))?;
    }
    let stocks = Rc::into_inner(stocks).ok_or("a pool is still in use")?;
    Ok((found.take(), stocks))
}
