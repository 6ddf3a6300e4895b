//! Interpreters and packages for the foreign clients in `tests/foreign`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::{Installer, find, major, run};

/// What the packages ask for: `WebCrypto` as a global.
const NODE_AT_LEAST: u32 = 20;

/// Node itself, not yet the packages.
///
/// # Errors
/// Why there is none, in one line.
pub fn node(installer: &mut Installer) -> Result<PathBuf, String> {
    if find("node").is_none() || find("npm").is_none() {
        if installer.candidate("nodejs").and_then(|version| major(&version)).is_some_and(|version| version < NODE_AT_LEAST) {
            return Err(format!("node or npm not found, and what apt-get offers is older than Node {NODE_AT_LEAST}"));
        }
        installer.install(&["nodejs", "npm"]).map_err(|why| format!("node or npm not found: {why}"))?;
    }
    let node = find("node").ok_or("node not found after it was installed")?;
    let version = run(Command::new(&node).arg("--version"))?;
    if major(&version).is_none_or(|version| version < NODE_AT_LEAST) {
        return Err(format!("{} is {}, and {NODE_AT_LEAST} or newer is needed", node.display(), version.trim()));
    }
    Ok(node)
}

/// Fetches exactly what the lock file of the folder says, unless that was done since it was written.
///
/// # Errors
/// What npm answered, in one line.
pub fn npm_ci(folder: &Path) -> Result<(), String> {
    let written = |path: PathBuf| path.metadata().and_then(|found| found.modified()).ok();
    let (lock, installed) = (written(folder.join("package-lock.json")), written(folder.join("node_modules/.package-lock.json")));
    if installed.is_some() && installed >= lock {
        return Ok(());
    }
    println!("   npm ci in {}", folder.display());
    let options = [
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--fetch-retries=2",
        "--fetch-retry-mintimeout=2000",
        "--fetch-retry-maxtimeout=10000",
        "--fetch-timeout=60000",
    ];
    run(Command::new("npm").args(options).current_dir(folder)).map(drop).map_err(|why| format!("npm ci in {}: {why}", folder.display()))
}

/// The interpreter of a virtual environment with exactly the packages of `requirements.txt` in the folder.
///
/// # Errors
/// Why there is none, in one line.
pub fn python(installer: &mut Installer, folder: &Path, venv: &Path) -> Result<PathBuf, String> {
    let wanted = fs::read(folder.join("requirements.txt")).map_err(|error| format!("{}/requirements.txt: {error}", folder.display()))?;
    let (interpreter, stamp) = (venv.join("bin/python"), venv.join("requirements.txt"));
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) && run(Command::new(&interpreter).arg("--version")).is_ok() {
        return Ok(interpreter);
    }
    // Debian splits ensurepip from venv.
    let complete = || run(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_ok();
    if !complete() {
        installer.install(&["python3", "python3-venv"]).map_err(|why| format!("python3 with venv not found: {why}"))?;
    }
    println!("   pip install in {}", venv.display());
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv)).map_err(|why| format!("python3 -m venv: {why}"))?;
    let options = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--timeout=60", "--retries=2", "--requirement"];
    run(Command::new(&interpreter).args(options).arg(folder.join("requirements.txt"))).map_err(|why| format!("pip install: {why}"))?;
    fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(interpreter)
}

/// The server itself; tests start it.
///
/// # Errors
/// Why there is none, in one line.
pub fn redis(installer: &mut Installer) -> Result<PathBuf, String> {
    if let Some(found) = find("redis-server") {
        return Ok(found);
    }
    installer.install(&["redis-server"]).map_err(|why| format!("redis-server not found: {why}"))?;
    find("redis-server").ok_or_else(|| "redis-server not found after it was installed".to_owned())
}

/// What looks at units, without systemd having to run.
///
/// # Errors
/// Why there is none, in one line.
pub fn systemd(installer: &mut Installer) -> Result<PathBuf, String> {
    if let Some(found) = find("systemd-analyze") {
        return Ok(found);
    }
    installer.install(&["systemd"]).map_err(|why| format!("systemd-analyze not found: {why}"))?;
    find("systemd-analyze").ok_or_else(|| "systemd-analyze not found after it was installed".to_owned())
}

/// Chromium itself.
///
/// # Errors
/// Why there is none, in one line.
pub fn chromium(installer: &mut Installer) -> Result<PathBuf, String> {
    let known = || ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(find);
    if let Some(found) = known() {
        return Ok(found);
    }
    installer.install(&["chromium"]).map_err(|why| format!("chromium not found: {why}"))?;
    known().ok_or_else(|| "chromium not found after it was installed".to_owned())
}
