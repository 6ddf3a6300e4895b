//! The back end for several nodes: Redis by itself, behind Sentinels, or as a Cluster.
//!
//! A record is one value. It is written by one script that compares, writes and keeps the indexes, so a write is one round trip, and two
//! where the server did not know the script yet. Versions are random and name the write that made them: a write whose answer was lost is
//! sent again and finds out whether it was done. What a fail-over may undo is in `docs/operations.md`; how this is made, and why, in
//! `docs/adr/0009-redis.md`.

mod changes;
mod connect;
mod fitness;
mod kept;
mod lane;
mod layout;
mod options;
mod scripts;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, Value, cmd};
use tokio::sync::{Semaphore, SemaphorePermit, broadcast};
use tokio_util::sync::CancellationToken;

pub use options::{Acknowledged, Login, Node, Options, Servers, Tls};

use self::connect::{Ask, Connector};
use self::kept::KeptClients;
use self::lane::{Failed, Lane};
use self::layout::{Layout, Place, SHARDS, expiry, key_of, record, version_bytes};
use self::scripts::{Call, REMOVE, SWEEP, WRITE};
use super::{About, Backend, Change, Commit, Key, Kind, Record, Space, StoreError, Version};
use crate::random::Random;
use crate::time::{Clock, UnixTime};

/// How long past its expiry Redis keeps a record by itself. The sweep takes it earlier; this is for when nobody sweeps, and for clocks
/// that differ.
const MARGIN: Duration = Duration::from_secs(600);

/// Connections for writes that wait for replicas, each of which has the whole connection wait.
const WAITING_LANES: usize = 8;

/// A store in Redis.
pub struct Redis {
    layout: Layout,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    reads: Arc<Lane>,
    /// The reads' own where no replica is waited for.
    writes: Vec<Arc<Lane>>,
    next: AtomicUsize,
    in_flight: Semaphore,
    /// How many fit in there.
    places: u32,
    acknowledged: Option<Acknowledged>,
    changes: broadcast::Sender<Change>,
    kept: Arc<KeptClients>,
    closed: CancellationToken,
}

impl Redis {
    /// Connects, and looks whether the servers are fit to keep what must not be forgotten.
    ///
    /// # Errors
    /// When they cannot be reached, or are not fit: [`StoreError::Unfit`].
    pub async fn open(options: &Options, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, StoreError> {
        let name: Arc<str> = options.servers.to_string().into();
        let waiting = options.acknowledged.map_or(Duration::ZERO, |wanted| wanted.within);
        let per_answer = options.response_timeout + waiting;
        let connector = Connector::new(options, per_answer).map_err(|error| StoreError::Unfit(format!("{name}: {}", error.category())))?;
        let connector = Arc::new(connector);
        // A cluster may need a second try at another member.
        let patience = |each: Duration| if matches!(options.servers, Servers::Cluster { .. }) { 2 * each } else { each };
        let lane = |each: Duration| Arc::new(Lane::new(Arc::clone(&connector), Arc::clone(&name), patience(each)));
        let reads = lane(options.response_timeout);
        let writes = match options.acknowledged {
            None => vec![Arc::clone(&reads)],
            Some(_) => (0..WAITING_LANES).map(|_| lane(per_answer)).collect(),
        };
        let looked = tokio::time::timeout(connector.patience(), async { fitness::check(&mut reads.conn().await?, options, &name).await }).await;
        looked.map_err(|_| StoreError::Unreachable(format!("{name}: it does not answer")))??;
        let layout = Layout::new(&options.prefix);
        let (changes, _) = broadcast::channel(64);
        let closed = CancellationToken::new();
        tokio::spawn(closed.clone().run_until_cancelled_owned(changes::listen(Arc::clone(&connector), layout.channel(), changes.clone())));
        let kept = Arc::new(KeptClients::new());
        let (follower, heard) = (Arc::clone(&kept), changes.subscribe());
        tokio::spawn(closed.clone().run_until_cancelled_owned(async move { follower.follow(heard).await }));
        if matches!(options.servers, Servers::Sentinel { .. }) {
            let lanes = writes.iter().chain([&reads]).map(Arc::clone).collect();
            tokio::spawn(closed.clone().run_until_cancelled_owned(changes::follow_primary(connector, lanes)));
        }
        Ok(Self {
            layout,
            clock,
            random,
            reads,
            writes,
            next: AtomicUsize::new(0),
            in_flight: Semaphore::new(options.max_in_flight as usize),
            places: options.max_in_flight,
            acknowledged: options.acknowledged,
            changes,
            kept,
            closed,
        })
    }

    fn open_still(&self) -> Result<(), StoreError> {
        if self.closed.is_cancelled() { Err(StoreError::closed()) } else { Ok(()) }
    }

    /// A place among those under way; where there is none the answer is no, at once.
    fn enter(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.open_still()?;
        self.in_flight.try_acquire().map_err(|_| StoreError::Unreachable("too many requests wait for Redis already".to_owned()))
    }

    /// The records under these keys, in one round trip, or none where there are no keys.
    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = cmd("MGET");
        for key in keys {
            command.arg(self.layout.record(&Place::of(key)));
        }
        let mut answers = self.read(vec![command]).await?;
        let values = array(answers.pop().ok_or_else(odd)?)?;
        if values.len() != keys.len() {
            return Err(odd());
        }
        values.into_iter().map(|value| bytes(value)?.map(record).transpose()).collect()
    }

    async fn read(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        self.reads.ask(&Ask::Each(commands)).await.map_err(Failed::into_error)
    }

    fn write_lane(&self) -> &Lane {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.writes.len().max(1);
        self.writes.get(turn).unwrap_or(&self.reads)
    }

    /// Calls a script that changes something, and where `lasting` waits until replicas have it. Answers what the script answered.
    async fn call(&self, call: &Call, lasting: bool) -> Result<i64, StoreError> {
        let wanted = self.acknowledged.filter(|_| lasting);
        let ask = |script: Cmd| match wanted {
            None => Ask::Each(vec![script]),
            Some(wanted) => {
                let mut wait = cmd("WAIT");
                wait.arg(wanted.replicas).arg(wanted.within.as_millis().to_string());
                Ask::InOrder(vec![script, wait], call.keys.first().cloned().unwrap_or_default())
            }
        };
        let lane = self.write_lane();
        let once = async || match lane.ask(&ask(call.short())).await {
            Err(Failed::UnknownScript) => lane.ask(&ask(call.whole())).await,
            other => other,
        };
        let answers = match once().await {
            // Whether it was done is unknown; the same write sent again finds out.
            Err(Failed::Unanswered(_)) => once().await,
            other => other,
        };
        let answers = answers.map_err(Failed::into_error)?;
        let mut numbers = answers.iter().map(number);
        let done = numbers.next().flatten().ok_or_else(odd)?;
        if let (Some(wanted), 1) = (wanted, done)
            && numbers.next().flatten().is_none_or(|replicas| replicas < i64::try_from(wanted.replicas).unwrap_or(i64::MAX))
        {
            return Err(StoreError::Unreachable(format!(
                "fewer than {} replicas had the write within {} ms: whether it lasts is unknown",
                wanted.replicas,
                wanted.within.as_millis()
            )));
        }
        Ok(done)
    }

    /// A name no other write has.
    fn fresh_version(&self) -> Version {
        let mut bytes = [0_u8; 8];
        self.random.fill(&mut bytes);
        // Zero stands for no write.
        Version(u64::from_be_bytes(bytes).max(1))
    }

    /// The keys a script about this record needs.
    fn keys(&self, key: &Key, place: &Place) -> Vec<Vec<u8>> {
        let shard = place.shard;
        vec![self.layout.record(place), self.layout.index(shard, &key.space, key.kind), self.layout.expiries(shard), self.layout.mark(shard)]
    }

    /// Where a change of this kind is told, if it is.
    fn told(&self, kind: Kind) -> Vec<u8> {
        if changes::is_told(kind) { self.layout.channel().into_bytes() } else { Vec::new() }
    }

    fn flag(&self, lasting: bool) -> Vec<u8> {
        Vec::from(if lasting && self.acknowledged.is_some() { "1" } else { "" })
    }

    /// What has expired at `now` by the index, oldest first, at most `limit`.
    async fn expired(&self, now: UnixTime, limit: usize) -> Result<Vec<(i64, Key)>, StoreError> {
        let asked = (0..SHARDS).map(|shard| {
            let mut command = cmd("ZRANGEBYSCORE");
            command.arg(self.layout.expiries(shard)).arg("-inf").arg(now.0).arg("WITHSCORES").arg("LIMIT").arg(0).arg(limit);
            command
        });
        let mut found = Vec::new();
        for answer in self.read(asked.collect()).await? {
            let texts = array(answer)?.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
            for [member, at] in texts.as_chunks().0 {
                // An entry nobody understands was not made by us.
                let (Some(key), Ok(at)) = (key_of(member), at.parse::<i64>()) else { return Err(odd()) };
                found.push((at, key));
            }
        }
        found.sort_unstable();
        found.truncate(limit);
        Ok(found)
    }
}

#[async_trait]
impl Backend for Redis {
    async fn read_many(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        let _place = self.enter()?;
        let asked = self.kept.moment();
        let read = self.fetch(keys).await?;
        keys.iter().zip(&read).for_each(|(key, record)| self.kept.learn(key, &asked, record.as_ref()));
        Ok(read)
    }

    /// A registration that was asked for by itself, and a moment ago. What several records say together is always asked for.
    fn read_now(&self, keys: &[Key]) -> Option<Result<Vec<Option<Record>>, StoreError>> {
        let [key] = keys else { return None };
        let record = self.kept.known(key)?;
        Some(self.open_still().map(|()| vec![record]))
    }

    async fn write(&self, key: &Key, seen: Option<Version>, expires_at: Option<UnixTime>, bytes: Bytes) -> Result<Commit, StoreError> {
        let _place = self.enter()?;
        let now = self.clock.now();
        let lives = expires_at.map(|at| Duration::from_secs(u64::try_from(at.since(now)).unwrap_or(0)) + MARGIN);
        let (lasting, place) = (lasts(key.kind, seen), Place::of(key));
        let call = Call {
            lua: &WRITE,
            keys: self.keys(key, &place),
            args: vec![
                seen.map(|seen| version_bytes(seen).to_vec()).unwrap_or_default(),
                version_bytes(self.fresh_version()).to_vec(),
                expiry(expires_at).to_vec(),
                expires_at.map(|at| at.to_string().into_bytes()).unwrap_or_default(),
                now.to_string().into_bytes(),
                lives.map(|lives| lives.as_millis().to_string().into_bytes()).unwrap_or_default(),
                key.id.as_bytes().to_vec(),
                place.member.into_bytes(),
                self.told(key.kind),
                bytes.to_vec(),
                self.flag(lasting),
            ],
        };
        // Written or not, and also where nobody waits for it any more: whoever lost to another must see what that one wrote.
        let _forgotten = self.kept.forgets(key);
        Ok(if self.call(&call, lasting).await? == 1 { Commit::Applied } else { Commit::Conflict })
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        let _place = self.enter()?;
        let place = Place::of(key);
        let keys = self.keys(key, &place);
        let args = vec![key.id.as_bytes().to_vec(), place.member.into_bytes(), self.told(key.kind), self.flag(true)];
        let _forgotten = self.kept.forgets(key);
        self.call(&Call { lua: &REMOVE, keys, args }, true).await.map(|_| ())
    }

    async fn list(&self, space: &Space, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<(Key, Record)>, StoreError> {
        // Where nothing is asked for, a closed store says so all the same.
        self.open_still()?;
        let mut page = Vec::new();
        let mut after = after.map(str::to_owned);
        // Redis may have forgotten a record whose entry is still in the index.
        while page.len() < limit {
            let place = self.enter()?;
            let asked = limit - page.len();
            let from = after.as_ref().map_or_else(|| b"-".to_vec(), |after| [b"(", after.as_bytes()].concat());
            let ranges = (0..SHARDS).map(|shard| {
                let mut command = cmd("ZRANGEBYLEX");
                command.arg(self.layout.index(shard, space, kind)).arg(from.as_slice()).arg("+").arg("LIMIT").arg(0).arg(asked);
                command
            });
            let mut ids = Vec::new();
            for answer in self.read(ranges.collect()).await? {
                for id in array(answer)? {
                    ids.push(text(id)?);
                }
            }
            drop(place);
            ids.sort_unstable();
            ids.truncate(asked);
            let ended = ids.len() < asked;
            after = ids.last().cloned();
            let keys: Vec<Key> = ids.iter().map(|id| Key::new(space, kind, id)).collect();
            let records = self.read_many(&keys).await?;
            page.extend(keys.into_iter().zip(records).filter_map(|(key, record)| Some((key, record?))));
            if ended {
                break;
            }
        }
        Ok(page)
    }

    async fn sweep(&self, now: UnixTime, limit: usize) -> Result<usize, StoreError> {
        let _place = self.enter()?;
        let expired: Vec<(Place, Key)> = self.expired(now, limit).await?.into_iter().map(|(_, key)| (Place::of(&key), key)).collect();
        let mut swept = 0;
        for group in 0..SHARDS {
            let mut call = Call { lua: &SWEEP, keys: vec![self.layout.expiries(group)], args: vec![now.to_string().into_bytes()] };
            for (place, key) in expired.iter().filter(|(place, _)| place.shard == group) {
                call.keys.extend([self.layout.record(place), self.layout.index(group, &key.space, key.kind)]);
                call.args.extend([key.id.as_bytes().to_vec(), place.member.clone().into_bytes()]);
            }
            if call.keys.len() > 1 {
                swept += usize::try_from(self.call(&call, false).await?).unwrap_or(0);
            }
        }
        Ok(swept)
    }

    fn about(&self) -> About {
        About { kind: Some("redis"), ..About::default() }
    }

    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        Some(self.changes.subscribe())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.closed.cancel();
        // Whatever was asked is answered by the time every place is free.
        drop(self.in_flight.acquire_many(self.places).await);
        self.reads.let_go();
        for lane in &self.writes {
            lane.let_go();
        }
        Ok(())
    }
}

/// Whether a fail-over that forgot this write would make something good again, or undo what a person decided. What is made anew is else only
/// missing then, and fails safe; but a mark that something was used is made anew, too.
fn lasts(kind: Kind, seen: Option<Version>) -> bool {
    seen.is_some() || matches!(kind, Kind::Replay | Kind::RevokedToken | Kind::KeyRing | Kind::Client | Kind::Consent | Kind::Mark)
}

fn odd() -> StoreError {
    StoreError::Corrupt("Redis answered something that was not asked".to_owned())
}

fn number(value: &Value) -> Option<i64> {
    if let Value::Int(number) = value { Some(*number) } else { None }
}

fn array(value: Value) -> Result<Vec<Value>, StoreError> {
    if let Value::Array(values) = value { Ok(values) } else { Err(odd()) }
}

fn bytes(value: Value) -> Result<Option<Vec<u8>>, StoreError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        _ => Err(odd()),
    }
}

fn text(value: Value) -> Result<String, StoreError> {
    let bytes = bytes(value)?.ok_or_else(odd)?;
    String::from_utf8(bytes).map_err(|_| StoreError::Corrupt("an id is not text".to_owned()))
}
