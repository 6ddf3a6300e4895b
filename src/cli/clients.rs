//! `helsebro clients`: who may ask this server for tokens.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value};

use super::admin::{Admin, AdminError, Output, Target};
use super::show;
use crate::config::PRESETS;

#[derive(Debug, Subcommand)]
pub enum ClientsCommand {
    /// Register a client
    ///
    /// The members are those of [[client]] in the configuration; `helsebro config reference`
    /// explains each. A client with a secret gets one of 256 bits, which is printed once.
    #[command(verbatim_doc_comment)]
    Add(Box<AddArgs>),
    /// List every client, of the configuration and added since
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Show one client; of its secrets only how many there are
    Show(OneArgs),
    /// Refuse everything a client asks, and its live tokens, from now on
    Disable(OneArgs),
    /// Take a disabled client back in
    Enable(OneArgs),
    /// Make a new secret, printed once; the old one works for an hour more
    RotateSecret {
        /// End the old secrets at once: for one that leaked
        #[arg(long)]
        immediately: bool,
        /// Print the secret and nothing else
        #[arg(long, short)]
        quiet: bool,
        #[command(flatten)]
        one: OneArgs,
    },
    /// Remove a client that was added with `add`, and end all it was granted
    Remove(OneArgs),
}

#[derive(Debug, Args)]
pub struct OneArgs {
    /// The client's id
    client_id: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct AddArgs {
    /// Its name in requests
    #[arg(long, value_name = "ID", required_unless_present_any = ["json", "preset"])]
    id: Option<String>,
    /// Shown to people
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Fills in what is not given here
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(PRESETS.iter().copied()))]
    preset: Option<String>,
    /// How it proves itself
    #[arg(long, value_name = "METHOD", value_parser = ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"])]
    auth: Option<String>,
    /// Where an answer may be sent; may be repeated
    #[arg(long, value_name = "URL")]
    redirect_uri: Vec<String>,
    /// Where the EPJ may launch it; may be repeated
    #[arg(long, value_name = "URL")]
    launch_url: Vec<String>,
    /// Where a logout may lead; may be repeated
    #[arg(long, value_name = "URL")]
    post_logout_redirect_uri: Vec<String>,
    /// Where it is told that a session has ended
    #[arg(long, value_name = "URL")]
    backchannel_logout_uri: Option<String>,
    /// An origin whose scripts may call the token endpoint, besides those of the redirect URIs; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    cors_origin: Vec<String>,
    /// The most it may ever get, in one text: "openid fhirUser launch patient/*.rs"
    #[arg(long, value_name = "SCOPES")]
    scopes: Option<String>,
    /// For private_key_jwt: a file with its public key set
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
    jwks_file: Option<PathBuf>,
    /// For private_key_jwt: where its public key set is
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// Whether people are asked before it gets access
    #[arg(long, value_name = "WHEN", value_parser = ["pre-approved", "once", "always"])]
    consent: Option<String>,
    /// Which rules it lives under
    #[arg(long, value_name = "NAME", value_parser = ["smart", "oidc", "fapi2"])]
    profile: Option<String>,
    /// Whether its tokens are bound to a key (DPoP, RFC 9449)
    #[arg(long, value_name = "WHEN", value_parser = ["required", "optional", "off"])]
    dpop: Option<String>,
    /// Context it cannot work without; may be repeated
    #[arg(long, value_name = "CONTEXT", value_delimiter = ',', value_parser = ["patient", "encounter"])]
    requires: Vec<String>,
    /// Life of its access tokens, such as 10m
    #[arg(long, value_name = "TIME")]
    access_ttl: Option<String>,
    /// Life of its refresh tokens, such as 12h
    #[arg(long, value_name = "TIME")]
    refresh_ttl: Option<String>,
    /// A file with the whole registration as JSON, or - for standard input; the options above override its members
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the secret and nothing else
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    target: Target,
}

pub async fn run(command: ClientsCommand) -> Result<String, AdminError> {
    match command {
        ClientsCommand::Add(args) => add(&args).await,
        ClientsCommand::List { target } => {
            let answer = Admin::open(&target).await?.ask(Method::GET, "/clients", &[], None).await?;
            Ok(if target.output == Output::Json { show::json(&answer) } else { list(&answer) })
        }
        ClientsCommand::Show(one) => {
            let answer = one.ask(Method::GET, "", &[]).await?;
            Ok(if one.target.output == Output::Json { show::json(&answer) } else { whole(&answer) })
        }
        ClientsCommand::Disable(one) => one.switched("disable", "disabled: its tokens are inactive and its requests refused from now on").await,
        ClientsCommand::Enable(one) => one.switched("enable", "enabled").await,
        ClientsCommand::RotateSecret { immediately, quiet, one } => {
            let query: &[_] = if immediately { &[("immediately", "true")] } else { &[] };
            let answer = one.ask(Method::POST, "/rotate-secret", query).await?;
            let old = match show::time(&answer, "old_secrets_until") {
                until if until.is_empty() => "The old secrets work no more.".to_owned(),
                until => format!("The old secret works until {until}."),
            };
            Ok(with_secret(&answer, one.target.output, quiet, &format!("{} has a new secret. {old}\n", one.client_id)))
        }
        ClientsCommand::Remove(one) => {
            let answer = one.ask(Method::DELETE, "", &[]).await?;
            Ok(if one.target.output == Output::Json { show::json(&answer) } else { format!("{} is removed, and all it was granted is over.\n", one.client_id) })
        }
    }
}

impl OneArgs {
    async fn ask(&self, method: Method, then: &str, query: &[(&str, &str)]) -> Result<Value, AdminError> {
        let id = percent_encoding::utf8_percent_encode(&self.client_id, percent_encoding::NON_ALPHANUMERIC);
        Admin::open(&self.target).await?.ask(method, &format!("/clients/{id}{then}"), query, None).await
    }

    async fn switched(&self, how: &str, said: &str) -> Result<String, AdminError> {
        let answer = self.ask(Method::POST, &format!("/{how}"), &[]).await?;
        Ok(if self.target.output == Output::Json { show::json(&answer) } else { format!("{} is {said}.\n", self.client_id) })
    }
}

async fn add(args: &AddArgs) -> Result<String, AdminError> {
    let registration = registration(args)?;
    let answer = Admin::open(&args.target).await?.ask(Method::POST, "/clients", &[], Some(&registration)).await?;
    let mut said = format!("{} is registered at {}.\n", show::cell(&answer, "client_id"), show::cell(&answer, "issuer"));
    for reminder in answer.get("reminders").and_then(Value::as_array).into_iter().flatten() {
        // Writing to a String cannot fail.
        let _ = writeln!(said, "Note: {}", show::text(reminder));
    }
    Ok(with_secret(&answer, args.target.output, args.quiet, &said))
}

/// The secret of an answer stands on a line of its own, so that a script finds it.
fn with_secret(answer: &Value, output: Output, quiet: bool, said: &str) -> String {
    let secret = show::cell(answer, "client_secret");
    match (quiet, output) {
        (true, _) if secret.is_empty() => String::new(),
        (true, _) => format!("{secret}\n"),
        (false, Output::Json) => show::json(answer),
        (false, Output::Text) if secret.is_empty() => said.to_owned(),
        (false, Output::Text) => format!("{said}\nIts secret, which is not shown again:\n\n{secret}\n"),
    }
}

/// The registration as it is sent: the JSON, with the options over it.
fn registration(args: &AddArgs) -> Result<Value, AdminError> {
    let mut members = match &args.json {
        None => Map::new(),
        Some(path) => match parsed(path, &read(path)?)? {
            Value::Object(members) => members,
            _ => return Err(AdminError::Content { path: path.clone(), why: "must hold one JSON object: the registration".to_owned() }),
        },
    };
    let texts = [
        ("client_id", &args.id),
        ("name", &args.name),
        ("preset", &args.preset),
        ("auth", &args.auth),
        ("scopes", &args.scopes),
        ("jwks_uri", &args.jwks_uri),
        ("backchannel_logout_uri", &args.backchannel_logout_uri),
        ("consent", &args.consent),
        ("profile", &args.profile),
        ("dpop", &args.dpop),
        ("access_ttl", &args.access_ttl),
        ("refresh_ttl", &args.refresh_ttl),
    ];
    members.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text.clone()?.into()))));
    let lists = [
        ("redirect_uris", &args.redirect_uri),
        ("launch_urls", &args.launch_url),
        ("post_logout_redirect_uris", &args.post_logout_redirect_uri),
        ("cors_origins", &args.cors_origin),
        ("requires", &args.requires),
    ];
    members.extend(lists.into_iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| (name.to_owned(), list.clone().into())));
    if let Some(path) = &args.jwks_file {
        members.insert("jwks".to_owned(), parsed(path, &read(path)?)?);
    }
    Ok(Value::Object(members))
}

fn read(path: &Path) -> Result<String, AdminError> {
    let failed = |error| AdminError::File { path: path.to_owned(), error };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn parsed(path: &Path, text: &str) -> Result<Value, AdminError> {
    let why = |error: serde_json::Error| format!("is not JSON: line {}, column {}", error.line(), error.column());
    serde_json::from_str(text).map_err(|error| AdminError::Content { path: path.to_owned(), why: why(error) })
}

fn list(answer: &Value) -> String {
    let row = |client: &Value| {
        let state = if client.get("disabled").and_then(Value::as_bool) == Some(true) { "disabled" } else { "enabled" };
        let secrets = show::cell(client, "secrets");
        vec![
            show::cell(client, "client_id"),
            show::cell(client, "auth"),
            secrets,
            state.to_owned(),
            show::cell(client, "registered"),
            show::cell(client, "name"),
        ]
    };
    let rows: Vec<Vec<String>> = answer.get("clients").and_then(Value::as_array).into_iter().flatten().map(row).collect();
    show::table(&["CLIENT", "AUTH", "SECRETS", "STATE", "REGISTERED", "NAME"], &rows)
}

/// Every member that says something.
fn whole(answer: &Value) -> String {
    let values = |value: &Value| match value {
        Value::Array(items) => items.iter().map(show::text).collect(),
        // A key set is read by machines; its names say which keys it holds.
        Value::Object(_) => {
            let keys = value.get("keys").and_then(Value::as_array).into_iter().flatten();
            keys.map(|key| format!("{} {}", show::cell(key, "kty"), show::cell(key, "kid"))).collect()
        }
        other => vec![show::text(other)],
    };
    let pairs: Vec<(String, Vec<String>)> = answer.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), values(value))).collect();
    show::fields(&pairs)
}
