//! `helsebro grants`: what apps were allowed, found and ended.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value};

use super::admin::{Admin, AdminError, Output, Target};
use super::show;

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
        GrantsCommand::List { which, all, limit, target } => {
            let answer = every(&target, "/grants", "grants", which.criteria(), all, limit).await?;
            Ok(if target.output == Output::Json { show::json(&answer) } else { list(&answer) })
        }
        GrantsCommand::Show { grant, target } => {
            let answer = Admin::open(&target).await?.ask(Method::GET, &format!("/grants/{}", show::in_path(&grant)), &[], None).await?;
            Ok(if target.output == Output::Json { show::json(&answer) } else { show::members(&answer) })
        }
        GrantsCommand::Revoke { grant: Some(grant), which: _, target } => {
            let answer = Admin::open(&target).await?.ask(Method::POST, &format!("/grants/{}/revoke", show::in_path(&grant)), &[], None).await?;
            Ok(if target.output == Output::Json { show::json(&answer) } else { format!("The grant {grant} is over, and all that came of it.\n") })
        }
        GrantsCommand::Revoke { grant: None, which, target } => {
            let answer = revoke(&target, "/grants/revoke", &which.criteria()).await?;
            Ok(if target.output == Output::Json { show::json(&answer) } else { format!("Grants ended: {}\n", show::cell(&answer, "revoked")) })
        }
    }
}

/// A list from one page after the other, `limit` rows at most; `next` where there may be more.
pub(super) async fn every(target: &Target, path: &str, rows: &str, which: Vec<(&'static str, &str)>, all: bool, limit: u32) -> Result<Value, AdminError> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    let mut answer;
    loop {
        let left = (usize::try_from(limit).unwrap_or(usize::MAX) - found.len()).min(200).to_string();
        let mut query = which.clone();
        query.push(("limit", &left));
        query.extend(all.then_some(("state", "all")));
        query.extend(next.as_deref().map(|next| ("after", next)));
        answer = Admin::open(target).await?.ask(Method::GET, path, &query, None).await?;
        if let Some(Value::Array(page)) = answer.get_mut(rows).map(Value::take) {
            found.extend(page);
        }
        next = answer.get("next").and_then(Value::as_str).map(str::to_owned);
        if next.is_none() || found.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            break;
        }
    }
    if let Some(members) = answer.as_object_mut() {
        members.insert(rows.to_owned(), found.into());
    }
    Ok(answer)
}

/// Ends all that fit, a part at a time, and says how many that were.
pub(super) async fn revoke(target: &Target, path: &str, which: &[(&'static str, &str)]) -> Result<Value, AdminError> {
    let mut body: Map<String, Value> = which.iter().map(|(name, text)| ((*name).to_owned(), Value::from(*text))).collect();
    let mut count = 0;
    loop {
        let mut answer = Admin::open(target).await?.ask(Method::POST, path, &[], Some(&Value::Object(body.clone()))).await?;
        count += answer.get("revoked").and_then(Value::as_u64).unwrap_or(0);
        if let Some(next) = answer.get("next").cloned() {
            body.insert("after".to_owned(), next);
            continue;
        }
        if let Some(members) = answer.as_object_mut() {
            members.insert("revoked".to_owned(), count.into());
        }
        return Ok(answer);
    }
}

fn list(answer: &Value) -> String {
    let row = |grant: &Value| {
        let (made, until) = (show::time(grant, "made_at"), show::time(grant, "expires_at"));
        let cells = ["grant", "state", "client_id", "fhir_user", "patient"].map(|name| show::cell(grant, name));
        cells.into_iter().chain([made, until]).collect()
    };
    let rows: Vec<Vec<String>> = answer.get("grants").and_then(Value::as_array).into_iter().flatten().map(row).collect();
    let table = show::table(&["GRANT", "STATE", "CLIENT", "USER", "PATIENT", "MADE", "UNTIL"], &rows);
    table + more(answer)
}

/// What is said under a list that is not the whole.
pub(super) fn more(answer: &Value) -> &'static str {
    if answer.get("next").is_some() { "There may be more: say more exactly which, or raise --limit.\n" } else { "" }
}
