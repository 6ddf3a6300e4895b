//! What `packaging` ships, as far as it can be held to the program without a cluster: its configurations are good, its paths and ports are the program's,
//! its sandbox is as tight as it was. What linters say of it: `foreign::python`.

mod compose;
mod service;

pub use service::{client, free_ports};

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use helsebro::app::fhir_config;
use helsebro::config::{self, Config, Environment, SecretFile, Text};
use helsebro::jose::{Alg, SigningKey};
use helsebro::random::{Random as _, SystemRandom};
use helsebro::secret::Secret;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join("packaging").join(path)).unwrap_or_else(|error| panic!("packaging/{path}: {error}"))
}

pub fn helsebro(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_helsebro")).args(args).stdin(Stdio::null()).output().unwrap()
}

/// A machine where every secret is, and none is known to it beforehand.
struct Elsewhere;

impl Environment for Elsewhere {
    fn variable(&self, _name: &str) -> Option<Secret<String>> {
        None
    }

    fn secret_file(&self, path: &Path) -> io::Result<SecretFile> {
        assert!(path.is_absolute() && path.starts_with("/run"), "{} is no place for a secret", path.display());
        let text = match path.extension() {
            Some(_) => Secret::new(SigningKey::generate(Alg::ES384).unwrap().to_private_jwk().unwrap().to_string()),
            None if path.ends_with("seal-key") => Secret::new("K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=".to_owned()),
            None => SystemRandom.token(),
        };
        Ok(SecretFile { text, exposed: false })
    }

    fn resolve(&self, path: &str) -> PathBuf {
        Path::new("/etc/helsebro").join(path)
    }
}

/// The configuration of that file, and what is warned of.
fn checked(file: &str) -> (Config, Vec<String>) {
    let text = read(file);
    let checked = config::check(Text { file, text: &text, environment: &Elsewhere }, &[]).unwrap_or_else(|found| panic!("{found}"));
    (checked.config, checked.warnings.iter().map(ToString::to_string).collect())
}

/// The secrets a configuration names below a folder.
fn secrets(text: &str, folder: &str) -> BTreeSet<String> {
    text.split(&format!("file = \"{folder}/")).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

#[test]
fn every_configuration_that_is_shipped_is_good() {
    let mut seen = BTreeSet::new();
    for folder in ["compose", "systemd", "kubernetes"] {
        for entry in fs::read_dir(root().join("packaging").join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".toml") {
                seen.insert(format!("{folder}/{name}"));
            }
        }
    }
    let of_the_mock = "compose/fhir.toml";
    assert!(seen.remove(of_the_mock));
    fhir_config::check(of_the_mock, &read(of_the_mock), &Elsewhere, &SystemRandom).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), ["compose/helsebro.toml", "kubernetes/helsebro.toml", "systemd/helsebro.toml"]);
    for (file, warned_of) in [("compose/helsebro.toml", &["store.url", "issuer[0].url"][..]), ("kubernetes/helsebro.toml", &[]), ("systemd/helsebro.toml", &[])]
    {
        let (_, warnings) = checked(file);
        assert_eq!(warnings.len(), warned_of.len(), "{file}: {warnings:?}");
        assert!(warned_of.iter().all(|key| warnings.iter().any(|warning| warning.contains(key))), "{file}: {warnings:?}");
    }
}

/// `Key=value` lines of the unit with this key.
fn of_the_unit<'u>(unit: &'u str, key: &str) -> Vec<&'u str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_unit_and_its_configuration_mean_the_same_places() {
    let (unit, text) = (read("systemd/helsebro.service"), read("systemd/helsebro.toml"));
    let (config, _) = checked("systemd/helsebro.toml");
    let credentials: BTreeSet<String> = of_the_unit(&unit, "LoadCredential").into_iter().map(|one| one.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(credentials, secrets(&text, "/run/credentials/helsebro.service"));
    let config::Store::Embedded { path, .. } = &config.store else { panic!("one machine, one file") };
    let state = Path::new("/var/lib").join(of_the_unit(&unit, "StateDirectory")[0]);
    assert!(path.starts_with(&state) && config.audit.unwrap().dir.starts_with(&state), "everything else is read-only");
    let stop: u64 = of_the_unit(&unit, "TimeoutStopSec")[0].trim_end_matches('s').parse().unwrap();
    assert!(stop > config.server.shutdown_grace.as_secs(), "killed before its time");
    assert_eq!(of_the_unit(&unit, "Type"), ["notify"]);
    for wanted in ["DynamicUser=yes", "ProtectSystem=strict", "NoNewPrivileges=yes", "MemoryDenyWriteExecute=yes", "CapabilityBoundingSet=", "UMask=0077"] {
        assert!(unit.lines().any(|line| line == wanted), "{wanted}");
    }
}

/// Left out by `cargo xtask test` where there is no systemd.
mod systemd {
    use super::*;

    /// How much of the machine the service may reach, 0 to 10, times ten. What is left: the network, and what everybody reads.
    const EXPOSURE: &str = "12";

    #[expect(clippy::disallowed_methods, reason = "which programs there are is the machine's business, not a setting of the server")]
    fn analyze() -> Option<PathBuf> {
        let named = std::env::var("HELSEBRO_TEST_SYSTEMD").ok().map(PathBuf::from);
        if named.is_none() {
            eprintln!("not run: HELSEBRO_TEST_SYSTEMD names no systemd-analyze");
        }
        named
    }

    /// What it says of a unit, and whether it is content.
    fn said(analyze: &Path, args: &[&str], unit: &str) -> (bool, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("helsebro.service");
        // It looks whether the program is there.
        fs::write(&file, unit.replace("/usr/bin/helsebro", env!("CARGO_BIN_EXE_helsebro"))).unwrap();
        let output = Command::new(analyze).args(args).arg(&file).stdin(Stdio::null()).output().unwrap();
        (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }

    #[test]
    fn systemd_understands_the_unit_and_finds_it_as_tight_as_it_was() {
        let Some(analyze) = analyze() else { return };
        let unit = read("systemd/helsebro.service");
        let verify = |unit: &str| said(&analyze, &["verify", "--man=no"], unit);
        let (good, told) = verify(&unit);
        assert!(good && !told.contains("helsebro.service:"), "{told}");
        assert!(verify(&unit.replace("ProtectClock=yes", "ProtectClok=yes")).1.contains("ProtectClok"), "it does not look");
        let threshold = format!("--threshold={EXPOSURE}");
        let security = |unit: &str| said(&analyze, &["security", "--offline=true", "--no-pager", &threshold], unit);
        let (good, told) = security(&unit);
        assert!(good, "{told}");
        assert!(!security(&unit.replace("PrivateDevices=yes", "").replace("RestrictNamespaces=yes", "")).0, "the threshold is too far away to be one");
    }
}

/// The lines of a manifest that hold `key: `, with what follows.
fn after<'m>(manifest: &'m str, key: &str) -> Vec<&'m str> {
    manifest.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key)?.strip_prefix(": ")).collect()
}

#[test]
fn the_manifests_and_their_configuration_mean_the_same_ports_and_secrets() {
    let (deployment, text) = (read("kubernetes/deployment.yaml"), read("kubernetes/helsebro.toml"));
    let (config, _) = checked("kubernetes/helsebro.toml");
    let ports = [config.server.listen.tcp().unwrap().port().to_string(), config.server.ops_listen.tcp().unwrap().port().to_string()];
    assert_eq!(after(&deployment, "containerPort"), ports);
    assert!(
        config.server.ops_listen.tcp().unwrap().ip().is_unspecified() && config.server.listen.tcp().unwrap().ip().is_unspecified(),
        "the kubelet asks from outside the pod"
    );
    let policy = read("kubernetes/networkpolicy.yaml");
    let ingress = policy.split("\n  egress:").next().unwrap();
    assert_eq!(after(ingress, "port"), ports, "and no other port is let in");
    let service = read("kubernetes/service.yaml");
    assert_eq!(after(&service, "targetPort"), ["http"], "the operations port is no service");
    // tests/it/ops.rs asks both routes.
    assert_eq!(after(&deployment, "path"), ["/health", "/health", "/ready"]);
    let grace: u64 = after(&deployment, "terminationGracePeriodSeconds")[0].parse().unwrap();
    let pause: u64 = after(&deployment, "seconds")[0].parse().unwrap();
    assert!(grace > pause + config.server.shutdown_grace.as_secs(), "killed before its time");
    let example = read("kubernetes/secret.example.yaml");
    let kept: BTreeSet<String> = example.split("stringData:\n").nth(1).unwrap().lines().map(|line| line.trim().split(':').next().unwrap().to_owned()).collect();
    assert_eq!(kept, secrets(&text, "/run/secrets/helsebro"));
    assert!(after(&deployment, "mountPath").contains(&"/run/secrets/helsebro"));
    for wanted in ["runAsNonRoot: true", "readOnlyRootFilesystem: true", "allowPrivilegeEscalation: false", "drop: [ALL]", "replicas: 3"] {
        assert!(deployment.lines().any(|line| line.trim() == wanted), "{wanted}");
    }
    let kustomization = read("kubernetes/kustomization.yaml");
    for entry in fs::read_dir(root().join("packaging/kubernetes")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let listed = kustomization.contains(&format!("- {name}\n")) || kustomization.contains(&format!("[{name}]"));
        assert!(listed || ["kustomization.yaml", "secret.example.yaml"].contains(&name.as_str()), "{name} is not applied");
    }
}

#[test]
fn the_image_runs_without_rights_and_is_built_from_what_the_program_includes() {
    let dockerfile = read("Dockerfile");
    let runtime = dockerfile.rsplit("\nFROM ").next().unwrap();
    let user: Vec<&str> = runtime.lines().filter_map(|line| line.strip_prefix("USER ")).collect();
    assert_eq!(user, ["65532:65532"]);
    assert_eq!(after(&read("kubernetes/deployment.yaml"), "runAsUser"), ["65532"]);
    assert!(
        dockerfile.contains("cargo build --release --locked") && runtime.contains("STOPSIGNAL SIGTERM") && runtime.contains("VOLUME [\"/var/lib/helsebro\"]")
    );
    let version = env!("CARGO_PKG_RUST_VERSION");
    assert!(dockerfile.contains(&format!("FROM rust:{version}-")), "Cargo.toml asks for Rust {version}");
    // What is in the context: the paths that are named, and what is below them.
    let context = read("Dockerfile.dockerignore");
    let taken: Vec<&str> = context.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let is_taken = |path: &str| {
        taken.iter().any(|one| path == *one || path.starts_with(&format!("{one}/")) || one.strip_suffix("-*.pem").is_some_and(|start| path.starts_with(start)))
    };
    assert!(context.lines().any(|line| line == "*"), "everything else stays out");
    for path in ["Cargo.toml", "Cargo.lock", "askama.toml", "src/main.rs", "xtask/Cargo.toml", "benches/load/Cargo.toml", "templates/layout.html"] {
        assert!(is_taken(path) && root().join(path).exists(), "{path}");
    }
    assert!(!is_taken("keys/README.md") && !is_taken("target/debug/helsebro") && !is_taken(".git/config"));
    let mut folders = vec![root().join("src")];
    let mut included = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(text) = fs::read_to_string(&path) else { continue };
            for name in text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                let file = path.parent().unwrap().join(name).canonicalize().unwrap();
                let file = file.strip_prefix(root().canonicalize().unwrap()).unwrap().to_str().unwrap().to_owned();
                assert!(is_taken(&file), "{file} is included and not in the context");
                included += 1;
            }
        }
    }
    assert!(included > 8, "only {included} files are included: the search is broken");
}

#[test]
fn the_healthchecks_of_images_and_containers_are_commands_there_are() {
    for (file, least) in [("Dockerfile", 1), ("compose.yaml", 3)] {
        let mut seen = 0;
        for call in read(file).split("\"/usr/bin/helsebro\", ").skip(1).filter_map(|rest| rest.split(']').next().map(str::to_owned)) {
            let mut args: Vec<&str> = call.split(", ").map(|arg| arg.trim_matches('"')).collect();
            args.push("--help");
            assert!(helsebro(&args).status.success(), "{file}: {args:?}");
            seen += 1;
        }
        assert!(seen >= least, "{file}: {seen}");
    }
}

/// The names of commands below a help page.
fn commands(args: &[&str]) -> Vec<String> {
    let help = String::from_utf8(helsebro(&[args, &["--help"]].concat()).stdout).unwrap();
    let listed = help.split("Commands:\n").nth(1).map_or("", |rest| rest.split("\n\n").next().unwrap());
    listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn shells_complete_every_command() {
    let mut all = commands(&[]);
    assert!(all.len() >= 9, "{all:?}");
    for command in all.clone() {
        all.extend(commands(&[&command]));
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = helsebro(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        let script = String::from_utf8(output.stdout).unwrap();
        let missing: Vec<&String> = all.iter().filter(|command| !script.contains(command.as_str())).collect();
        assert!(missing.is_empty(), "{shell} knows nothing of {missing:?}");
        if shell == "bash" {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("helsebro");
            fs::write(&file, &script).unwrap();
            // Sourced, and asked as the shell would ask.
            let asked = "source \"$1\"; COMP_WORDS=(helsebro keys ro); COMP_CWORD=2; _helsebro helsebro ro keys; echo \"${COMPREPLY[@]}\"";
            let output = Command::new("bash").args(["-c", asked, "bash"]).arg(&file).output().unwrap();
            assert_eq!((String::from_utf8_lossy(&output.stdout).trim(), String::from_utf8_lossy(&output.stderr).trim()), ("rotate", ""));
        }
    }
    assert_eq!(helsebro(&["completions", "cmd"]).status.code(), Some(2));
}
