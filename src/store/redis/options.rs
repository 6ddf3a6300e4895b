//! Where Redis is and how to speak to it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How the servers stand together.
#[derive(Clone, Debug)]
pub enum Servers {
    /// One server on a Unix socket.
    Socket {
        path: PathBuf,
        database: i64,
    },
    One {
        node: Node,
        database: i64,
    },
    /// Sentinels that know which server is the primary under a name.
    Sentinel {
        sentinels: Vec<Node>,
        primary: String,
        database: i64,
    },
    /// Some members of a cluster, which know the others.
    Cluster {
        members: Vec<Node>,
    },
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |nodes: &[Node]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Socket { path, .. } => write!(f, "Redis at {}", path.display()),
            Self::One { node, .. } => write!(f, "Redis at {node}"),
            Self::Sentinel { sentinels, primary, .. } => write!(f, "Redis {primary:?} by the Sentinels {}", listed(sentinels)),
            Self::Cluster { members } => write!(f, "the Redis Cluster with {}", listed(members)),
        }
    }
}

/// TLS towards every server, Sentinels included.
#[derive(Clone, Debug)]
pub struct Tls {
    /// PEM of the authorities that are trusted in place of the system's.
    pub authorities: Option<String>,
}

/// By which name and password. Redis before ACLs has a password alone.
#[derive(Clone, Debug, Default)]
pub struct Login {
    pub username: Option<String>,
    pub password: Option<Secret<String>>,
}

/// Replicas that must have a write before it counts. It costs each such write their round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// At least one.
    pub replicas: usize,
    pub within: Duration,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub servers: Servers,
    pub tls: Option<Tls>,
    pub login: Login,
    /// At the Sentinels themselves.
    pub sentinel_login: Login,
    /// What every key begins with; it has no braces.
    pub prefix: String,
    pub response_timeout: Duration,
    /// Requests under way at once; one more is refused at once.
    pub max_in_flight: u32,
    pub acknowledged: Option<Acknowledged>,
}
