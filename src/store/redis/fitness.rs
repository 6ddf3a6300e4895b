//! Whether a Redis is fit to keep what must not be forgotten.

use redis::{Value, cmd};

use super::super::StoreError;
use super::connect::Conn;
use super::options::{Options, Servers};

/// The oldest version that knows every command as we use it.
const OLDEST: (u32, u32) = (6, 2);

/// Asks every server that may be written to. What makes it unfit is refused, what is only unwise is logged.
///
/// # Errors
/// [`StoreError::Unfit`]
pub(super) async fn check(conn: &mut Conn, options: &Options, name: &str) -> Result<(), StoreError> {
    let answers = match conn.of_every_primary(cmd("INFO")).await {
        Ok(answers) => answers,
        Err(error) if error.code() == Some("NOPERM") => {
            tracing::warn!(store = name, "the user may not ask INFO, so nobody has looked whether this Redis forgets by itself (maxmemory-policy)");
            return Ok(());
        }
        Err(error) if error.code() == Some("NOAUTH") => return Err(StoreError::Unreachable(format!("{name}: it wants a user or a password"))),
        Err(error) => return Err(StoreError::Unreachable(format!("{name}: it answers {}", error.code().unwrap_or(error.category())))),
    };
    for answer in answers {
        let info = match answer {
            Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Value::VerbatimString { text, .. } => text,
            _ => String::new(),
        };
        let found = Found::read(&info);
        if let Some(why) = found.unfit(options) {
            return Err(StoreError::Unfit(format!("{name}: {why}")));
        }
        for warning in found.unwise() {
            tracing::warn!(store = name, "{warning}");
        }
        tracing::info!(store = name, version = found.version, appendonly = found.appendonly, replicas = found.replicas, "the store is Redis");
    }
    Ok(())
}

/// What INFO says, as far as it matters here.
struct Found<'a> {
    version: &'a str,
    cluster: bool,
    replica: bool,
    replicas: u32,
    appendonly: bool,
    limited: bool,
    policy: &'a str,
}

impl<'a> Found<'a> {
    fn read(info: &'a str) -> Self {
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).unwrap_or_default();
        Self {
            version: field("redis_version"),
            cluster: field("cluster_enabled") == "1",
            replica: field("role") == "slave",
            replicas: field("connected_slaves").parse().unwrap_or(0),
            appendonly: field("aof_enabled") == "1",
            limited: !matches!(field("maxmemory"), "" | "0"),
            policy: field("maxmemory_policy"),
        }
    }

    fn unfit(&self, options: &Options) -> Option<String> {
        let mut parts = self.version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        if version != (0, 0) && version < OLDEST {
            return Some(format!("it is version {}, and {}.{} or newer is needed", self.version, OLDEST.0, OLDEST.1));
        }
        let cluster = matches!(options.servers, Servers::Cluster { .. });
        if self.cluster && !cluster {
            return Some("it is a member of a cluster: write redis+cluster://".to_owned());
        }
        if !self.cluster && cluster {
            return Some("it is no member of a cluster: write redis:// or redis+sentinel://".to_owned());
        }
        if self.replica && !cluster {
            return Some("it is a replica: name its primary, or its Sentinels with redis+sentinel://".to_owned());
        }
        (self.limited && self.evicts()).then(|| {
            format!(
                "maxmemory-policy is {}, so a full memory would make it forget marks of what was used or revoked, and those be good again; \
                 set maxmemory-policy noeviction",
                self.policy
            )
        })
    }

    fn evicts(&self) -> bool {
        !matches!(self.policy, "" | "noeviction")
    }

    fn unwise(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.evicts() {
            warnings.push(format!("maxmemory-policy is {}: harmless without maxmemory, but set it to noeviction before anybody sets one", self.policy));
        }
        if !self.appendonly {
            warnings.push("appendonly is off: a restart forgets what was written since the last snapshot, spent codes and ended grants too".to_owned());
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::{Login, Node};
    use super::*;
    use std::time::Duration;

    fn options(servers: Servers) -> Options {
        Options {
            servers,
            tls: None,
            login: Login::default(),
            sentinel_login: Login::default(),
            prefix: "helsebro".to_owned(),
            response_timeout: Duration::from_millis(500),
            max_in_flight: 8,
            acknowledged: None,
        }
    }

    #[test]
    fn what_would_forget_is_unfit() {
        let node = || Node { host: "localhost".to_owned(), port: 6379 };
        let (one, cluster) = (options(Servers::One { node: node(), database: 0 }), options(Servers::Cluster { members: vec![node()] }));
        let good = "redis_version:7.0.15\r\nrole:master\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\ncluster_enabled:0\r\n";
        let unfit = |from: &str, to: &str, options: &Options| Found::read(&good.replace(from, to)).unfit(options);
        assert_eq!(unfit("", "", &one), None);
        assert!(Found::read(good).unwise().is_empty());
        assert!(unfit("7.0.15", "6.0.9", &one).unwrap().contains("6.2 or newer"));
        assert!(unfit("role:master", "role:slave", &one).unwrap().contains("replica"));
        assert!(unfit("cluster_enabled:0", "cluster_enabled:1", &one).unwrap().contains("redis+cluster://"));
        assert!(unfit("", "", &cluster).unwrap().contains("no member"));
        assert_eq!(unfit("cluster_enabled:0", "cluster_enabled:1", &cluster), None);
        for policy in ["allkeys-lru", "volatile-ttl"] {
            let limited = format!("maxmemory:1000000\r\nmaxmemory_policy:{policy}");
            assert!(unfit("maxmemory:0\r\nmaxmemory_policy:noeviction", &limited, &one).unwrap().contains("noeviction"), "{policy}");
            let unlimited = good.replace("noeviction", policy);
            assert_eq!((Found::read(&unlimited).unfit(&one), Found::read(&unlimited).unwise().len()), (None, 1));
        }
        assert_eq!(Found::read(&good.replace("aof_enabled:1", "aof_enabled:0")).unwise().len(), 1);
    }
}
