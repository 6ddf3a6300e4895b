//! One server: what a request costs, who may enter, and what happens when it is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use helsebro::random::SystemRandom;
use helsebro::secret::Secret;
use helsebro::store::redis::{Login, Node, Options, Redis, Servers, Tls};
use helsebro::store::{Backend, Change, Commit, Key, Kind, StoreError};
use helsebro::time::{FixedClock, UnixTime};

use super::servers::{Server, alone, at, options, program, text, until};

const NOW: UnixTime = UnixTime(1_790_000_000);

async fn open(options: &Options) -> Result<Redis, StoreError> {
    Redis::open(options, Arc::new(FixedClock::at(NOW)), Arc::new(SystemRandom)).await
}

fn key(id: &str) -> Key {
    Key::new(&"https://ehr.example".into(), Kind::Grant, id)
}

fn value() -> Bytes {
    Bytes::from_static(b"\x01{}")
}

/// How often clients asked for each command since the last `CONFIG RESETSTAT`; what scripts call inside is left out.
fn asked(server: &Server) -> BTreeMap<String, u64> {
    let info = text(&server.ask(&["INFO", "commandstats"]));
    let outer = ["mget", "eval", "evalsha", "zrangebylex", "zrangebyscore", "get", "wait"];
    let count = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        outer.contains(&name).then_some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    info.lines().filter_map(count).collect()
}

#[tokio::test]
async fn a_read_is_one_round_trip_and_a_write_at_most_two() {
    let Some(program) = program() else { return };
    let server = Server::start(&program, &[]);
    let store = open(&options(server.servers())).await.unwrap();
    let counted = |expected: &[(&str, u64)]| {
        let expected: BTreeMap<String, u64> = expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        assert_eq!(asked(&server), expected);
        server.ask(&["CONFIG", "RESETSTAT"]);
    };
    server.ask(&["CONFIG", "RESETSTAT"]);
    // The server learns the script on the way, once.
    assert_eq!(store.write(&key("a"), None, Some(NOW), value()).await.unwrap(), Commit::Applied);
    counted(&[("evalsha", 1), ("eval", 1)]);
    assert_eq!(store.write(&key("b"), None, Some(NOW), value()).await.unwrap(), Commit::Applied);
    counted(&[("evalsha", 1)]);
    let seen = store.read_many(&[key("b"), key("a"), key("none")]).await.unwrap();
    counted(&[("mget", 1)]);
    let version = seen[0].as_ref().map(|record| record.version);
    assert_eq!(store.write(&key("b"), version, None, value()).await.unwrap(), Commit::Applied);
    assert_eq!(store.write(&key("b"), version, None, value()).await.unwrap(), Commit::Conflict);
    counted(&[("evalsha", 2)]);
    // Over an expired leftover too.
    assert_eq!(store.write(&key("a"), None, None, value()).await.unwrap(), Commit::Applied);
    counted(&[("evalsha", 1)]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn redis_forgets_by_itself_and_not_too_early() {
    let Some(server) = alone() else { return };
    let options = options(server.servers());
    let store = open(&options).await.unwrap();
    for (id, expires_at, least, most) in [("past", Some(NOW), 500, 600), ("soon", Some(NOW + Duration::from_secs(60)), 560, 660), ("stays", None, -1, -1)] {
        assert_eq!(store.write(&key(id), None, expires_at, value()).await.unwrap(), Commit::Applied);
        let name = redis::from_redis_value::<Vec<String>>(server.ask(&["KEYS", &format!("{{{}:*:r:*{id}", options.prefix)])).unwrap();
        let left: i64 = redis::from_redis_value(server.ask(&["TTL", &name[0]])).unwrap();
        assert!((least..=most).contains(&left), "{id}: {left}");
    }
}

#[tokio::test]
async fn who_has_no_right_to_enter_is_told_so_and_no_password_is() {
    let Some(program) = program() else { return };
    let server = Server::start(&program, &[]);
    let rights = ["~{app:*", "&app:*", "-@all", "+mget", "+evalsha", "+eval", "+get", "+getrange", "+set", "+del"];
    let more = ["+zadd", "+zrem", "+zscore", "+zrangebylex", "+zrangebyscore", "+publish", "+subscribe", "+info"];
    let words = ["ACL", "SETUSER", "helsebro", "on", ">a-password-of-ours"].iter().chain(&rights).chain(&more).copied().collect::<Vec<_>>();
    server.ask(&words);
    server.ask(&["CONFIG", "SET", "requirepass", "another-password"]);
    let login = |name: &str, password: &str| Login { username: Some(name.to_owned()), password: Some(Secret::new(password.to_owned())) };
    let with = |login: Login, prefix: &str| Options { login, prefix: prefix.to_owned(), ..options(server.servers()) };
    let store = open(&with(login("helsebro", "a-password-of-ours"), "app")).await.unwrap();
    assert_eq!(store.write(&key("a"), None, Some(NOW), value()).await.unwrap(), Commit::Applied);
    store.remove(&key("a")).await.unwrap();
    assert_eq!(store.list(&"https://ehr.example".into(), Kind::Grant, None, 10).await.unwrap(), []);
    assert_eq!(store.sweep(NOW, 10).await.unwrap(), 0);
    // A right for other keys only.
    let elsewhere = open(&with(login("helsebro", "a-password-of-ours"), "elsewhere")).await.unwrap();
    let refused = elsewhere.read_many(&[key("a-secret-id")]).await.unwrap_err().to_string();
    assert!(refused.contains("may not do this") && !refused.contains("a-secret-id"), "{refused}");
    for (login, shown) in [(login("helsebro", "wrong-password"), "user and password"), (Login::default(), "wants a user or a password")] {
        let refused = open(&with(login, "app")).await.err().unwrap().to_string();
        assert!(!refused.contains("wrong-password"), "{refused}");
        assert!(refused.contains(shown) || refused.contains("authentication failed"), "{refused}");
    }
}

#[tokio::test]
async fn a_server_that_would_forget_is_refused() {
    let Some(program) = program() else { return };
    let server = Server::start(&program, &["--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"]);
    let refused = open(&options(server.servers())).await.err().unwrap();
    assert!(matches!(&refused, StoreError::Unfit(why) if why.contains("set maxmemory-policy noeviction")), "{refused}");
    server.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    open(&options(server.servers())).await.unwrap();
}

#[tokio::test]
async fn a_full_server_and_a_silent_one_are_outages() {
    let Some(program) = program() else { return };
    let server = Server::start(&program, &[]);
    let quick = Options { response_timeout: Duration::from_millis(200), max_in_flight: 16, ..options(server.servers()) };
    let store = open(&quick).await.unwrap();
    assert_eq!(store.write(&key("a"), None, None, value()).await.unwrap(), Commit::Applied);
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = store.write(&key("b"), None, None, value()).await.unwrap_err().to_string();
    assert!(refused.contains("it answers OOM"), "{refused}");
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    // It hangs: whoever is over the limit is refused at once, the others after their time.
    server.process.as_ref().unwrap().pause();
    let all = (0..40).map(|_| async { store.read_many(&[key("a")]).await.unwrap_err().to_string() });
    let refused = futures_util::future::join_all(all).await;
    server.process.as_ref().unwrap().go_on();
    let count = |what: &str| refused.iter().filter(|text| text.contains(what)).count();
    assert_eq!((count("no answer within 200 ms"), count("too many requests wait")), (16, 24), "{refused:?}");
    assert_eq!(store.read_many(&[key("a")]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_knows_itself_again() {
    let Some(program) = program() else { return };
    let server = Server::start(&program, &[]);
    // Every connection is cut right after the write was done and before it was answered: the first answer is lost for certain.
    let cut = Cut::start(server.port).await;
    let through = Options { servers: Servers::One { node: at(cut.port), database: 0 }, ..options(server.servers()) };
    let store = open(&through).await.unwrap();
    // The server knows the script.
    assert_eq!(store.write(&key("known"), None, None, value()).await.unwrap(), Commit::Applied);
    cut.swallow_next_answer();
    assert_eq!(store.write(&key("a"), None, None, value()).await.unwrap(), Commit::Applied, "it found its own write");
    let seen = store.read_many(&[key("a")]).await.unwrap()[0].as_ref().unwrap().version;
    cut.swallow_next_answer();
    assert_eq!(store.write(&key("a"), Some(seen), None, Bytes::from_static(b"\x01{\"n\":2}")).await.unwrap(), Commit::Applied);
    cut.swallow_next_answer();
    assert_eq!(store.write(&key("a"), Some(seen), None, value()).await.unwrap(), Commit::Conflict, "somebody else's is none of ours");
    assert_eq!(&store.read_many(&[key("a")]).await.unwrap()[0].as_ref().unwrap().bytes[..], b"\x01{\"n\":2}");
    assert_eq!(cut.swallowed(), 3);
}

/// Stands between, and can cut a connection in the place of its next answer.
struct Cut {
    port: u16,
    armed: Arc<std::sync::atomic::AtomicBool>,
    swallowed: Arc<std::sync::atomic::AtomicUsize>,
}

impl Cut {
    async fn start(to: u16) -> Self {
        use std::sync::atomic::Ordering::SeqCst;
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cut = Self { port: listener.local_addr().unwrap().port(), armed: Arc::default(), swallowed: Arc::default() };
        let (armed, swallowed) = (Arc::clone(&cut.armed), Arc::clone(&cut.swallowed));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = tokio::net::TcpStream::connect(("127.0.0.1", to)).await else { continue };
                let (armed, swallowed) = (Arc::clone(&armed), Arc::clone(&swallowed));
                tokio::spawn(async move {
                    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (near.into_split(), far.into_split());
                    let asking = tokio::spawn(async move { tokio::io::copy(&mut near_read, &mut far_write).await });
                    let mut buffer = vec![0; 65_536];
                    while let Ok(length @ 1..) = far_read.read(&mut buffer).await {
                        if armed.swap(false, SeqCst) {
                            swallowed.fetch_add(1, SeqCst);
                            break;
                        }
                        if near_write.write_all(&buffer[..length]).await.is_err() {
                            break;
                        }
                    }
                    asking.abort();
                });
            }
        });
        cut
    }

    fn swallow_next_answer(&self) {
        self.armed.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    fn swallowed(&self) -> usize {
        self.swallowed.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[tokio::test]
async fn tls_is_to_the_authority_that_was_named() {
    let Some(program) = program() else { return };
    // Whoever installs a provider first wins; there is only this one to install.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&params, &authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let file = |name: &str, content: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (cert, own_key, ca) = (file("cert", certificate.pem()), file("key", key.serialize_pem()), file("ca", authority.pem()));
    let tls_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = tls_port.to_string();
    let server = Server::start(
        &program,
        &["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &own_key, "--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"],
    );
    let there = |authorities: Option<String>| Options {
        servers: Servers::One { node: Node { host: "localhost".to_owned(), port: tls_port }, database: 0 },
        tls: Some(Tls { authorities }),
        ..options(server.servers())
    };
    let store = open(&there(Some(authority.pem()))).await.unwrap();
    assert_eq!(store.write(&self::key("tls"), None, None, value()).await.unwrap(), Commit::Applied);
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    assert!(open(&there(Some(stranger.cert.pem()))).await.is_err(), "another authority");
    assert!(open(&there(None)).await.is_err(), "those of the system");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_told_to_others() {
    let Some(server) = alone() else { return };
    let options = options(server.servers());
    let (one, other) = (open(&options).await.unwrap(), open(&options).await.unwrap());
    let mut heard = other.changes().unwrap();
    until("both listen", || {
        let subscribers = redis::from_redis_value::<(String, u64)>(server.ask(&["PUBSUB", "NUMSUB", &format!("{}:changes", options.prefix)])).unwrap();
        subscribers.1 == 2
    });
    let client = Key::new(&"https://ehr.example".into(), Kind::Client, "new-app");
    assert_eq!(one.write(&client, None, None, value()).await.unwrap(), Commit::Applied);
    assert_eq!(one.write(&key("nobody waits for this"), None, None, value()).await.unwrap(), Commit::Applied);
    one.remove(&client).await.unwrap();
    let mut told = Vec::new();
    while told.len() < 2 {
        if let Change::Of(key) = tokio::time::timeout(Duration::from_secs(5), heard.recv()).await.unwrap().unwrap() {
            told.push(key);
        }
    }
    assert_eq!(told, [client.clone(), client]);
}
