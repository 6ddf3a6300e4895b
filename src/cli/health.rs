//! `helsebro health`: asks a running server whether it can do its work, for whoever looks after containers and has neither a shell nor curl.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use reqwest::StatusCode;
use serde_json::Value;

use super::admin::{AdminError, http, line, root_cause};
use crate::config;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whom").required(true).args(["config", "url"])))]
pub struct HealthArgs {
    /// The server's configuration: its operations listener is asked
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// An address that answers 200 where all is well, such as the mocks have
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Only whether the process answers, not whether its store and keys can be reached
    #[arg(long, conflicts_with = "url")]
    live: bool,
    /// How long the answer may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

/// Why a server is not well.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("{at} answers {status}{}", problems.iter().map(|problem| format!("\n  {problem}")).collect::<String>())]
    Unwell { at: String, status: StatusCode, problems: Vec<String> },
}

/// One line where it is well.
///
/// # Errors
/// [`HealthError`]: nobody answers, or with something else than 200.
pub async fn run(args: HealthArgs) -> Result<String, HealthError> {
    let (http, at) = match (args.url, &args.config) {
        (Some(url), _) => (http(), url),
        (None, Some(path)) => {
            let config = config::load(path, &[]).map_err(|found| AdminError::Config(Box::new(found)))?.config;
            let (http, base) = line(&config)?;
            (http, format!("{base}/{}", if args.live { "health" } else { "ready" }))
        }
        (None, None) => return Err(AdminError::NoToken.into()),
    };
    let url = url::Url::parse(&at).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(|| AdminError::Address(at.clone()))?;
    let silent = |error: reqwest::Error| AdminError::Silent { at: at.clone(), why: root_cause(&error) };
    let response = http.get(url).timeout(Duration::from_secs(args.timeout)).send().await.map_err(silent)?;
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(format!("{at} is well\n"));
    }
    let body: Value = response.json().await.unwrap_or_default();
    let problems = body.get("problems").and_then(Value::as_array).into_iter().flatten().map(told).collect();
    Err(HealthError::Unwell { at, status, problems })
}

/// One problem of `/ready`, as a line.
fn told(problem: &Value) -> String {
    let text = |name| problem.get(name).and_then(Value::as_str);
    [text("issuer"), text("part"), text("problem")].into_iter().flatten().collect::<Vec<_>>().join(": ")
}
