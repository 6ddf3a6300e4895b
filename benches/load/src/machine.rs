//! What the operating system says about processes and cores. Linux.

use std::fs;

/// Ticks a second of `/proc/PID/stat`: fixed for programs on Linux, whatever the kernel uses.
const TICKS: f64 = 100.0;

/// Seconds of processor time so far.
#[derive(Clone, Copy, Default)]
pub struct Spent {
    pub server: f64,
    pub own: f64,
    pub machine: f64,
}

impl Spent {
    pub fn now(server: u32) -> Self {
        Self { server: of_process(&server.to_string()), own: of_process("self"), machine: of_machine() }
    }

    pub fn since(self, before: Self) -> Self {
        Self { server: self.server - before.server, own: self.own - before.own, machine: self.machine - before.machine }
    }
}

fn of_process(pid: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields behind it.
    let fields: Vec<&str> = text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    fields.get(11..13).unwrap_or_default().iter().filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// All cores together, without idling and waiting for a disk.
fn of_machine() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let fields = first.split_whitespace().skip(1).take(8).filter_map(|ticks| ticks.parse::<f64>().ok()).enumerate();
    fields.filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks)| ticks).sum::<f64>() / TICKS
}

/// Nanoseconds this thread has run.
pub fn thread_nanos() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

/// `VmRSS` or `VmHWM` of a process, in MiB.
pub fn memory_mib(pid: u32, which: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(which)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Processor, cores, and how busy the machine is by others.
pub fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map_or("unknown", |(_, name)| name.trim());
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// The load average of the last minute.
pub fn load() -> f64 {
    fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}
