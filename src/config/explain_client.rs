//! What `config explain` prints: the rules a client lives under, and where each comes from.

use std::fmt::Write as _;
use std::path::Path;

use super::load;
use super::presets;
use super::problem::{Findings, Place, nearest};
use super::raw::{RawClient, RawClients, RawConfig, RawIssuer};
use super::read::{Field, Placed, print_duration};
use super::types::{Config, IssuerConfig};
use crate::domain::client::{
    Client, ClientAuthMethod, ClientKeys, CodeReplay, ConsentPolicy, FhirUserForm, GrantType, LaunchTrust, ParPolicy, Profile, Required,
};
use crate::domain::dpop::{DpopNonce, DpopPolicy};
use crate::protocol::ids::ClientId;

/// Reads a configuration and the client files beside it and explains one client of it; false where there is none.
pub fn explain_client(path: &Path, clients: &[&Path], at: Option<&str>, client: &str) -> (String, bool) {
    let config = match load(path, clients) {
        Ok(checked) => checked.config,
        Err(found) => return (found.to_string(), false),
    };
    let (issuer, known) = match find(&config, at, client) {
        Ok(found) => found,
        Err(why) => return (format!("{why}\n"), false),
    };
    let written = Written::read(path, clients, issuer, known);
    (Explained { issuer, client: known, written: &written, out: String::new() }.all(), true)
}

fn find<'a>(config: &'a Config, at: Option<&str>, client: &str) -> Result<(&'a IssuerConfig, &'a Client), String> {
    let asked: Vec<&IssuerConfig> = config.issuers.iter().filter(|issuer| at.is_none_or(|at| issuer.url().as_str() == at)).collect();
    let urls = |issuers: &[&IssuerConfig]| issuers.iter().map(|issuer| issuer.url().to_string()).collect::<Vec<_>>().join(", ");
    if asked.is_empty() {
        let all: Vec<&IssuerConfig> = config.issuers.iter().collect();
        return Err(format!("{:?} is not an issuer of this configuration; there are: {}", at.unwrap_or_default(), urls(&all)));
    }
    let id = ClientId::parse(client).ok();
    let having: Vec<(&IssuerConfig, &Client)> = asked.iter().filter_map(|issuer| Some((*issuer, issuer.rules.clients.get(id.as_ref()?)?.as_ref()))).collect();
    match having.as_slice() {
        [one] => Ok(*one),
        [] => {
            let mut known: Vec<&str> = asked.iter().flat_map(|issuer| issuer.rules.clients.keys().map(ClientId::as_str)).collect();
            known.sort_unstable();
            let guess = nearest(client, &known).map(|near| format!("; did you mean {near:?}?")).unwrap_or_else(|| ".".to_owned());
            let all = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(format!("{client:?} is not a client of {}{guess} There are: {all}.", urls(&asked)))
        }
        several => {
            let issuers: Vec<&IssuerConfig> = several.iter().map(|(issuer, _)| *issuer).collect();
            Err(format!("{client:?} is a client of several issuers; say which with --at: {}", urls(&issuers)))
        }
    }
}

/// What stands in the files about one client and its issuer.
#[derive(Default)]
struct Written {
    own: RawClient,
    preset: RawClient,
    preset_name: String,
    issuer: RawIssuer,
}

impl Written {
    /// The files once more, as text: what is in force has forgotten where it came from. They were found good before.
    fn read(path: &Path, clients: &[&Path], issuer: &IssuerConfig, client: &Client) -> Self {
        let mut found = Findings::default();
        let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut written = Self::default();
        let mut lists: Vec<Field<Vec<Placed<RawClient>>>> = Vec::new();
        if let Some(raw) = RawConfig::parse(&name(path), &text(path), &mut found) {
            lists.push(raw.client);
            let of_it = |item: &Placed<RawIssuer>| item.value.url.get().is_some_and(|url| url == issuer.url().as_str());
            if let Field::Given(list, _) = raw.issuer {
                written.issuer = list.into_iter().find(of_it).map(|item| item.value).unwrap_or_default();
            }
        }
        lists.extend(clients.iter().filter_map(|path| Some(RawClients::parse(&name(path), &text(path), &mut found)?.client)));
        for list in lists {
            let Field::Given(list, _) = list else { continue };
            for Placed { value: own, place } in list {
                let preset_name = own.preset.get().cloned().unwrap_or_default();
                let preset = presets::preset(&preset_name, &place, &mut found).unwrap_or_default();
                let id = own.client_id.get().or(preset.client_id.get());
                let here = own.issuer.get().is_none_or(|url| url == issuer.url().as_str());
                // The last one counts: client files replace.
                if here && id.is_some_and(|id| id == client.id.as_str()) {
                    (written.own, written.preset, written.preset_name) = (own, preset, preset_name);
                }
            }
        }
        written
    }

    /// Where a key of the client comes from; `otherwise` where nobody wrote it.
    fn source<T>(&self, key: impl Fn(&RawClient) -> &Field<T>, otherwise: &str) -> String {
        match (key(&self.own), key(&self.preset)) {
            (Field::Given(_, place), _) => line(place),
            (_, Field::Given(..)) => format!("preset {}", self.preset_name),
            _ => otherwise.to_owned(),
        }
    }

    fn of_issuer<T>(&self, key: impl Fn(&RawIssuer) -> &Field<T>) -> Option<String> {
        key(&self.issuer).get().map(|_| format!("issuer, {}", line(key(&self.issuer).place())))
    }
}

fn line(place: &Place) -> String {
    match place.line {
        Some(line) => format!("{} line {line}", place.file),
        None => place.file.to_string(),
    }
}

/// One client's rules on their way to a text.
struct Explained<'a> {
    issuer: &'a IssuerConfig,
    client: &'a Client,
    written: &'a Written,
    out: String,
}

const DEFAULT: &str = "default";

impl Explained<'_> {
    fn line(&mut self, name: &str, value: impl std::fmt::Display, from: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "  {name:<20} {value}  [{from}]");
    }

    fn of_profile(&self) -> String {
        format!("profile {}", self.client.profile.as_str())
    }

    /// What the profile decides where it is not the plain one.
    fn profile_or_default(&self) -> String {
        if self.client.profile == Profile::Fapi2 { self.of_profile() } else { DEFAULT.to_owned() }
    }

    fn all(mut self) -> String {
        let (client, written) = (self.client, self.written);
        let _ = writeln!(self.out, "{} at {}", client.id, self.issuer.url());
        if client.disabled {
            self.line("disabled", "true: everything it asks is refused", &written.source(|raw| &raw.disabled, DEFAULT));
        }
        self.line("name", &client.name, &written.source(|raw| &raw.name, "client_id"));
        let from_issuer = written.of_issuer(|raw| &raw.profile).unwrap_or_else(|| DEFAULT.to_owned());
        self.line("profile", client.profile.as_str(), &written.source(|raw| &raw.profile, &from_issuer));
        self.authentication();
        self.grants();
        if client.may(GrantType::AuthorizationCode, &self.issuer.rules.issuer) {
            self.authorization();
        }
        self.line(
            "scopes, at most",
            if client.scopes.is_empty() { "none".to_owned() } else { client.scopes.to_string() },
            &written.source(|raw| &raw.scopes, DEFAULT),
        );
        self.tokens();
        self.exchanges();
        self.out
    }

    fn authentication(&mut self) {
        let (client, written) = (self.client, self.written);
        self.line("auth", client.auth.as_str(), &written.source(|raw| &raw.auth, DEFAULT));
        match &client.auth {
            ClientAuthMethod::None => {}
            ClientAuthMethod::SecretBasic { secrets } | ClientAuthMethod::SecretPost { secrets } => {
                let from = written.source(|raw| &raw.client_secret, &written.source(|raw| &raw.client_secrets, DEFAULT));
                self.line("secrets", secrets.len(), &from);
            }
            ClientAuthMethod::PrivateKeyJwt { keys, algs } => {
                match keys {
                    ClientKeys::Uri(url) => self.line("keys", url, &written.source(|raw| &raw.jwks_uri, DEFAULT)),
                    ClientKeys::Inline(_) => self.line("keys", "in the registration", &written.source(|raw| &raw.jwks, DEFAULT)),
                }
                let names = algs.iter().map(|alg| alg.as_str()).collect::<Vec<_>>().join(", ");
                self.line("assertion alg", names, &written.source(|raw| &raw.token_endpoint_auth_signing_alg, &self.profile_or_default()));
                let audience = match client.profile {
                    Profile::Smart | Profile::Oidc => "the token endpoint or the issuer (and the PAR endpoint there), a string or an array of one",
                    Profile::Fapi2 => "the issuer, as a string",
                };
                self.line("assertion aud", audience, &self.of_profile());
            }
        }
    }

    fn grants(&mut self) {
        let all = [
            (GrantType::AuthorizationCode, "authorization_code"),
            (GrantType::RefreshToken, "refresh_token"),
            (GrantType::ClientCredentials, "client_credentials"),
        ];
        let names: Vec<&str> = all.into_iter().filter(|(grant, _)| self.client.may(*grant, &self.issuer.rules.issuer)).map(|(_, name)| name).collect();
        self.line("grant types", if names.is_empty() { "none".to_owned() } else { names.join(", ") }, "redirect_uris and scopes");
    }

    fn authorization(&mut self) {
        let (client, written, rules) = (self.client, self.written, &self.issuer.rules);
        let uris = |list: &[crate::protocol::ids::RedirectUri]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        self.line("redirect URIs", uris(&client.redirect_uris), &written.source(|raw| &raw.redirect_uris, DEFAULT));
        if !client.launch_urls.is_empty() {
            self.line("launch URLs", uris(&client.launch_urls), &written.source(|raw| &raw.launch_urls, DEFAULT));
        }
        if !client.post_logout_redirect_uris.is_empty() {
            self.line("after logout", uris(&client.post_logout_redirect_uris), &written.source(|raw| &raw.post_logout_redirect_uris, DEFAULT));
        }
        let (pkce, state, aud) = match client.profile {
            Profile::Smart => ("required, S256", "required", "required"),
            Profile::Oidc => ("checked if sent, S256", "optional", "optional: the default FHIR base, without launch and patient/ scopes"),
            Profile::Fapi2 => ("required, S256", "optional", "optional: the default FHIR base, without launch and patient/ scopes"),
        };
        for (name, value) in [("PKCE", pkce), ("state", state), ("aud", aud)] {
            self.line(name, value, &self.of_profile());
        }
        let own = written.source(|raw| &raw.par, &self.profile_or_default());
        let par = match (rules.require_par, client.par) {
            (true, ParPolicy::Optional) => ("required", written.of_issuer(|raw| &raw.require_par).unwrap_or(own)),
            (_, ParPolicy::Required) => ("required", own),
            (false, ParPolicy::Optional) => ("optional", own),
        };
        self.line("PAR", par.0, &par.1);
        let issuer_or_default = |from: Option<String>| from.unwrap_or_else(|| DEFAULT.to_owned());
        self.line("request_uri for", print_duration(rules.lifetimes.pushed), &issuer_or_default(written.of_issuer(|raw| &raw.par_ttl)));
        self.line("code for", print_duration(rules.lifetimes.code), &issuer_or_default(written.of_issuer(|raw| &raw.code_ttl)));
        let replay = match client.code_replay {
            CodeReplay::Revoke => "ends the grant",
            CodeReplay::Refuse => "refused, and the grant lives on",
        };
        self.line("code used twice", replay, &written.source(|raw| &raw.code_replay, DEFAULT));
        let consent = match client.consent {
            ConsentPolicy::PreApproved => "pre-approved: nobody is asked",
            ConsentPolicy::Once => "asked once, and again when more is wanted",
            ConsentPolicy::Always => "asked each time",
        };
        self.line("consent", consent, &written.source(|raw| &raw.consent, DEFAULT));
        let requires: Vec<&str> = client
            .requires
            .iter()
            .map(|context| match context {
                Required::Patient => "patient",
                Required::Encounter => "encounter",
            })
            .collect();
        self.line("requires", if requires.is_empty() { "nothing".to_owned() } else { requires.join(", ") }, &written.source(|raw| &raw.requires, DEFAULT));
        let trust = match client.launch_trust {
            LaunchTrust::Session => "the launching user's session",
            LaunchTrust::Handle => "the launch link alone",
        };
        self.line("launch trust", trust, &written.source(|raw| &raw.launch_trust, DEFAULT));
        let fhir_user = match client.fhir_user {
            FhirUserForm::Relative => "relative",
            FhirUserForm::Absolute => "absolute",
        };
        self.line("fhirUser", fhir_user, &written.source(|raw| &raw.fhir_user, DEFAULT));
        self.line("id_token alg", client.id_token_alg, &written.source(|raw| &raw.id_token_signed_response_alg, &self.profile_or_default()));
    }

    fn tokens(&mut self) {
        let (client, written, rules) = (self.client, self.written, &self.issuer.rules);
        for server in &rules.fhir {
            let alg = client.access_alg(server.access_token_alg);
            let otherwise = if server.access_token_alg == Some(alg) { format!("FHIR base {}", server.base) } else { self.profile_or_default() };
            self.line("access token alg", format!("{alg} for {}", server.base), &written.source(|raw| &raw.access_token_alg, &otherwise));
        }
        self.line("access token for", print_duration(client.access_ttl), &written.source(|raw| &raw.access_ttl, DEFAULT));
        let dpop = match client.dpop {
            DpopPolicy::Required => "required",
            DpopPolicy::Optional => "optional: bound where a proof is sent",
            DpopPolicy::Off => "off",
        };
        self.line("DPoP", dpop, &written.source(|raw| &raw.dpop, &self.profile_or_default()));
        if client.dpop != DpopPolicy::Off {
            let nonce = match rules.dpop_nonce {
                DpopNonce::Never => "not asked for",
                DpopNonce::Always => "required",
            };
            self.line("DPoP nonce", nonce, &written.of_issuer(|raw| &raw.dpop_nonce).unwrap_or_else(|| DEFAULT.to_owned()));
        }
        if client.may(GrantType::RefreshToken, &rules.issuer) {
            self.line("refresh token for", print_duration(client.refresh_ttl), &written.source(|raw| &raw.refresh_ttl, DEFAULT));
            let (rotation, from) = if client.rotates_refresh_tokens() {
                let window = print_duration(rules.lifetimes.refresh_reuse);
                (format!("each use, the last one good for {window} more"), "auth = \"none\"".to_owned())
            } else if client.profile == Profile::Fapi2 {
                ("never".to_owned(), self.of_profile())
            } else {
                ("never".to_owned(), "confidential".to_owned())
            };
            self.line("refresh rotation", rotation, &from);
            let ends = if client.end_with_session { "with the session, offline grants too" } else { "with the session, offline grants live on" };
            self.line("grants end", ends, &written.source(|raw| &raw.end_with_session, DEFAULT));
        }
    }

    fn exchanges(&mut self) {
        let (client, rules) = (self.client, &self.issuer.rules);
        let rows: Vec<String> =
            rules.exchange.iter().filter(|row| row.caller == client.id).map(|row| format!("{:?}: {} for {}", row.name, row.direction, row.audience)).collect();
        if rows.is_empty() {
            self.line("may exchange", "nothing", "no [[issuer.exchange]] row has it as caller");
        }
        for row in rows {
            self.line("may exchange", row, "issuer, [[issuer.exchange]]");
        }
        if !client.may_act.is_empty() {
            let who = client.may_act.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            self.line("may act with its", who, &self.written.source(|raw| &raw.may_act, DEFAULT));
        }
    }
}
