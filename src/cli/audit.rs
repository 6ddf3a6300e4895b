//! `helsebro audit …`: whether a log holds, and what it says.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::show::{cell, text};
use super::{fail, print};
use crate::app::open::persons;
use crate::app::seal_key::seal_key;
use crate::audit::read::{Cursor, after};
use crate::audit::{fhir, verify};
use crate::config::{self, Config};
use crate::domain::audit::Action;
use crate::random::SystemRandom;

/// How often the end of the log is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Lines read at a time.
const PAGE: usize = 1000;

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that a log is whole and unchanged; says the first line that is not, and why
    Verify(VerifyArgs),
    /// Show the end of the log
    Tail(TailArgs),
    /// Print what stands for a person in the log, so that what was done about them can be found
    Hash(HashArgs),
    /// Print records as FHIR R4 AuditEvent resources, one a line
    Fhir(FhirArgs),
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A file of a log, or the directory of all of them
    path: PathBuf,
    /// The hash of a line that must be in it, as noted before: tells whether the end is missing
    #[arg(long, value_name = "HASH")]
    head: Option<String>,
}

#[derive(Debug, Args)]
pub struct TailArgs {
    /// The configuration of the server whose log it is
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How many records
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    lines: usize,
    /// Go on as records come
    #[arg(short, long)]
    follow: bool,
    /// As they stand in the file
    #[arg(long)]
    json: bool,
    /// Only this action, such as token or login
    #[arg(long, value_name = "ACTION", value_parser = action)]
    action: Option<Action>,
    /// Only what this client asked for, or what was about it
    #[arg(long, value_name = "CLIENT_ID")]
    client: Option<String>,
    /// Only what was about this person: a hash that `helsebro audit hash` printed
    #[arg(long, value_name = "HASH")]
    person: Option<String>,
    /// Only refusals
    #[arg(long)]
    refused: bool,
}

#[derive(Debug, Args)]
pub struct HashArgs {
    /// The configuration of the server whose log it is: its seal key is needed
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The issuer; needed only where there are several
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Where the person stands in the FHIR server: Patient/1, Practitioner/1
    person: String,
}

#[derive(Debug, Args)]
pub struct FhirArgs {
    /// A file of a log, or the directory of all of them
    path: PathBuf,
    /// Only records after this one
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
}

fn action(text: &str) -> Result<Action, String> {
    Action::parse(text).ok_or_else(|| format!("is no action; there are {}", Action::ALL.map(Action::as_str).join(", ")))
}

pub fn run(command: AuditCommand) -> ExitCode {
    match command {
        AuditCommand::Verify(args) => match verify::verify(&args.path, args.head.as_deref()) {
            Ok(found) => print(&sound(&found), true),
            Err(broken) => print(&format!("{broken}\n"), false),
        },
        AuditCommand::Tail(args) => ended(tail(&args)),
        AuditCommand::Hash(args) => match hash(&args) {
            Ok(hash) => print(&format!("{hash}\n"), true),
            Err(why) => fail(&why),
        },
        AuditCommand::Fhir(args) => ended(as_fhir(&args)),
    }
}

fn ended(work: Result<(), String>) -> ExitCode {
    match work {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}

fn sound(found: &verify::Sound) -> String {
    let verify::Sound { files, records, first, last, chain, head } = found;
    let which = if *records == 0 { String::new() } else { format!(", {first} to {last}") };
    format!("The log holds: {records} records{which}, in {files} files.\nchain  {chain}\nhead   {head}\n")
}

fn load(path: &Path) -> Result<Config, String> {
    config::load(path, &[]).map(|checked| checked.config).map_err(|found| found.to_string())
}

fn tail(args: &TailArgs) -> Result<(), String> {
    let dir = load(&args.config)?.audit.ok_or("this configuration keeps no audit log")?.dir;
    let unread = |error: io::Error| format!("the log in {} cannot be read: {error}", dir.display());
    let mut cursor = Cursor::default();
    let mut last = std::collections::VecDeque::new();
    let mut out = io::stdout().lock();
    loop {
        let lines = cursor.next(&dir, PAGE, None).map_err(unread)?;
        let end = lines.is_empty();
        for line in lines {
            let Ok(record) = serde_json::from_str::<Value>(&line) else { continue };
            if args.wants(&record) {
                last.push_back(if args.json { line } else { in_words(&record) });
            }
            if last.len() > args.lines {
                last.pop_front();
            }
        }
        if end {
            break;
        }
    }
    // Whoever stops reading early has seen enough.
    let mut say = |line: &str| writeln!(out, "{line}").and_then(|()| out.flush()).is_ok();
    if !last.iter().all(|line| say(line)) {
        return Ok(());
    }
    if !args.follow {
        return Ok(());
    }
    loop {
        let lines = cursor.next(&dir, PAGE, None).map_err(unread)?;
        if lines.is_empty() {
            std::thread::sleep(LOOK_AGAIN);
        }
        for line in lines {
            let Ok(record) = serde_json::from_str::<Value>(&line) else { continue };
            if args.wants(&record) && !say(&if args.json { line } else { in_words(&record) }) {
                return Ok(());
            }
        }
    }
}

impl TailArgs {
    fn wants(&self, record: &Value) -> bool {
        let is = |name: &str, wanted: &str| record.get(name).is_some_and(|value| value == wanted);
        record.get("seq").is_some_and(Value::is_u64)
            && self.action.is_none_or(|action| is("action", action.as_str()))
            && self.client.as_ref().is_none_or(|client| is("client", client) || is("about", client))
            && self.person.as_ref().is_none_or(|person| is("user", person) || is("patient", person))
            && (!self.refused || is("outcome", "refused"))
    }
}

/// One record as a line for people: when, what, by whom, about what, and why not.
pub fn in_words(record: &Value) -> String {
    let mut line = format!("{} {:>6} {:<15} {:<8}", cell(record, "time"), cell(record, "seq"), cell(record, "action"), cell(record, "outcome"));
    for name in ["client", "about", "way", "user", "patient", "grant", "launch", "row", "given", "count", "source"] {
        let value = cell(record, name);
        if !value.is_empty() {
            line.push_str(&format!(" {name}={}", if value.contains(' ') { format!("{value:?}") } else { value }));
        }
    }
    for name in ["actors", "keys"] {
        let values: Vec<String> = record.get(name).and_then(Value::as_array).into_iter().flatten().map(text).collect();
        if !values.is_empty() {
            line.push_str(&format!(" {name}={}", values.join(",")));
        }
    }
    if record.get("outcome").is_some_and(|value| value == "refused") {
        line.push_str(&format!(" {}: {}", cell(record, "error"), cell(record, "reason")));
    }
    line
}

fn hash(args: &HashArgs) -> Result<String, String> {
    let config = load(&args.config)?;
    let issuer = match (&args.issuer, config.issuers.as_slice()) {
        (Some(named), issuers) => issuers.iter().find(|issuer| issuer.url().as_str() == named).ok_or("no issuer of the configuration has this URL")?,
        (None, [only]) => only,
        (None, _) => return Err("there are several issuers; name one with --issuer".to_owned()),
    };
    let reference = crate::domain::audit::reference(&args.person).ok_or("a person is a reference such as Patient/1")?;
    let seal = seal_key(&config.keys, &SystemRandom).map_err(|error| error.to_string())?;
    Ok(persons(&seal).hash(issuer.url().as_str(), &reference))
}

fn as_fhir(args: &FhirArgs) -> Result<(), String> {
    let unread = |error: io::Error| format!("{} cannot be read: {error}", args.path.display());
    let lines = if args.path.is_dir() {
        after(&args.path, args.after, usize::MAX - 1).map_err(unread)?
    } else {
        std::fs::read_to_string(&args.path).map_err(unread)?.lines().map(str::to_owned).collect()
    };
    let mut out = io::stdout().lock();
    for line in lines {
        let Ok(record) = serde_json::from_str::<Value>(&line) else { continue };
        let wanted = record.get("seq").and_then(Value::as_u64).is_some_and(|seq| seq > args.after);
        if let Some(resource) = fhir::resource(&record).filter(|_| wanted)
            && writeln!(out, "{resource}").is_err()
        {
            break;
        }
    }
    Ok(())
}
