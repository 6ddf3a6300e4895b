//! Making connections, however the servers stand together.

use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, Pipeline, RedisConnectionInfo, RedisError,
    RedisResult, TlsCertificates, TlsMode, Value,
};
use tokio::sync::Mutex;

use super::options::{Login, Node, Options, Servers, Tls};

/// A connection that many use at once. Cheap to clone.
#[derive(Clone)]
pub(super) enum Conn {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// How one gets a connection.
pub(super) struct Connector {
    how: How,
    tls: bool,
    certificates: TlsCertificates,
    connect_timeout: Duration,
}

enum How {
    Client(Client),
    Sentinel(Mutex<SentinelClient>),
    Cluster { client: ClusterClient, members: Vec<Client> },
}

/// How long a connection may take to make at least; where answers may take longer, it may too. Sentinels are asked one after the other.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

impl Connector {
    /// `per_answer` is how long one answer may take.
    ///
    /// # Errors
    /// Certificates that are none; nothing is connected yet.
    pub fn new(options: &Options, per_answer: Duration) -> RedisResult<Self> {
        let connect_timeout = CONNECT_TIMEOUT.max(options.response_timeout);
        let certificates =
            TlsCertificates { client_tls: None, root_cert: options.tls.as_ref().and_then(|tls| tls.authorities.clone()).map(String::into_bytes) };
        let client = |addr: ConnectionAddr, login: &Login, database: i64| -> RedisResult<Client> {
            let info = info(addr, login, database)?;
            if options.tls.is_some() { Client::build_with_tls(info, certificates.clone()) } else { Client::open(info) }
        };
        let tls = options.tls.as_ref();
        let how = match &options.servers {
            Servers::Socket { path, database } => How::Client(Client::open(info(ConnectionAddr::Unix(path.clone()), &options.login, *database)?)?),
            Servers::One { node, database } => How::Client(client(address(node, tls), &options.login, *database)?),
            Servers::Sentinel { sentinels, primary, database } => {
                let addresses: Vec<_> = sentinels.iter().map(|node| address(node, tls)).collect();
                let mut builder = SentinelClientBuilder::new(addresses, primary, SentinelServerType::Master)?.set_client_to_redis_db(*database);
                if tls.is_some() {
                    builder = builder
                        .set_client_to_redis_tls_mode(TlsMode::Secure)
                        .set_client_to_redis_certificates(certificates.clone())
                        .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                        .set_client_to_sentinel_certificates(certificates.clone());
                }
                if let Some(name) = &options.login.username {
                    builder = builder.set_client_to_redis_username(name);
                }
                if let Some(password) = &options.login.password {
                    builder = builder.set_client_to_redis_password(password.expose());
                }
                if let Some(name) = &options.sentinel_login.username {
                    builder = builder.set_client_to_sentinel_username(name);
                }
                if let Some(password) = &options.sentinel_login.password {
                    builder = builder.set_client_to_sentinel_password(password.expose());
                }
                How::Sentinel(Mutex::new(builder.build()?))
            }
            Servers::Cluster { members } => {
                let infos = members.iter().map(|node| info(address(node, tls), &options.login, 0)).collect::<RedisResult<Vec<_>>>()?;
                let mut builder = ClusterClientBuilder::new(infos)
                    .connection_timeout(connect_timeout)
                    .response_timeout(per_answer)
                    // Every script may be sent twice: it knows its own writes again.
                    .overall_response_timeout(Some(2 * per_answer))
                    .retries(3)
                    .min_retry_wait(10)
                    .max_retry_wait(200);
                if tls.is_some() {
                    builder = builder.tls(TlsMode::Secure).certs(certificates.clone());
                }
                if let Some(name) = &options.login.username {
                    builder = builder.username(name);
                }
                if let Some(password) = &options.login.password {
                    builder = builder.password(password.expose());
                }
                let members = members.iter().map(|node| client(address(node, tls), &options.login, 0)).collect::<RedisResult<_>>()?;
                How::Cluster { client: builder.build()?, members }
            }
        };
        Ok(Self { how, tls: tls.is_some(), certificates, connect_timeout })
    }

    /// How long [`Self::connect`] is given.
    pub fn patience(&self) -> Duration {
        match &self.how {
            How::Client(_) => self.connect_timeout,
            How::Sentinel(_) | How::Cluster { .. } => 3 * self.connect_timeout,
        }
    }

    pub async fn connect(&self) -> RedisResult<Conn> {
        // Timeouts are ours: one for a whole exchange.
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(self.connect_timeout)).set_response_timeout(None);
        Ok(match &self.how {
            How::Client(client) => Conn::Node(client.get_multiplexed_async_connection_with_config(&config).await?),
            How::Sentinel(sentinel) => {
                let client = sentinel.lock().await.async_get_client().await?;
                Conn::Node(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            How::Cluster { client, .. } => Conn::Cluster(client.get_async_connection().await?),
        })
    }

    /// The address Sentinels call the primary's now; `None` where there are no Sentinels.
    pub async fn primary(&self) -> RedisResult<Option<String>> {
        match &self.how {
            How::Sentinel(sentinel) => Ok(Some(sentinel.lock().await.async_get_client().await?.get_connection_info().addr().to_string())),
            How::Client(_) | How::Cluster { .. } => Ok(None),
        }
    }

    /// A connection to hear what is told on a channel. In a cluster any member will do, another one at each `attempt`.
    pub async fn listen(&self, attempt: usize) -> RedisResult<PubSub> {
        match &self.how {
            How::Client(client) => client.get_async_pubsub().await,
            How::Sentinel(sentinel) => {
                let client = sentinel.lock().await.async_get_client().await?;
                let info = client.get_connection_info().clone();
                let client = if self.tls { Client::build_with_tls(info, self.certificates.clone())? } else { client };
                client.get_async_pubsub().await
            }
            How::Cluster { members, .. } => match members.get(attempt % members.len().max(1)) {
                Some(member) => member.get_async_pubsub().await,
                None => Err(RedisError::from((ErrorKind::InvalidClientConfig, "no member is known"))),
            },
        }
    }
}

fn address(node: &Node, tls: Option<&Tls>) -> ConnectionAddr {
    match tls {
        None => ConnectionAddr::Tcp(node.host.clone(), node.port),
        Some(_) => ConnectionAddr::TcpTls { host: node.host.clone(), port: node.port, insecure: false, tls_params: None },
    }
}

fn info(addr: ConnectionAddr, login: &Login, database: i64) -> RedisResult<ConnectionInfo> {
    let mut redis = RedisConnectionInfo::default().set_db(database);
    if let Some(name) = &login.username {
        redis = redis.set_username(name);
    }
    if let Some(password) = &login.password {
        redis = redis.set_password(password.expose());
    }
    Ok(addr.into_connection_info()?.set_redis_settings(redis))
}

/// What goes to the server in one exchange.
pub(super) enum Ask {
    /// Commands that need not meet the same server: one pipeline, or in a cluster one for each member at once.
    Each(Vec<Cmd>),
    /// Commands that follow each other on the connection to the server that has this key.
    InOrder(Vec<Cmd>, Vec<u8>),
}

impl Conn {
    /// One exchange: an answer for each command, in order.
    pub async fn exchange(&mut self, ask: &Ask) -> RedisResult<Vec<Value>> {
        let answers = match (self, ask) {
            (Self::Node(node), Ask::Each(commands) | Ask::InOrder(commands, _)) => match commands.as_slice() {
                [] => Vec::new(),
                [one] => vec![node.send_packed_command(one).await?],
                many => node.send_packed_commands(&pipeline(many), 0, many.len()).await?,
            },
            (Self::Cluster(cluster), Ask::Each(commands)) => {
                let all = commands.iter().map(|command| {
                    let mut cluster = cluster.clone();
                    async move { redis::aio::ConnectionLike::req_packed_command(&mut cluster, command).await }
                });
                futures_util::future::try_join_all(all).await?
            }
            (Self::Cluster(cluster), Ask::InOrder(commands, key)) => {
                let route = SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master));
                cluster.route_pipeline(pipeline(commands), 0, commands.len(), route).await?
            }
        };
        answers.into_iter().map(Value::extract_error).collect()
    }

    /// The answer of every server that may be written to.
    pub async fn of_every_primary(&mut self, command: Cmd) -> RedisResult<Vec<Value>> {
        match self {
            Self::Node(node) => Ok(vec![node.send_packed_command(&command).await?.extract_error()?]),
            Self::Cluster(cluster) => {
                let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                match cluster.route_command(command, all).await?.extract_error()? {
                    Value::Map(answers) => Ok(answers.into_iter().map(|(_, answer)| answer).collect()),
                    other => Ok(vec![other]),
                }
            }
        }
    }
}

fn pipeline(commands: &[Cmd]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command.clone());
    }
    pipeline
}
