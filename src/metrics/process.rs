//! What the system and the runtime say of this process. On a system without `/proc` the former is left out.

use std::fs;

use super::facts::{self, Found};

/// `sysconf(_SC_CLK_TCK)` is 100 on every Linux there is: the kernel's `USER_HZ`.
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds them to what was found.
#[expect(clippy::cast_precision_loss, reason = "sizes and times are read to a few digits")]
pub fn look(found: &mut Found) {
    found.with(facts::BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let runtime = runtime.metrics();
        found.say(facts::TASKS, runtime.num_alive_tasks() as f64);
        found.say(facts::TASKS_WAITING, runtime.global_queue_depth() as f64);
        found.say(facts::WORKERS, runtime.num_workers() as f64);
        found.say(facts::WORKERS_BUSY, (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker).as_secs_f64()).sum());
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<f64>().ok());
    found.maybe(facts::RESIDENT, field("VmRSS:").map(|kib| kib * 1024.0));
    found.maybe(facts::THREADS, field("Threads:"));
    found.maybe(facts::FILES, fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64));
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let most = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    found.maybe(facts::MOST_FILES, most);
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is a name in brackets, which may hold anything; those after it are numbers.
    let fields: Vec<f64> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect()).unwrap_or_default();
    // proc(5): utime and stime are fields 14 and 15, starttime is 22; the first here is field 4.
    found.maybe(facts::CPU, fields.get(10).zip(fields.get(11)).map(|(user, system)| (user + system) / TICKS_PER_SECOND));
    let booted = fs::read_to_string("/proc/stat").unwrap_or_default();
    let booted = booted.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    found.maybe(facts::STARTED, booted.zip(fields.get(18)).map(|(booted, after)| booted + after / TICKS_PER_SECOND));
}
