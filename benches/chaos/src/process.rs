//! Processes that end when this one does, however it does, and that can be killed and paused meanwhile.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Failed;

/// Its keeper waits for our end of a pipe. A file that may not grow is an error to the process and not its end.
const SCRIPT: &str = r#"trap "" XFSZ; "$@" >/dev/null & pid=$!; echo $pid; cat >/dev/null; kill -9 $pid 2>/dev/null"#;

pub struct Process {
    keeper: Child,
    pub pid: u32,
}

impl Process {
    /// `log`: where what it says on either stream goes, by ways that no limit on its files touches.
    pub fn start(program: &Path, arguments: &[String], log: &Path) -> Result<Self, Failed> {
        let mut keeper = Command::new("sh")
            .args(["-c", SCRIPT, "keeper"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (Some(out), Some(mut err)) = (keeper.stdout.take(), keeper.stderr.take()) else { return Err("no pipes".into()) };
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let pid = line.trim().parse().map_err(|_| "the keeper did not say whom it keeps")?;
        let mut file = File::options().create(true).append(true).open(log)?;
        std::thread::spawn(move || std::io::copy(&mut err, &mut file));
        Ok(Self { keeper, pid })
    }

    pub fn signal(&self, signal: &str) {
        // It may have ended already.
        let _ended = Command::new("kill").args([signal, &self.pid.to_string()]).stderr(Stdio::null()).status();
    }

    pub fn is_there(&self) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    }

    /// The most its files may grow to, in bytes, or nothing said. False where it cannot be said here.
    pub fn limit_files(&self, bytes: Option<u64>) -> bool {
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        // The hard limit stays, or it could not be taken back.
        let soft = format!("--fsize={limit}:");
        Command::new("prlimit").args(["--pid", &self.pid.to_string(), &soft]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal("-KILL");
        drop(self.keeper.stdin.take());
        let _reaped = self.keeper.wait();
    }
}
