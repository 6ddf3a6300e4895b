//! TLS at a listener: one certificate with its key, read again when the files change. RFC 8446, RFC 9325, FAPI 2.0 §5.2.1.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ProducesTickets, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuite, InconsistentKeys, ServerConfig, version};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::secret::{self, Digest, Secret};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What a client may choose with TLS 1.2: an ephemeral key and an authenticated cipher, nothing else. RFC 9325 §4.2. All of TLS 1.3 is of that kind.
const SUITES_1_2: [CipherSuite; 4] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// Where certificate and key are, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of the server, then those of the authorities up to, and best without, the root.
    pub cert: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1; not encrypted, and nobody else's to read.
    pub key: PathBuf,
}

/// Why a pair of files is none. No text of theirs is shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{} can be read by others; run chmod 600 on it", .0.display())]
    Mode(PathBuf),
    #[error("{} holds no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} holds no private key in PEM, or an encrypted one", .0.display())]
    NoKey(PathBuf),
    #[error("the key in {} is not that of the first certificate in {}", key.display(), cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
    #[error("{} and {} do not make a server: {error}", cert.display(), key.display())]
    Unusable { cert: PathBuf, key: PathBuf, error: rustls::Error },
}

/// What the two files hold at one moment.
struct Contents {
    cert: Vec<u8>,
    key: Secret<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &Path| fs::read(path).map_err(|error| TlsError::Io { path: path.to_owned(), error });
        let (cert, key) = (read(&files.cert)?, Secret::new(read(&files.key)?));
        let file = fs::metadata(&files.key).map_err(|error| TlsError::Io { path: files.key.clone(), error })?;
        if secret::is_exposed(&file) {
            return Err(TlsError::Mode(files.key.clone()));
        }
        Ok(Self { cert, key })
    }

    fn digest(&self) -> Digest {
        Digest::of_parts(&[b"pair", &self.cert, self.key.expose()])
    }

    fn certified(&self, files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&self.cert).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| TlsError::NoCertificate(files.cert.clone()))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.expose()).map_err(|_| TlsError::NoKey(files.key.clone()))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch { cert: files.cert.clone(), key: files.key.clone() },
            error => TlsError::Unusable { cert: files.cert.clone(), key: files.key.clone(), error },
        })
    }
}

/// Looks whether what two files hold is a pair.
///
/// # Errors
/// [`TlsError`]
pub fn check(files: &TlsFiles, cert: &Secret<String>, key: &Secret<String>) -> Result<(), TlsError> {
    let contents = Contents { cert: cert.expose().clone().into_bytes(), key: Secret::new(key.expose().clone().into_bytes()) };
    contents.certified(files, &provider()).map(drop)
}

/// How a listener's certificate fares, for whoever watches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsState {
    /// How often another pair was taken into use since the start.
    pub reloads: u64,
    /// How often what was found in the files could not be used.
    pub failures: u64,
    /// Why the files could not be used when they were last looked at; the pair from before is then in use.
    pub fault: Option<String>,
}

/// TLS at a listener. Clones are the same.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
    config: ArcSwap<ServerConfig>,
    known: Mutex<Known>,
}

struct Known {
    /// What is in use.
    used: Digest,
    /// What could not be used, and whether the log has it.
    broken: Option<(Digest, bool)>,
    state: TlsState,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.0.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// # Errors
    /// [`TlsError`]: there is nothing to begin with.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let contents = Contents::read(&files)?;
        let certified = contents.certified(&files, &provider)?;
        let unusable = |error| TlsError::Unusable { cert: files.cert.clone(), key: files.key.clone(), error };
        // Keys of tickets change every six hours and are nowhere but in memory, so that what was said stays said in confidence. RFC 9325 §3.4.
        let tickets = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(unusable)?;
        let config = config(certified, &provider, &tickets).map_err(unusable)?;
        let known = Known { used: contents.digest(), broken: None, state: TlsState::default() };
        Ok(Self(Arc::new(Inner { config: ArcSwap::from_pointee(config), known: Mutex::new(known), files, provider, tickets })))
    }

    pub fn state(&self) -> TlsState {
        self.known().state.clone()
    }

    /// Takes what is in the files into use, where it is something else. Connections that are there stay as they are.
    ///
    /// # Errors
    /// [`TlsError`]; the pair from before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.look(true)
    }

    /// Looks at the files every few seconds until `stop`. What is wrong is logged once it was found twice, for two files are not written at once.
    pub async fn watch(self, stop: CancellationToken) {
        self.watch_every(LOOK_EVERY, stop).await;
    }

    async fn watch_every(self, pause: Duration, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let tls = self.clone();
            // Files may lie where reading takes its time. What is wrong was logged.
            let _told = tokio::task::spawn_blocking(move || tls.look(false)).await;
        }
    }

    /// What the next connection is accepted with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.config.load_full())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, asked: bool) -> Result<(), TlsError> {
        let found = Contents::read(&self.0.files);
        // Held throughout, so that of two who look at once the later one's pair stays.
        let mut known = self.known();
        let what = match &found {
            Ok(contents) => contents.digest(),
            Err(error) => Digest::of(error.to_string().as_bytes()),
        };
        if what == known.used {
            (known.broken, known.state.fault) = (None, None);
            return Ok(());
        }
        let made = found.and_then(|contents| {
            let certified = contents.certified(&self.0.files, &self.0.provider)?;
            let unusable = |error| TlsError::Unusable { cert: self.0.files.cert.clone(), key: self.0.files.key.clone(), error };
            config(certified, &self.0.provider, &self.0.tickets).map_err(unusable)
        });
        let cert = self.0.files.cert.display();
        match made {
            Ok(config) => {
                self.0.config.store(Arc::new(config));
                (known.used, known.broken, known.state.fault) = (what, None, None);
                known.state.reloads += 1;
                tracing::info!(%cert, "a new certificate is in use");
                Ok(())
            }
            Err(error) => {
                let before = known.broken.filter(|(broken, _)| *broken == what);
                let tell = asked || before.is_some_and(|(_, told)| !told);
                if tell {
                    tracing::error!(%cert, %error, "the certificate could not be read again; the one from before stays in use");
                }
                if before.is_none() {
                    known.state.failures += 1;
                }
                known.broken = Some((what, tell || before.is_some_and(|(_, told)| told)));
                known.state.fault = Some(error.to_string());
                Err(error)
            }
        }
    }
}

fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_some() || SUITES_1_2.contains(&suite.suite()));
    provider
}

fn config(certified: CertifiedKey, provider: &Arc<CryptoProvider>, tickets: &Arc<dyn ProducesTickets>) -> Result<ServerConfig, rustls::Error> {
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(certified));
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    // RFC 7301, RFC 9113 §3.2.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Arc::clone(tickets);
    // Early data can be sent again by others. RFC 8446 §8, RFC 9325 §3.4.
    config.max_early_data_size = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Dir(tempfile::TempDir);

    impl Dir {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn files(&self) -> TlsFiles {
            TlsFiles { cert: self.0.path().join("cert.pem"), key: self.0.path().join("key.pem") }
        }

        fn write(&self, cert: &str, key: &str) {
            fs::write(self.files().cert, cert).unwrap();
            fs::write(self.files().key, key).unwrap();
            self.mode(0o600);
        }

        fn mode(&self, mode: u32) {
            fs::set_permissions(self.files().key, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn each_thing_wrong_is_named_and_no_key_is_shown() {
        let dir = Dir::new();
        let ((cert, key), (other, _)) = (pair(), pair());
        let said = |cert: &str, key: &str, mode| {
            dir.write(cert, key);
            dir.mode(mode);
            let said = Tls::open(dir.files()).unwrap_err().to_string();
            let secret: String = key.lines().nth(1).unwrap_or("none").to_owned();
            assert!(!said.contains(&secret), "{said}");
            said
        };
        assert!(said(&cert, &key, 0o640).contains("chmod 600"));
        assert!(said(&other, &key, 0o600).contains("is not that of the first certificate"));
        assert!(said(&key, &key, 0o600).contains("no certificate"));
        assert!(said("", &key, 0o600).contains("no certificate"));
        assert!(said(&cert, &cert, 0o600).contains("no private key"));
        assert!(said(&cert, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0o600).contains("do not make a server"));
        dir.write(&cert, &key);
        Tls::open(dir.files()).unwrap();
        fs::remove_file(dir.files().cert).unwrap();
        assert!(Tls::open(dir.files()).unwrap_err().to_string().contains("cert.pem"));
    }

    #[test]
    fn only_what_rfc_9325_recommends_is_offered() {
        let suites: Vec<CipherSuite> = provider().cipher_suites.iter().map(rustls::SupportedCipherSuite::suite).collect();
        assert_eq!(suites.iter().filter(|suite| SUITES_1_2.contains(suite)).count(), 4);
        assert_eq!(suites.len(), 7, "and three of TLS 1.3: {suites:?}");
    }

    #[test]
    fn a_new_pair_is_taken_and_a_broken_one_is_not() {
        let dir = Dir::new();
        let (first, second) = (pair(), pair());
        dir.write(&first.0, &first.1);
        let tls = Tls::open(dir.files()).unwrap();
        let serving = || Arc::as_ptr(&tls.0.config.load_full());
        let before = serving();
        tls.reload().unwrap();
        assert_eq!((serving(), tls.state()), (before, TlsState::default()), "nothing changed");
        // Half of a pair: as it was.
        dir.write(&second.0, &first.1);
        assert!(matches!(tls.look(false), Err(TlsError::Mismatch { .. })));
        assert!(matches!(tls.look(false), Err(TlsError::Mismatch { .. })));
        assert_eq!(serving(), before);
        let state = tls.state();
        assert_eq!((state.reloads, state.failures), (0, 1), "the same fault is one");
        assert!(state.fault.unwrap().contains("is not that of"));
        dir.write(&second.0, &second.1);
        tls.look(false).unwrap();
        assert_ne!(serving(), before);
        assert_eq!(tls.state(), TlsState { reloads: 1, failures: 1, fault: None });
        dir.mode(0o644);
        assert!(matches!(tls.reload(), Err(TlsError::Mode(_))), "a key that others can read is not taken, although it is the same");
        dir.mode(0o600);
        tls.reload().unwrap();
        assert_eq!(tls.state().fault, None);
    }

    #[tokio::test]
    async fn the_files_are_looked_at_by_themselves() {
        let dir = Dir::new();
        let (first, second) = (pair(), pair());
        dir.write(&first.0, &first.1);
        let tls = Tls::open(dir.files()).unwrap();
        let stop = CancellationToken::new();
        let watching = tokio::spawn(tls.clone().watch_every(Duration::from_millis(1), stop.clone()));
        dir.write(&second.0, &second.1);
        while tls.state().reloads == 0 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        watching.await.unwrap();
    }
}
