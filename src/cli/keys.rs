//! `helsebro keys`: which keys sign, and the next ones.

use std::fmt::Write as _;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::admin::{Admin, AdminError, Output, Target};
use super::show;

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the published keys: next, current and retired
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Publish a new key; it signs once everybody had time to see it (issuer.key_overlap)
    ///
    /// The key before it goes on signing until then, and stays published until its last token
    /// has expired. Works on a running server, without a restart.
    #[command(verbatim_doc_comment)]
    Rotate {
        /// The algorithm; without it each of them gets a new key
        #[arg(long, value_name = "ALG", value_parser = ["RS256", "ES256", "ES384"])]
        alg: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

pub async fn run(command: KeysCommand) -> Result<String, AdminError> {
    match command {
        KeysCommand::List { target } => {
            let answer = Admin::open(&target).await?.ask(Method::GET, "/keys", &[], None).await?;
            Ok(if target.output == Output::Json { show::json(&answer) } else { list(&answer) })
        }
        KeysCommand::Rotate { alg, target } => {
            let body = alg.map_or_else(|| json!({}), |alg| json!({ "alg": alg }));
            let answer = Admin::open(&target).await?.ask(Method::POST, "/keys/rotate", &[], Some(&body)).await?;
            Ok(if target.output == Output::Json { show::json(&answer) } else { rotated(&answer) })
        }
    }
}

fn entries<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    answer.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn list(answer: &Value) -> String {
    let row = |key: &Value| {
        vec![show::cell(key, "alg"), show::cell(key, "state"), show::time(key, "signs_from"), show::time(key, "retired_at"), show::cell(key, "kid")]
    };
    show::table(&["ALG", "STATE", "SIGNS FROM", "UNTIL", "KID"], &entries(answer, "keys").map(row).collect::<Vec<_>>())
}

fn rotated(answer: &Value) -> String {
    entries(answer, "rotated").fold(String::new(), |mut out, key| {
        let (alg, kid, from) = (show::cell(key, "alg"), show::cell(key, "kid"), show::time(key, "signs_from"));
        // Writing to a String cannot fail.
        let _ = writeln!(out, "A new {alg} key is published and signs from {from}: {kid}");
        out
    })
}
