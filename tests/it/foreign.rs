//! Clients that know nothing of us, each in its own language, against a demo of its own: npm openid-client and fhirclient, PyPI authlib, and
//! NAV's app as it behaves on the wire. What they check stands in `tests/foreign`; `cargo xtask test` fetches what they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use helsebro::app::demo::{Demo, DemoOptions, start};
use tempfile::TempDir;

/// A client whose secret has every character that the two readings of Basic see differently. RFC 6749 §2.3.1, NAV §8 row 3.
const ODD: [&str; 3] = ["syk-inn-odd", "a+b%41:c d/=&?K7gNU3sdo+OL0wNhqoVWhr3g6s1x", "http://127.0.0.1:1/odd/callback"];

/// A demo on free ports, and the file that says where.
struct Stage {
    folder: TempDir,
    demo: Demo,
}

impl Stage {
    async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clients = folder.path().join("clients.toml");
        let [id, secret, callback] = ODD;
        let launch = callback.replace("callback", "launch");
        let odd = format!(
            "[[client]]\npreset = \"nav-syk-inn-dev\"\nclient_id = {id:?}\nclient_secret = {secret:?}\nredirect_uris = [{callback:?}]\nlaunch_urls = [{launch:?}]\n"
        );
        fs::write(&clients, odd).unwrap();
        let options =
            DemoOptions { port_base: 0, data: folder.path().join("data"), fresh: false, json: Some(folder.path().join("facts.json")), clients: Some(clients) };
        let demo = start(&options).await.unwrap();
        Self { folder, demo }
    }

    /// Runs the script to its end while the demo answers it, and returns what it printed.
    async fn play(self, interpreter: PathBuf, script: &str, more: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(script);
        let mut command = Command::new(interpreter);
        command.arg(&script).arg(self.folder.path().join("facts.json")).args(more).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(script.parent().unwrap());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        self.demo.stop().await;
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{printed}");
        printed
    }
}

/// The interpreter named by the environment, else nothing, and said so.
#[expect(clippy::disallowed_methods, reason = "which interpreters there are is the machine's business, not a setting of the server")]
fn interpreter(variable: &str) -> Option<PathBuf> {
    let named = std::env::var(variable).ok().map(PathBuf::from);
    if named.is_none() {
        eprintln!("not run: {variable} names no interpreter");
    }
    named
}

/// Tests on Node: `cargo xtask test` leaves out the whole module where there is none.
mod node {
    use super::{ODD, Stage, interpreter};

    /// Runs a script on Node's test runner; at least `least` of its tests must have passed.
    async fn play(script: &str, more: &[&str], least: usize) {
        let Some(node) = interpreter("HELSEBRO_TEST_NODE") else { return };
        let printed = Stage::set().await.play(node, script, more).await;
        for loud in printed.lines().filter(|line| line.starts_with("NOT TESTED")) {
            eprintln!("{loud}");
        }
        let count = |name: &str| printed.lines().find_map(|line| line.strip_prefix(&format!("# {name} "))?.parse::<usize>().ok());
        assert_eq!(count("fail"), Some(0), "{printed}");
        assert!(count("pass").is_some_and(|passed| passed >= least), "{printed}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn openid_client_launches_refreshes_introspects_and_revokes() {
        play("node/openid.mjs", &[], 11).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn fhirclient_launches_both_ways_and_reads() {
        play("node/fhirclient.mjs", &[], 8).await;
    }

    /// NAV §8, rows 1 to 12 and 20.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_sykmelding_app_finds_what_it_needs() {
        play("node/nav.mjs", &ODD, 21).await;
    }
}

/// Tests on Python, left out in the same way.
mod python {
    use super::{Stage, interpreter};

    #[tokio::test(flavor = "multi_thread")]
    async fn authlib_launches_rotates_and_works_as_a_backend() {
        let Some(python) = interpreter("HELSEBRO_TEST_PYTHON") else { return };
        let printed = Stage::set().await.play(python, "python/authlib_client.py", &[]).await;
        assert!(printed.contains("Ran 8 tests") && printed.trim_end().ends_with("OK"), "{printed}");
    }
}
