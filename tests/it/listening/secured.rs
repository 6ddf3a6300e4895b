//! TLS, HTTP/2 and socket files, from outside.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use helsebro::app::server::Listeners;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Place, parsed, text};
use crate::world::Reply;

const DISCOVERY: &str = "/.well-known/openid-configuration";

/// A certificate for `localhost`, written with its key; in PEM.
fn write_pair(dir: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    write(dir, &made.cert.pem(), &made.signing_key.serialize_pem());
    made.cert.pem()
}

fn write(dir: &Path, cert: &str, key: &str) {
    std::fs::write(dir.join("cert.pem"), cert).unwrap();
    std::fs::write(dir.join("key.pem"), key).unwrap();
    std::fs::set_permissions(dir.join("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// With TLS at `https://localhost:PORT`, and its certificate.
async fn secured() -> (Place, String, String) {
    let data = tempfile::tempdir().unwrap();
    let cert = write_pair(data.path());
    let tls = "[server.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n[http]\nhandshake_timeout = \"1s\"";
    let place = Place::start(data, |at, _| text(&format!("https://localhost:{}", at.port()), tls, "", "")).await;
    let issuer = format!("https://localhost:{}", place.public.unwrap().port());
    (place, issuer, cert)
}

/// A client that trusts one certificate.
fn trusting(cert: &str) -> reqwest::Client {
    let cert = reqwest::Certificate::from_pem(cert.as_bytes()).unwrap();
    reqwest::Client::builder().tls_certs_only([cert]).no_proxy().build().unwrap()
}

async fn connect(place: &Place, cert: &str, alpn: &[&[u8]]) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let tcp = TcpStream::connect(place.public.unwrap()).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
}

#[tokio::test]
async fn https_is_spoken_and_nothing_in_the_clear() {
    let (place, issuer, cert) = secured().await;
    let reply = Reply::of(trusting(&cert).get(format!("{issuer}{DISCOVERY}")).send().await.unwrap()).await.is(200);
    assert_eq!(reply.json()["issuer"], issuer.as_str());
    assert_eq!(reply.header("strict-transport-security"), Some("max-age=31536000"));
    assert!(trusting(&cert).get(place.at(DISCOVERY)).send().await.is_err(), "http");
    // RFC 7301: who chooses nothing speaks HTTP/1.1.
    for (alpn, chosen) in [(&[b"h2".as_slice(), b"http/1.1"][..], Some(b"h2".as_slice())), (&[b"http/1.1"], Some(b"http/1.1")), (&[], None)] {
        assert_eq!(connect(&place, &cert, alpn).await.get_ref().1.alpn_protocol(), chosen);
    }
    place.running.stop().await;
}

#[tokio::test]
async fn a_hundred_and_fifty_requests_share_one_connection_of_http2() {
    let (place, issuer, cert) = secured().await;
    let stream = connect(&place, &cert, &[b"h2"]).await;
    let (send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connected = tokio::spawn(connection);
    let answers = join_all((0..150).map(|_| {
        let mut send = send.clone();
        let request = http::Request::get(format!("{issuer}{DISCOVERY}")).body(Empty::<Bytes>::new()).unwrap();
        async move {
            let response = send.send_request(request).await.unwrap();
            let status = response.status().as_u16();
            (status, response.into_body().collect().await.unwrap().to_bytes())
        }
    }))
    .await;
    assert!(answers.iter().all(|(status, body)| *status == 200 && body.len() > 100));
    // Stopping says GOAWAY and ends the connection in good order.
    place.running.stop().await;
    drop(send);
    connected.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_a_broken_one_for_none() {
    let (place, issuer, first) = secured().await;
    let get = async |client: &reqwest::Client| client.get(format!("{issuer}{DISCOVERY}")).send().await.map(|response| response.status().as_u16()).ok();
    let kept = trusting(&first);
    assert_eq!(get(&kept).await, Some(200));
    let second = write_pair(place.data.path());
    place.running.tls[0].reload().unwrap();
    assert_eq!(get(&trusting(&second)).await, Some(200));
    assert_eq!(get(&trusting(&first)).await, None, "the old one is shown to nobody new");
    assert_eq!(get(&kept).await, Some(200), "who is connected stays so");
    // Somebody else's key, and then half a file.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    write(place.data.path(), &other.cert.pem(), "");
    assert!(place.running.tls[0].reload().is_err());
    let state = place.running.tls[0].state();
    assert_eq!((state.reloads, state.failures), (1, 1));
    assert!(state.fault.unwrap().contains("holds no private key"));
    let ready = async || super::client().get(format!("http://{}/ready", place.ops.unwrap())).send().await.unwrap().json::<serde_json::Value>().await.unwrap();
    let told = ready().await;
    assert_eq!((&told["status"], &told["warnings"][0]["part"]), (&"ready".into(), &"tls".into()), "{told}");
    assert!(!told.to_string().contains("key.pem"), "{told}");
    assert_eq!(get(&trusting(&second)).await, Some(200));
    place.running.stop().await;
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_is_cut() {
    let (place, issuer, cert) = secured().await;
    let mut silent = TcpStream::connect(place.public.unwrap()).await.unwrap();
    // The beginning of a record, and nothing more.
    silent.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    let mut rest = Vec::new();
    let _reset = silent.read_to_end(&mut rest).await;
    assert_eq!(rest, b"");
    assert_eq!(trusting(&cert).get(format!("{issuer}{DISCOVERY}")).send().await.unwrap().status(), 200);
    place.running.stop().await;
}

/// What is not ours says so too; where it is installed.
#[tokio::test]
async fn foreign_clients_connect() {
    let (place, issuer, _) = secured().await;
    let (ca, port) = (place.data.path().join("cert.pem"), place.public.unwrap().port());
    let run = async |program: &'static str, args: Vec<String>| -> Option<(bool, String)> {
        let done = tokio::task::spawn_blocking(move || Command::new(program).args(args).stdin(std::process::Stdio::null()).output()).await.unwrap();
        done.ok().map(|done| (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)))
    };
    let curl = |more: &[&str]| -> Vec<String> {
        let all = ["-sS", "--noproxy", "*", "--resolve", &format!("localhost:{port}:127.0.0.1"), "--cacert", &ca.display().to_string()].map(str::to_owned);
        all.into_iter().chain(more.iter().map(|arg| (*arg).to_owned())).chain([format!("{issuer}{DISCOVERY}")]).collect()
    };
    if let Some((_, version)) = run("curl", vec!["--version".to_owned()]).await {
        let (done, said) = run("curl", curl(&["--http1.1", "-w", " %{http_version}"])).await.unwrap();
        assert!(done && said.contains("\"issuer\"") && said.ends_with(" 1.1"), "{said}");
        if version.contains("HTTP2") {
            let (done, said) = run("curl", curl(&["--http2", "-w", " %{http_version}"])).await.unwrap();
            assert!(done && said.ends_with(" 2"), "{said}");
        }
        let (done, said) = run("curl", curl(&["--tlsv1.2", "--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"])).await.unwrap();
        assert!(done, "{said}");
        let (done, _) = run("curl", curl(&["--tlsv1.2", "--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"])).await.unwrap();
        assert!(!done, "RFC 9325 §4.2");
    }
    let old = ["s_client", "-connect", &format!("127.0.0.1:{port}"), "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"].map(str::to_owned).to_vec();
    if let Some((_, said)) = run("openssl", old).await {
        assert!(!said.contains("BEGIN CERTIFICATE"), "RFC 9325 §3.1.1: {said}");
    }
    place.running.stop().await;
}

#[tokio::test]
async fn a_socket_file_is_a_listener_like_another() {
    let data = tempfile::tempdir().unwrap();
    let server = "listen = \"unix:public.sock\"\nops_listen = \"unix:ops.sock\"\nsocket_mode = \"0600\"\ntrusted_proxies = [\"unix\"]";
    let text = text("http://localhost:9400", server, "", "");
    let listeners = Listeners::of(&parsed(data.path(), &text)).await.unwrap();
    let place = Place::on(data, listeners, &text).await;
    let socket = place.data.path().join("public.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(place.running.public.to_string(), format!("unix:{}", socket.display()));
    let through = |path: &Path| reqwest::Client::builder().unix_socket(path.to_owned()).build().unwrap();
    let reply = through(&socket).get(format!("http://localhost:9400{DISCOVERY}")).header("x-forwarded-for", "192.0.2.1").send().await.unwrap();
    Reply::of(reply).await.is(200);
    let health = through(&place.data.path().join("ops.sock")).get("http://localhost/health").send().await.unwrap();
    Reply::of(health).await.is(200);
    let Err(taken) = Listeners::of(&parsed(place.data.path(), &text)).await else { panic!("two servers at one file") };
    assert!(taken.to_string().contains("public.sock"), "{taken}");
    place.running.stop().await;
    assert!(!socket.exists(), "it goes with the server");
}

/// Frames by hand. RFC 9113 §4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn who_asks_and_takes_it_back_over_and_over_is_sent_away() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::start(data, |at, _| text(&format!("http://{at}"), "h2c = true", "", "")).await;
    let mut stream = TcpStream::connect(place.public.unwrap()).await.unwrap();
    let host = place.public.unwrap().to_string();
    // :method GET, :scheme http, :path /, and :authority as it is. RFC 7541 appendix A.
    let head = [&[0x82, 0x86, 0x84, 0x41, u8::try_from(host.len()).unwrap()], host.as_bytes()].concat();
    let mut flood = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat();
    for number in 0..2000 {
        let id = 2 * number + 1;
        flood.extend(frame(1, 0x5, id, &head));
        flood.extend(frame(3, 0, id, &8u32.to_be_bytes()));
    }
    let _closed = stream.write_all(&flood).await;
    let mut said = Vec::new();
    let _reset = stream.read_to_end(&mut said).await;
    // GOAWAY with ENHANCE_YOUR_CALM, where the reset did not take it away.
    let goaway = said.windows(9).position(|bytes| bytes[3] == 7 && bytes[4] == 0 && bytes[5..9] == [0; 4]);
    if let Some(at) = goaway.filter(|at| said.len() >= at + 17) {
        assert_eq!(said[at + 13..at + 17], 11u32.to_be_bytes(), "RFC 9113 §7");
    }
    // It ended by itself, and others are served, in either version.
    let reply = super::client().get(place.at(DISCOVERY)).send().await.unwrap();
    Reply::of(reply).await.is(200);
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(TcpStream::connect(place.public.unwrap()).await.unwrap())).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(place.at(DISCOVERY)).body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(send.send_request(request).await.unwrap().status(), 200);
    let request = http::Request::get(place.at(DISCOVERY)).header("host", "other.example").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(send.send_request(request).await.unwrap().status(), 400, "RFC 9113 §8.3.1");
    let mut many = http::Request::get(place.at(DISCOVERY));
    for number in 0..101 {
        many = many.header(format!("x-{number}"), "1");
    }
    assert_eq!(send.send_request(many.body(Empty::<Bytes>::new()).unwrap()).await.unwrap().status(), 431);
    place.running.stop().await;
}

#[tokio::test]
async fn what_waits_for_a_window_that_never_opens_is_cut() {
    let data = tempfile::tempdir().unwrap();
    let limits = "h2c = true\n[http]\nwrite_timeout = \"1s\"";
    let place = Place::start(data, |at, _| text(&format!("http://{at}"), limits, "", "")).await;
    let mut stream = TcpStream::connect(place.public.unwrap()).await.unwrap();
    let host = place.public.unwrap().to_string();
    let head = [&[0x82, 0x86, 0x44, u8::try_from(DISCOVERY.len()).unwrap()], DISCOVERY.as_bytes(), &[0x41, u8::try_from(host.len()).unwrap()], host.as_bytes()]
        .concat();
    // SETTINGS_INITIAL_WINDOW_SIZE = 0. RFC 9113 §6.5.2.
    let asks = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]), frame(1, 0x5, 1, &head)].concat();
    stream.write_all(&asks).await.unwrap();
    let mut said = Vec::new();
    let _reset = stream.read_to_end(&mut said).await;
    assert!(!said.windows(8).any(|bytes| bytes == b"\"issuer\""), "nothing of the answer could be sent");
    place.running.stop().await;
}
