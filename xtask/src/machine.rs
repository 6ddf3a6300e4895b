//! What this machine has, and what may be installed on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How often apt-get is tried: another process may hold its lock or be clearing its folders.
const APT_ATTEMPTS: usize = 3;

/// The program of that name, where the shell would find it.
pub fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Runs to the end without a terminal; what it printed, or the line that says best why it failed.
///
/// # Errors
/// One line for a person.
pub fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let printed = format!("{}\n{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    Err(telling_line(&printed).map_or_else(|| format!("{name} ended with {}", output.status), str::to_owned))
}

/// The first line that speaks of an error, else the first that says anything.
fn telling_line(printed: &str) -> Option<&str> {
    let mut lines = printed.lines().map(str::trim).filter(|line| !line.is_empty());
    let speaks = |line: &&str| line.to_ascii_lowercase().contains("error") || line.starts_with("E:");
    lines.clone().find(speaks).or_else(|| lines.next())
}

/// The number a version starts with: 20 for `v20.20.2`.
pub fn major(version: &str) -> Option<u32> {
    version.trim().trim_start_matches('v').split('.').next()?.parse().ok()
}

/// What is missing may be installed here, or why not.
pub struct Installer {
    refusal: Option<&'static str>,
    updated: bool,
}

impl Installer {
    pub fn new(no_install: bool) -> Self {
        let root = || run(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0");
        let refusal = if no_install {
            Some("--no-install was given")
        } else if find("apt-get").is_none() {
            Some("there is no apt-get here to install it with")
        } else if !root() {
            Some("this user may not install packages")
        } else {
            None
        };
        Self { refusal, updated: false }
    }

    /// # Errors
    /// Why nothing was installed, and what to type instead.
    pub fn install(&mut self, packages: &[&str]) -> Result<(), String> {
        let by_hand = || format!("to have it: sudo apt-get install --no-install-recommends {}", packages.join(" "));
        if let Some(refusal) = self.refusal {
            return Err(format!("{refusal}; {}", by_hand()));
        }
        println!("   installing {}", packages.join(" "));
        self.update();
        let mut answer = Ok(());
        for _ in 0..APT_ATTEMPTS {
            answer = run(apt_get().args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages)).map(drop);
            if answer.is_ok() {
                break;
            }
        }
        answer.map_err(|why| format!("apt-get answered: {why}; {}", by_hand()))
    }

    /// The version apt-get would install, if it would.
    pub fn candidate(&mut self, package: &str) -> Option<String> {
        if self.refusal.is_some() {
            return None;
        }
        self.update();
        let policy = run(Command::new("apt-cache").args(["policy", package])).ok()?;
        let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
        // A Debian version may start with an epoch: `1:20.1`.
        Some(version.rsplit(':').next().unwrap_or(version).to_owned())
    }

    fn update(&mut self) {
        if !self.updated {
            // The lists at hand may do as well; a failure shows when something is installed.
            if let Err(why) = run(apt_get().args(["update", "-qq"])) {
                println!("   apt-get update: {why}");
            }
            self.updated = true;
        }
    }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // RUNLEVEL=1 keeps Debian from starting services for what is installed.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1").args(["-o", "DPkg::Lock::Timeout=300"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_by_their_first_number() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("18.20.4+dfsg-1~deb12u1"), Some(18));
        assert_eq!(major("(none)"), None);
    }

    #[test]
    fn the_line_that_tells_most_is_found() {
        assert_eq!(telling_line("npm warn old\nnpm error code ENOTFOUND\nnpm error more"), Some("npm error code ENOTFOUND"));
        assert_eq!(telling_line("\n  something odd\nmore"), Some("something odd"));
        assert_eq!(telling_line(" \n"), None);
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-program-has-this-name"), None);
    }

    #[test]
    fn where_nothing_may_be_installed_it_says_what_to_type() {
        let mut installer = Installer::new(true);
        let why = installer.install(&["chromium"]).unwrap_err();
        assert_eq!(why, "--no-install was given; to have it: sudo apt-get install --no-install-recommends chromium");
        assert_eq!(installer.candidate("nodejs"), None);
    }
}
