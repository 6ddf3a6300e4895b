//! How a step is built up from what was seen, and how it is printed.

use std::io::Write;

use serde_json::Value;

use crate::demo::wire::Answer;

use super::browser::Hop;
use super::{Line, Step, WalkSummary};

/// Members that are shown as `…`, whatever they hold.
const SECRET: [&str; 6] = ["access_token", "refresh_token", "id_token", "launch", "launch_url", "start_url"];

/// A step under way: what was asked and answered, and what was expected of it.
pub struct Look {
    who: String,
    title: String,
    lines: Vec<Line>,
    missing: Vec<String>,
}

impl Look {
    pub fn new(who: &str, title: &str) -> Self {
        Self { who: who.to_owned(), title: title.to_owned(), lines: Vec::new(), missing: Vec::new() }
    }

    pub fn request(&mut self, line: impl Into<String>) {
        self.lines.push(Line::Sent(line.into()));
    }

    pub fn response(&mut self, line: impl Into<String>) {
        self.lines.push(Line::Came(line.into()));
    }

    /// What a party gets to know, or does not.
    pub fn sees(&mut self, party: &str, what: impl std::fmt::Display) {
        self.lines.push(Line::Sees(format!("{party}: {what}")));
    }

    /// The status and the JSON members that matter, in the order asked for.
    pub fn answer(&mut self, answer: &Answer, members: &[&str]) {
        let body = answer.json().unwrap_or(Value::Null);
        let shown: Vec<String> = members.iter().filter_map(|name| Some(format!("{name}={}", shown(name, body.get(*name)?)))).collect();
        self.response(format!("{} {}", answer.status, shown.join("  ")).trim_end());
    }

    /// The browser's way after one click: where it began, and where each answer sent it.
    pub fn way(&mut self, hops: &[Hop]) {
        if let Some(first) = hops.first() {
            self.request(format!("{} {}", if first.posted { "POST" } else { "GET" }, first.request));
        }
        hops.iter().for_each(|hop| self.hop(hop));
    }

    fn hop(&mut self, hop: &Hop) {
        let cookie = if hop.sets_cookie { "  Set-Cookie: …" } else { "" };
        let to = hop.to.as_ref().map(|to| format!(" → {to}")).unwrap_or_default();
        self.response(format!("{}{to}{cookie}", hop.status));
    }

    /// What must be so for the step to hold.
    pub fn expect(&mut self, held: bool, otherwise: impl Into<String>) {
        if !held {
            self.missing.push(otherwise.into());
        }
    }

    pub fn status(&mut self, answer: &Answer, expected: &[u16]) {
        self.expect(expected.contains(&answer.status), format!("the status is {}, not {}", answer.status, list(expected)));
    }

    /// RFC 6749 §5.2: the error code of a refusal.
    pub fn error(&mut self, answer: &Answer, status: &[u16], code: &str) {
        self.status(answer, status);
        let found = answer.json().and_then(|body| body.get("error").and_then(Value::as_str).map(str::to_owned));
        self.expect(found.as_deref() == Some(code), format!("the error is {}, not {code}", found.unwrap_or_else(|| "absent".into())));
    }

    fn step(self, proves: &str) -> Step {
        Step { held: self.missing.is_empty(), title: self.title, who: self.who, lines: self.lines, proves: proves.to_owned(), why_not: self.missing.join("; ") }
    }
}

fn list(statuses: &[u16]) -> String {
    statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ")
}

fn shown(name: &str, value: &Value) -> String {
    if SECRET.contains(&name) {
        return "…".to_owned();
    }
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).chars().take(200).collect()
}

/// Prints and counts.
pub struct Report<'a> {
    out: &'a mut (dyn Write + Send),
    colour: bool,
    summary: WalkSummary,
}

impl<'a> Report<'a> {
    pub fn new(out: &'a mut (dyn Write + Send), colour: bool) -> Self {
        Self { out, colour, summary: WalkSummary { held: 0, failed: 0 } }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn heading(&mut self, text: &str) {
        let text = self.paint("1;4", text);
        let _ = writeln!(self.out, "\n{text}");
    }

    /// Prints a finished step and says whether it held.
    pub fn add(&mut self, look: Look, proves: &str) -> bool {
        let step = look.step(proves);
        let number = self.summary.held + self.summary.failed + 1;
        let verdict = if step.held { self.paint("32", "held") } else { self.paint("1;31", "DID NOT HOLD") };
        let title = self.paint("1", &step.title);
        let _ = writeln!(self.out, "\n{number:>3}. {title}  [{verdict}]");
        let _ = writeln!(self.out, "     {}", self.paint("36", &step.who));
        for line in &step.lines {
            let (mark, text) = match line {
                Line::Sent(text) => ("→", text),
                Line::Came(text) => ("←", text),
                Line::Sees(text) => ("·", text),
            };
            let _ = writeln!(self.out, "     {} {text}", self.paint("2", mark));
        }
        let _ = writeln!(self.out, "     {} {}", self.paint("2", "="), step.proves);
        if step.held {
            self.summary.held += 1;
        } else {
            let _ = writeln!(self.out, "     {} {}", self.paint("1;31", "!"), step.why_not);
            self.summary.failed += 1;
        }
        let _ = self.out.flush();
        step.held
    }

    pub fn sum_up(self) -> WalkSummary {
        let WalkSummary { held, failed } = self.summary;
        let verdict = if failed == 0 { self.paint("32", "every step held") } else { self.paint("1;31", &format!("{failed} did not hold")) };
        let _ = writeln!(self.out, "\n{} steps: {verdict}.", held + failed);
        self.summary
    }
}
