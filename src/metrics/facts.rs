//! What is not counted but looked up when somebody asks: depths of queues, ages of keys, what the system says of the process.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// One thing that is looked up: its name without a unit's or a counter's ending, and what it says.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    pub name: &'static str,
    pub help: &'static str,
    /// Whether it only ever grows.
    pub counts: bool,
}

const fn gauge(name: &'static str, help: &'static str) -> Described {
    Described { name, help, counts: false }
}

const fn counter(name: &'static str, help: &'static str) -> Described {
    Described { name, help, counts: true }
}

macro_rules! facts {
    ($($constant:ident = $described:expr;)+) => {
        $(pub const $constant: Described = $described;)+
        /// All of them.
        pub const ALL: &[Described] = &[$($constant,)+];
    };
}

facts! {
    STORE_WRITES_WAITING = gauge("helsebro_store_writes_waiting", "Writes that wait for the store");
    STORE_SIZE = gauge("helsebro_store_size_bytes", "Length of the store's file");
    STORE_RECORDS = gauge("helsebro_store_records", "Records in the store's file, expired ones included until they are swept");
    AUDIT_HEAD = gauge("helsebro_audit_head_sequence", "Number of the newest record of the audit log");
    AUDIT_WAITING = gauge("helsebro_audit_records_waiting", "Records that wait for the audit log's writer");
    AUDIT_FAILING = gauge("helsebro_audit_failing", "1 where the audit log cannot be written");
    AUDIT_LOST = counter("helsebro_audit_records_lost", "Records the audit log lost since the process began");
    AUDIT_BEHIND = gauge("helsebro_audit_forward_behind_records", "Records that are not yet sent on");
    AUDIT_FORWARD_FAILING = gauge("helsebro_audit_forward_failing", "1 where the last try to send records on failed");
    LOGOUTS_WAITING = gauge("helsebro_logout_notices_waiting", "Apps that are still to be told of a logout");
    KEY_AGE = gauge("helsebro_key_age_seconds", "Since when the signing key of an algorithm signs");
    KEY_TURN = gauge("helsebro_key_next_turn_seconds", "In how long the signing key of an algorithm gives way to the next; below 0 it should have");
    KEYS_READ_AGE = gauge("helsebro_keys_read_age_seconds", "Since when the key ring was read from the store");
    UPSTREAM_CIRCUIT = gauge("helsebro_upstream_circuit", "State of the circuit to the identity provider: 0 closed, 1 half open, 2 open");
    UPSTREAM_DRIFT = gauge("helsebro_upstream_clock_ahead_seconds", "How far the identity provider's clock is ahead of ours, by its last answer");
    READY = gauge("helsebro_ready", "1 where /ready says ready");
    TASKS = gauge("helsebro_runtime_tasks", "Tasks alive in the runtime");
    TASKS_WAITING = gauge("helsebro_runtime_tasks_waiting", "Tasks in the runtime's shared queue");
    WORKERS = gauge("helsebro_runtime_workers", "Worker threads of the runtime");
    WORKERS_BUSY = counter("helsebro_runtime_busy_seconds", "Time the worker threads were busy, together");
    BUILD = gauge("helsebro_build_info", "1, with the version as a label");
    RESIDENT = gauge("process_resident_memory_bytes", "Resident memory");
    FILES = gauge("process_open_fds", "Open file descriptors");
    MOST_FILES = gauge("process_max_fds", "File descriptors the process may have");
    STARTED = gauge("process_start_time_seconds", "When the process began, in seconds since 1970");
    CPU = counter("process_cpu_seconds", "Processor time used, user and system");
    THREADS = gauge("process_threads", "Threads of the process");
}

type Labels = Vec<(&'static str, String)>;

/// What was found at one moment.
#[derive(Debug, Default)]
pub struct Found(Vec<(&'static str, Labels, f64)>);

impl Found {
    pub fn say(&mut self, what: Described, value: f64) {
        self.with(what, &[], value);
    }

    pub fn with(&mut self, what: Described, labels: &[(&'static str, &str)], value: f64) {
        self.0.push((what.name, labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), value));
    }

    /// What is not known is not said: nothing is not nought.
    pub fn maybe(&mut self, what: Described, value: Option<f64>) {
        if let Some(value) = value {
            self.say(what, value);
        }
    }
}

/// What was last found, to be printed with the rest.
#[derive(Debug, Default)]
pub struct Facts(Mutex<Found>);

impl Facts {
    pub(super) fn set(&self, found: Found) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

impl Collector for Facts {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for described in ALL {
            let mut of_it = found.0.iter().filter(|(name, ..)| *name == described.name).peekable();
            if of_it.peek().is_none() {
                continue;
            }
            let kind = if described.counts { MetricType::Counter } else { MetricType::Gauge };
            let mut metric = encoder.encode_descriptor(described.name, described.help, None, kind)?;
            let say = |series: &mut MetricEncoder<'_>, value: &f64| match described.counts {
                true => series.encode_counter::<NoLabelSet, _, f64>(value, None),
                false => series.encode_gauge(value),
            };
            for (_, labels, value) in of_it {
                if labels.is_empty() { say(&mut metric, value)? } else { say(&mut metric.encode_family(labels)?, value)? }
            }
        }
        Ok(())
    }
}
