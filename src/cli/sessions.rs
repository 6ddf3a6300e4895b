//! `helsebro sessions`: who is logged in, found and ended.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::admin::{AdminError, Target};
use super::{found, show};

#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// List sessions: those of EPJs, and those that began with a login
    List {
        #[command(flatten)]
        which: WhichArgs,
        /// Those too that are over
        #[arg(long)]
        all: bool,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        #[command(flatten)]
        target: Target,
    },
    /// Show one session
    Show {
        /// The session, as `sessions list` and the audit log show it
        session: String,
        #[command(flatten)]
        target: Target,
    },
    /// End one session, or all that fit, and the grants that end with it
    ///
    /// Grants with offline access live on; `grants revoke` ends them.
    Revoke {
        /// The session
        #[arg(conflicts_with_all = ["sub", "fhir_user", "base", "ehr"])]
        session: Option<String>,
        #[command(flatten)]
        which: WhichArgs,
        #[command(flatten)]
        target: Target,
    },
}

/// Which sessions. Everything that is given must hold.
#[derive(Debug, Args)]
pub struct WhichArgs {
    /// The person, as apps are told: `sub`
    #[arg(long, value_name = "SUB")]
    sub: Option<String>,
    /// The person, as the FHIR server has it, such as Practitioner/1
    #[arg(long, value_name = "REFERENCE")]
    fhir_user: Option<String>,
    /// The FHIR server, where the same reference may be somebody else at another
    #[arg(long, value_name = "URL")]
    base: Option<String>,
    /// The client of the EPJ that vouched for the person
    #[arg(long, value_name = "CLIENT_ID")]
    ehr: Option<String>,
}

impl WhichArgs {
    fn criteria(&self) -> Vec<(&'static str, &str)> {
        let Self { sub, fhir_user, base, ehr } = self;
        let named = [("sub", sub), ("fhir_user", fhir_user), ("base", base), ("ehr", ehr)];
        named.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?))).collect()
    }
}

pub async fn run(command: SessionsCommand) -> Result<String, AdminError> {
    match command {
        SessionsCommand::List { which, all, limit, target } => found::list(&target, "sessions", which.criteria(), all, limit, list).await,
        SessionsCommand::Show { session, target } => found::show(&target, "sessions", &session).await,
        SessionsCommand::Revoke { session: Some(session), which: _, target } => {
            found::end(&target, "sessions", &session, &format!("The session {session} is over, and what ends with it.\n")).await
        }
        SessionsCommand::Revoke { session: None, which, target } => found::end_all(&target, "sessions", &which.criteria(), "Sessions ended").await,
    }
}

fn list(answer: &Value) -> String {
    let row = |session: &Value| {
        let (since, until) = (show::time(session, "auth_time"), show::time(session, "expires_at"));
        let cells = ["session", "state", "way", "ehr", "fhir_user"].map(|name| show::cell(session, name));
        cells.into_iter().chain([since, until]).collect()
    };
    let rows: Vec<Vec<String>> = answer.get("sessions").and_then(Value::as_array).into_iter().flatten().map(row).collect();
    show::table(&["SESSION", "STATE", "WAY", "EHR", "USER", "SINCE", "UNTIL"], &rows)
}
