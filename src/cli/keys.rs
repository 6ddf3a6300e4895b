//! `helsebro keys`: which keys sign, and the next ones.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::admin::{Admin, AdminError, Output, Target};
use super::show;
use crate::secret::Secret;

/// What the server has keys for.
const ALGS: [&str; 5] = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];

/// When an imported key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sign {
    /// Once everybody had time to see it (issuer.key_overlap)
    Next,
    /// At once; who kept the key set meets a key that is not in it
    Now,
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the keys: next, current, retired and revoked
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Publish a new key; it signs once everybody had time to see it (issuer.key_overlap)
    ///
    /// The key before it goes on signing until then, and stays published until its last token
    /// has expired. Works on a running server, without a restart.
    ///
    /// With --emergency the keys before it are gone at once and other keys sign: what the old ones
    /// signed is believed no more. For keys that may be in the wrong hands.
    #[command(verbatim_doc_comment)]
    Rotate {
        /// The algorithm; without it each of them gets a new key
        #[arg(long, value_name = "ALG", value_parser = ALGS)]
        alg: Option<String>,
        /// Take the keys out at once, and let others sign at once
        #[arg(long)]
        emergency: bool,
        /// The one key to take out
        #[arg(long, value_name = "KID", requires = "emergency", conflicts_with = "alg")]
        kid: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Take one key out at once; what it signed is believed no more
    ///
    /// If it signs, the next key of its algorithm signs at once, or a new one.
    #[command(verbatim_doc_comment)]
    Revoke {
        /// The key, as `keys list` shows it
        kid: String,
        #[command(flatten)]
        target: Target,
    },
    /// Bring a private key of your own: PKCS#8, PEM or DER, not encrypted
    ///
    /// RSA from 2048 bits, P-256, P-384 or Ed25519. The file is read here and stays as it is: remove
    /// it yourself.
    #[command(verbatim_doc_comment)]
    Import {
        file: PathBuf,
        /// What an RSA key signs with (RS256 where left out); other keys have one algorithm
        #[arg(long, value_name = "ALG", value_parser = ALGS)]
        alg: Option<String>,
        /// When it signs
        #[arg(long, value_enum, value_name = "WHEN", default_value_t = Sign::Next)]
        sign: Sign,
        #[command(flatten)]
        target: Target,
    },
}

/// How an answer is printed for people.
type Print = fn(&Value) -> String;

pub async fn run(command: KeysCommand) -> Result<String, AdminError> {
    let (target, method, path, body, print): (_, _, _, _, Print) = match command {
        KeysCommand::List { target } => (target, Method::GET, "/keys".to_owned(), None, list),
        KeysCommand::Rotate { alg, emergency, kid, target } => {
            let body = json!({ "alg": alg, "emergency": emergency, "kid": kid });
            let members = body.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null() && **value != Value::Bool(false));
            let body = members.map(|(name, value)| (name.clone(), value.clone())).collect();
            (target, Method::POST, "/keys/rotate".to_owned(), Some(body), if emergency { revoked } else { rotated })
        }
        KeysCommand::Revoke { kid, target } => {
            let kid: String = percent_encoding::utf8_percent_encode(&kid, percent_encoding::NON_ALPHANUMERIC).collect();
            (target, Method::POST, format!("/keys/{kid}/revoke"), None, revoked)
        }
        KeysCommand::Import { file, alg, sign, target } => {
            target.keeps_secrets()?;
            let body = json!({ "pkcs8": private_key(&file)?.expose(), "alg": alg, "sign": if sign == Sign::Now { "now" } else { "next" } });
            (target, Method::POST, "/keys/import".to_owned(), Some(body), imported)
        }
    };
    let output = target.output;
    let answer = Admin::open(&target).await?.ask(method, &path, &[], body.as_ref()).await?;
    Ok(if output == Output::Json { show::json(&answer) } else { print(&answer) })
}

/// What the file holds, as text: whether it is a key, the server says.
fn private_key(file: &Path) -> Result<Secret<String>, AdminError> {
    let bytes = std::fs::read(file).map(Secret::new).map_err(|error| AdminError::File { path: file.to_owned(), error })?;
    // PEM is sent as it is, DER in base64.
    Ok(Secret::new(match std::str::from_utf8(bytes.expose()) {
        Ok(text) if text.contains("-----BEGIN ") => text.to_owned(),
        Ok(_) | Err(_) => STANDARD.encode(bytes.expose()),
    }))
}

fn entries<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    answer.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn list(answer: &Value) -> String {
    let row = |key: &Value| {
        let (since, until) = (show::time(key, "since"), show::time(key, "changes_at"));
        vec![show::cell(key, "alg"), show::cell(key, "state"), since, until, show::cell(key, "origin"), show::cell(key, "kid")]
    };
    show::table(&["ALG", "STATE", "SINCE", "NEXT CHANGE", "ORIGIN", "KID"], &entries(answer, "keys").map(row).collect::<Vec<_>>())
}

fn rotated(answer: &Value) -> String {
    entries(answer, "rotated").fold(String::new(), |mut out, key| {
        let (alg, kid, from) = (show::cell(key, "alg"), show::cell(key, "kid"), show::time(key, "signs_from"));
        // Writing to a String cannot fail.
        let _ = writeln!(out, "A new {alg} key is published and signs from {from}: {kid}");
        out
    })
}

fn revoked(answer: &Value) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    for kid in entries(answer, "revoked") {
        let _ = writeln!(out, "Revoked, and nothing it signed is believed any more: {}", show::text(kid));
    }
    for key in entries(answer, "signing") {
        let _ = writeln!(out, "Signs {} from now: {}", show::cell(key, "alg"), show::cell(key, "kid"));
    }
    out.push_str("Now let everybody who verifies tokens by themselves fetch the key set again.\n");
    out
}

fn imported(answer: &Value) -> String {
    let Some(key) = answer.get("imported") else { return String::new() };
    format!("The {} key is published and signs from {}: {}\n", show::cell(key, "alg"), show::time(key, "signs_from"), show::cell(key, "kid"))
}
