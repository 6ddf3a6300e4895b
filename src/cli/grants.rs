//! `helsebro grants`: what apps were allowed, found and ended.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::admin::{AdminError, Target};
use super::{found, show};

#[derive(Debug, Subcommand)]
pub enum GrantsCommand {
    /// List grants that something may come of; the newest are not first, their order is that of their ids
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
    /// Show one grant
    Show {
        /// The grant, as `grants list` and the audit log show it
        grant: String,
        #[command(flatten)]
        target: Target,
    },
    /// End one grant, or all that fit: their tokens are inactive from now on
    Revoke {
        /// The grant
        #[arg(conflicts_with_all = ["sub", "fhir_user", "patient", "base", "client", "session"])]
        grant: Option<String>,
        #[command(flatten)]
        which: WhichArgs,
        #[command(flatten)]
        target: Target,
    },
}

/// Which grants. Everything that is given must hold.
#[derive(Debug, Args)]
pub struct WhichArgs {
    /// The person, as apps are told: `sub`
    #[arg(long, value_name = "SUB")]
    sub: Option<String>,
    /// The person, as the FHIR server has it, such as Practitioner/1
    #[arg(long, value_name = "REFERENCE")]
    fhir_user: Option<String>,
    /// The patient of the launch: the id at the FHIR server
    #[arg(long, value_name = "ID")]
    patient: Option<String>,
    /// The FHIR server, where the same id may be somebody else at another
    #[arg(long, value_name = "URL")]
    base: Option<String>,
    /// The app
    #[arg(long, value_name = "CLIENT_ID")]
    client: Option<String>,
    /// The session it was made in, as `sessions list` shows it
    #[arg(long, value_name = "SESSION")]
    session: Option<String>,
}

impl WhichArgs {
    fn criteria(&self) -> Vec<(&'static str, &str)> {
        let Self { sub, fhir_user, patient, base, client, session } = self;
        let named = [("sub", sub), ("fhir_user", fhir_user), ("patient", patient), ("base", base), ("client_id", client), ("session", session)];
        named.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?))).collect()
    }
}

pub async fn run(command: GrantsCommand) -> Result<String, AdminError> {
    match command {
        GrantsCommand::List { which, all, limit, target } => found::list(&target, "grants", which.criteria(), all, limit, list).await,
        GrantsCommand::Show { grant, target } => found::show(&target, "grants", &grant).await,
        GrantsCommand::Revoke { grant: Some(grant), which: _, target } => {
            found::end(&target, "grants", &grant, &format!("The grant {grant} is over, and all that came of it.\n")).await
        }
        GrantsCommand::Revoke { grant: None, which, target } => found::end_all(&target, "grants", &which.criteria(), "Grants ended").await,
    }
}

fn list(answer: &Value) -> String {
    let row = |grant: &Value| {
        let (made, until) = (show::time(grant, "made_at"), show::time(grant, "expires_at"));
        let cells = ["grant", "state", "client_id", "fhir_user", "patient"].map(|name| show::cell(grant, name));
        cells.into_iter().chain([made, until]).collect()
    };
    let rows: Vec<Vec<String>> = answer.get("grants").and_then(Value::as_array).into_iter().flatten().map(row).collect();
    show::table(&["GRANT", "STATE", "CLIENT", "USER", "PATIENT", "MADE", "UNTIL"], &rows)
}
