//! One event as one JSON object on one line: `timestamp`, `level`, the event's own fields, `target`.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::time::since_epoch;

/// The format for collectors. Written for the one line that every request has.
pub struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        out.write_str("{\"timestamp\":\"")?;
        write_now(&mut out)?;
        out.write_str("\",\"level\":\"")?;
        out.write_str(event.metadata().level().as_str())?;
        out.write_char('"')?;
        let mut fields = Fields { out, result: Ok(()) };
        event.record(&mut fields);
        let Fields { mut out, result } = fields;
        result?;
        out.write_str(",\"target\":")?;
        write_text(&mut out, event.metadata().target())?;
        out.write_str("}\n")
    }
}

struct Fields<'w> {
    out: Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.name(field).and_then(|()| value(&mut self.out));
        }
    }

    fn name(&mut self, field: &Field) -> fmt::Result {
        self.out.write_char(',')?;
        write_text(&mut self.out, field.name())?;
        self.out.write_char(':')
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |out| write_text(out, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, |out| write!(out, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // What is no number has no JSON.
        self.put(field, |out| if value.is_finite() { write!(out, "{value}") } else { out.write_str("null") });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, |out| {
            out.write_char('"')?;
            write!(Escaped(out), "{value:?}")?;
            out.write_char('"')
        });
    }
}

fn write_text(out: &mut Writer<'_>, text: &str) -> fmt::Result {
    out.write_char('"')?;
    Escaped(out).write_str(text)?;
    out.write_char('"')
}

/// The inside of a JSON string. RFC 8259 §7.
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
            let (plain, behind) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut behind = behind.chars();
            match behind.next() {
                Some(quoted @ ('"' | '\\')) => {
                    self.0.write_char('\\')?;
                    self.0.write_char(quoted)?;
                }
                Some('\n') => self.0.write_str("\\n")?,
                Some(control) => write!(self.0, "\\u{:04x}", u32::from(control))?,
                None => {}
            }
            rest = behind.as_str();
        }
        self.0.write_str(rest)
    }
}

thread_local! {
    /// A second, and how it is written up to its fraction.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// RFC 3339 with microseconds, UTC.
fn write_now(out: &mut Writer<'_>) -> fmt::Result {
    let now = since_epoch();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.as_secs() {
            *second = now.as_secs();
            *text = i64::try_from(*second).ok().and_then(|second| Timestamp::from_second(second).ok()).map_or_else(String::new, |at| at.to_string());
        }
        out.write_str(text.trim_end_matches('Z'))
    })?;
    write!(out, ".{:06}Z", now.subsec_micros())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The same lines as ours and as the library's own format, without their times.
    fn both(log: impl Fn()) -> [Vec<Value>; 2] {
        let lines = |kept: Kept| -> Vec<Value> {
            let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            let read = |line: &str| -> Value {
                let mut line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                let time = line.as_object_mut().unwrap().shift_remove("timestamp").unwrap();
                assert!(time.as_str().unwrap().parse::<Timestamp>().is_ok(), "{time}");
                line
            };
            text.lines().map(read).collect()
        };
        let (ours, theirs) = (Kept::default(), Kept::default());
        let (to_ours, to_theirs) = (ours.clone(), theirs.clone());
        let layer = tracing_subscriber::fmt::layer().event_format(Json).with_writer(move || to_ours.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), &log);
        let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(move || to_theirs.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), &log);
        [lines(ours), lines(theirs)]
    }

    #[test]
    fn it_says_what_the_librarys_own_format_says() {
        let none: Option<&str> = None;
        let [ours, theirs] = both(|| {
            tracing::info!(target: "helsebro::access", method = %"GET", route = "/token", status = 200, micros = 12_u64, client = Some("a"), error = none);
            tracing::warn!(what = ?"quote \" and \\", odd = "line\nbreak\ttab \u{1} æ", share = 0.5, yes = true, minus = -3, "a message with {}", "a part");
        });
        assert_eq!(ours, theirs);
        assert_eq!(
            ours[0],
            json!({ "level": "INFO", "method": "GET", "route": "/token", "status": 200, "micros": 12, "client": "a", "target": "helsebro::access" })
        );
        let members: Vec<&String> = ours[0].as_object().unwrap().keys().collect();
        assert_eq!(members, ["level", "method", "route", "status", "micros", "client", "target"]);
    }
}
