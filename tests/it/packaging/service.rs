//! The binary as a service manager sees it: it says when it is ready, answers `helsebro health`, and says that it stops.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::helsebro;
use crate::crash::Held;

/// Long enough for a slow machine; nothing takes so long where all is well.
const PATIENCE: Duration = Duration::from_secs(120);

const SECRET: &str = "K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=";

/// A client that knows no proxy and follows no redirect.
pub fn client() -> reqwest::Client {
    // Whoever was first installed the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap()
}

/// Ports that were free, all different.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

#[test]
fn it_says_when_it_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let [public, ops] = free_ports();
    let config = folder.path().join("helsebro.toml");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:{public}\"\nops_listen = \"127.0.0.1:{ops}\"\n[[issuer]]\nurl = \"http://127.0.0.1:{public}\"\n\
         [[issuer.fhir]]\nbase = \"http://127.0.0.1:{public}/fhir\"\n[[client]]\npreset = \"epj\"\nclient_secret = \"{SECRET}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let silent = helsebro(&["health", "--config", config]);
    assert_eq!(silent.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&silent.stderr).contains("does not answer"));

    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_helsebro"));
    command.args(["serve", "--config", config]).env("NOTIFY_SOCKET", &socket).stdin(Stdio::null()).stderr(Stdio::null());
    let mut server = Held(command.spawn().unwrap());
    assert_eq!(heard(), "READY=1");
    for args in [&["health", "--config", config][..], &["health", "--config", config, "--live"], &["health", "--url", &format!("http://127.0.0.1:{ops}/ready")]]
    {
        let well = helsebro(args);
        assert!(well.status.success(), "{args:?}: {}", String::from_utf8_lossy(&well.stderr));
    }
    let nothing = helsebro(&["health", "--url", &format!("http://127.0.0.1:{public}/nothing")]);
    assert!(!nothing.status.success() && String::from_utf8_lossy(&nothing.stderr).contains("404"));
    Command::new("kill").args(["-TERM", &server.0.id().to_string()]).status().unwrap();
    assert_eq!(heard(), "STOPPING=1");
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn what_is_wrong_is_told_line_by_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ready", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 2048];
        let _read = stream.read(&mut head).unwrap();
        let body =
            r#"{"status":"not_ready","problems":[{"issuer":"https://a.example","part":"store","problem":"no answer"},{"part":"audit","problem":"full"}]}"#;
        write!(
            stream,
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
    });
    let unwell = helsebro(&["health", "--url", &url]);
    server.join().unwrap();
    assert_eq!(unwell.status.code(), Some(1));
    let told = String::from_utf8(unwell.stderr).unwrap();
    assert!(told.ends_with("answers 503 Service Unavailable\n  https://a.example: store: no answer\n  audit: full\n"), "{told}");
}
