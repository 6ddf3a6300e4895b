//! `helsebro store`: what is kept, whether it holds, and moving it to another back end.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::admin::{AdminError, Found, Output, Server, Target, find, not_offline};
use super::{fail, print, show};
use crate::app::moving;
use crate::config;
use crate::random::SystemRandom;
use crate::time::SystemClock;

/// So many pieces of an export wait for the file.
const PIECES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
    /// Say which it is
    Status,
}

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Write everything that is kept into a file, for `store import`
    ///
    /// A running server must be read-only (`store read-only on`) before and stays so; where none
    /// runs, the store is opened here. Private keys and tokens in the file are sealed, as they are
    /// in the store: it is worth as much as a backup, and nothing without the seal key.
    #[command(verbatim_doc_comment)]
    Export {
        /// The file, made with mode 0600; never one that is there. - is standard output
        file: PathBuf,
        #[command(flatten)]
        target: Target,
    },
    /// Take an export into the empty store of a configuration whose server does not run
    ///
    /// The file is read whole before anything is written. An import that was interrupted goes on
    /// when it is run again; until then no server starts on that store.
    #[command(verbatim_doc_comment)]
    Import(ImportArgs),
    /// Refuse what would write, so that the store can be moved; or end that
    ReadOnly {
        #[arg(value_enum)]
        switch: Switch,
        #[command(flatten)]
        target: Target,
    },
    /// Count what is kept, by kind
    Stats {
        #[command(flatten)]
        target: Target,
    },
    /// Read every record: whether it is understood, opens, and refers to what is there
    ///
    /// Ends with 1 where something is wrong.
    #[command(verbatim_doc_comment)]
    Check {
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The export
    file: PathBuf,
    /// The configuration whose store is filled
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub async fn run(command: StoreCommand) -> ExitCode {
    let ended = match command {
        StoreCommand::Export { file, target } => export(&file, &target).await.map(|said| (said, true)),
        StoreCommand::Import(args) => import(&args).await.map(|said| (said, true)),
        StoreCommand::ReadOnly { switch, target } => read_only(switch, &target).await.map(|said| (said, true)),
        StoreCommand::Stats { target } => stats(&target).await.map(|said| (said, true)),
        StoreCommand::Check { target } => check(&target).await,
    };
    match ended {
        Ok((text, ok)) => print(&text, ok),
        Err(error) => fail(&error),
    }
}

/// A store that is opened here, since no server runs.
async fn here(config: &config::Config, at: String) -> Result<moving::Keeping, AdminError> {
    eprintln!("helsebro: no server runs at {}; working on the store itself", at.trim_start_matches("http://"));
    moving::keeping(config, SystemClock::shared(), Arc::new(SystemRandom)).await.map_err(|error| not_offline(error, at))
}

async fn stats(target: &Target) -> Result<String, AdminError> {
    let answer = match find(target).await? {
        Found::Server(server) => server.ask_long("/store/stats").await?,
        Found::Nobody { config, at } => {
            let keeping = here(&config, at).await?;
            let answer = keeping.stats().await;
            closed(&keeping).await?;
            answer?
        }
    };
    Ok(if target.output == Output::Json { show::json(&answer) } else { counted(&answer) })
}

async fn check(target: &Target) -> Result<(String, bool), AdminError> {
    let answer = match find(target).await? {
        Found::Server(server) => server.ask_long("/store/check").await?,
        Found::Nobody { config, at } => {
            let keeping = here(&config, at).await?;
            let report = keeping.check().await;
            closed(&keeping).await?;
            moving::report(&report?)
        }
    };
    let good = answer.get("status").and_then(Value::as_str) == Some("good");
    Ok((if target.output == Output::Json { show::json(&answer) } else { found(&answer) }, good))
}

async fn read_only(switch: Switch, target: &Target) -> Result<String, AdminError> {
    let on = match switch {
        Switch::On => Some(true),
        Switch::Off => Some(false),
        Switch::Status => None,
    };
    let answer = match (find(target).await?, on) {
        (Found::Server(server), None) => server.ask(Method::GET, "/store/read-only", None).await?,
        (Found::Server(server), Some(on)) => server.ask(Method::PUT, "/store/read-only", Some(&json!({ "read_only": on }))).await?,
        (Found::Nobody { config, at }, on) => {
            let keeping = here(&config, at).await?;
            let switched = match on {
                Some(on) => keeping.switch(on).await,
                None => Ok(()),
            };
            let is_on = keeping.store.is_on();
            closed(&keeping).await?;
            switched?;
            json!({ "read_only": is_on })
        }
    };
    if target.output == Output::Json {
        return Ok(show::json(&answer));
    }
    Ok(match answer.get("read_only") {
        Some(Value::Bool(true)) => "The store is read-only: what would write is answered 503. `helsebro store read-only off` ends that.\n".to_owned(),
        _ => "The store is written to.\n".to_owned(),
    })
}

async fn closed(keeping: &moving::Keeping) -> Result<(), AdminError> {
    Ok(keeping.close().await?)
}

/// Where an export is written: it has its name only once it is whole.
enum Sink {
    Stdout,
    File { file: File, unfinished: PathBuf, path: PathBuf },
}

impl Sink {
    fn open(path: &Path) -> Result<Self, AdminError> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let failed = |error| AdminError::File { path: path.to_owned(), error };
        if path.symlink_metadata().is_ok() {
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "is there already, and an export never takes the place of anything")));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".unfinished");
        let unfinished = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
        let file = file.map_err(|error| AdminError::File { path: unfinished.clone(), error })?;
        Ok(Self::File { file, unfinished, path: path.to_owned() })
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), AdminError> {
        match self {
            Self::Stdout => io::stdout().write_all(piece).map_err(|error| AdminError::File { path: "-".into(), error }),
            Self::File { file, unfinished, .. } => file.write_all(piece).map_err(|error| AdminError::File { path: unfinished.clone(), error }),
        }
    }

    fn finish(self) -> Result<(), AdminError> {
        let Self::File { file, unfinished, path } = self else { return Ok(()) };
        // A link, not a rename: it does not take the place of what appeared meanwhile.
        let placed = file.sync_all().and_then(|()| fs::hard_link(&unfinished, &path)).and_then(|()| fs::remove_file(&unfinished));
        placed.map_err(|error| AdminError::File { path, error })
    }

    fn give_up(self) {
        if let Self::File { unfinished, .. } = self {
            let _gone = fs::remove_file(unfinished);
        }
    }
}

async fn export(path: &Path, target: &Target) -> Result<String, AdminError> {
    let peer = find(target).await?;
    let mut sink = Sink::open(path)?;
    let written = match peer {
        Found::Server(server) => from_server(&server, &mut sink).await,
        Found::Nobody { config, at } => from_store(&config, at, &mut sink).await,
    };
    match written {
        Ok(()) => sink.finish()?,
        Err(error) => {
            sink.give_up();
            return Err(error);
        }
    }
    if path == Path::new("-") {
        return Ok(String::new());
    }
    let bytes = fs::metadata(path).map_or(0, |file| file.len());
    Ok(format!("{} has everything that is kept ({bytes} bytes). It is worth as much as a backup: keep it as one.\n", path.display()))
}

async fn from_server(server: &Server, sink: &mut Sink) -> Result<(), AdminError> {
    let mut response = server.stream("/store/export").await?;
    while let Some(piece) = response.chunk().await.map_err(|error| server.silent(&error))? {
        sink.write(&piece)?;
    }
    Ok(())
}

async fn from_store(config: &config::Config, at: String, sink: &mut Sink) -> Result<(), AdminError> {
    let keeping = here(config, at).await?;
    let (to, mut pieces) = mpsc::channel(PIECES);
    let exporting = keeping.clone();
    let export = tokio::spawn(async move { exporting.export(to).await });
    let mut written = Ok(());
    while let Some(piece) = pieces.recv().await {
        written = match piece {
            Ok(piece) => sink.write(&piece),
            Err(error) => Err(error.into()),
        };
        if written.is_err() {
            break;
        }
    }
    drop(pieces);
    let exported = export.await;
    closed(&keeping).await?;
    written?;
    match exported {
        Ok(done) => {
            let done = done?;
            eprintln!("helsebro: {} records; {} that had expired were left out", done.records, done.expired);
            Ok(())
        }
        Err(_) => Err(AdminError::Store(crate::store::StoreError::Unreachable("the export broke off".to_owned()))),
    }
}

async fn import(args: &ImportArgs) -> Result<String, AdminError> {
    let target = Target::of_config(&args.config);
    let config = match find(&target).await {
        Ok(Found::Server(server)) => return Err(AdminError::Runs(server.at().to_owned())),
        Ok(Found::Nobody { config, .. }) => config,
        Err(AdminError::Closed { at, .. }) => return Err(AdminError::Runs(at)),
        Err(other) => return Err(other),
    };
    let started = tokio::time::Instant::now();
    let mut told = 0;
    let progress = |read: u64, all: u64| {
        let seconds = started.elapsed().as_secs() / 2;
        if seconds > told {
            told = seconds;
            eprintln!("helsebro: {read} of {all} records");
        }
    };
    let done = moving::import(&config, &args.file, SystemClock::shared(), Arc::new(SystemRandom), progress).await?;
    let mut said = format!("{} records are in the store.\n", done.records + done.there);
    // Writing to a String cannot fail.
    if done.there > 0 {
        let _ = writeln!(said, "{} of them were there from a try before.", done.there);
    }
    if done.expired > 0 {
        let _ = writeln!(said, "{} that have expired since the export were left out.", done.expired);
    }
    Ok(said)
}

fn rows<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    answer.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn counted(answer: &Value) -> String {
    let one = |name: &str, label: &str| answer.get(name).filter(|value| !value.is_null()).map(|value| (label.to_owned(), vec![show::text(value)]));
    let pairs: Vec<_> = [("store", "store"), ("file_format", "file format"), ("file_bytes", "file, bytes"), ("read_only", "read-only"), ("records", "records")]
        .into_iter()
        .filter_map(|(name, label)| one(name, label))
        .chain(one("bytes", "records, bytes"))
        .collect();
    let row = |row: &Value| {
        let (first, last) = (show::time(row, "first_expiry"), show::time(row, "last_expiry"));
        vec![show::cell(row, "issuer"), show::cell(row, "kind"), show::cell(row, "records"), show::cell(row, "expired"), show::cell(row, "bytes"), first, last]
    };
    let table =
        show::table(&["ISSUER", "KIND", "RECORDS", "EXPIRED", "BYTES", "FIRST EXPIRY", "LAST EXPIRY"], &rows(answer, "kinds").map(row).collect::<Vec<_>>());
    format!("{}\n{table}", show::fields(&pairs))
}

fn found(answer: &Value) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    for row in rows(answer, "problems") {
        let place = ["issuer", "kind", "id"].map(|name| show::cell(row, name)).into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        let _ = writeln!(out, "{}{}", if place.is_empty() { String::new() } else { format!("{place}: ") }, show::cell(row, "problem"));
    }
    if answer.get("more_problems").and_then(Value::as_u64).is_some_and(|more| more > 0) {
        let _ = writeln!(out, "… and {} more", show::cell(answer, "more_problems"));
    }
    let (records, expired, gone) = (show::cell(answer, "records"), show::cell(answer, "expired"), show::cell(answer, "session_gone"));
    let _ = writeln!(
        out,
        "{records} records were read; {expired} that have expired were not asked. {gone} hang on a session that has run out, and are dead with it."
    );
    let _ = writeln!(out, "{}", if answer.get("status").and_then(Value::as_str) == Some("good") { "Nothing is wrong." } else { "Something is wrong." });
    out
}
