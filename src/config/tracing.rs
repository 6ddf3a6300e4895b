//! `[tracing]`.

use url::{Host, Url};

use super::problem::{Findings, Place};
use super::raw::RawTracing;
use super::read::Field;
use super::secrets::{Environment, Source};
use super::types::Tracing;
use super::values::{number, required};
use crate::protocol::ids::is_loopback;
use crate::secret::Secret;

/// `local`: every issuer is on loopback. `built`: this build can send spans at all.
pub(super) fn check(field: &Field<RawTracing>, environment: &dyn Environment, local: bool, built: bool, found: &mut Findings) -> Option<Tracing> {
    let Field::Given(raw, place) = field else { return None };
    if !built {
        found.refuse(place, "asks for spans, and this build has no OpenTelemetry; build with `--features otel`, or leave the table out");
        return None;
    }
    let allow_http = raw.allow_http.get().copied().unwrap_or(false);
    let endpoint = required(&raw.endpoint, "write \"https://collector.example/v1/traces\"", found);
    let endpoint = endpoint.and_then(|(text, place)| endpoint_of(text, place, allow_http, found));
    let service_name = raw.service_name.get().map_or("helsebro", String::as_str);
    if service_name.is_empty() || service_name.len() > 64 || !service_name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        found.refuse_value(raw.service_name.place(), service_name, "must be 1 to 64 letters, digits, dots, dashes and underscores; write \"helsebro\"");
    }
    let one_in = u32::try_from(number(&raw.sample_one_in, 1, 1..=1_000_000, "traces", found)).unwrap_or(1);
    let trust_parent = raw.trust_parent.get().copied().unwrap_or(false);
    if trust_parent && !local {
        found.warn(
            raw.trust_parent.place(),
            "lets whoever can reach this server decide how much is recorded; it is for servers behind a proxy that writes traceparent itself",
        );
    }
    let secret = raw.headers.get().and_then(|secret| Source::File(environment).resolve(secret, raw.headers.place(), local, found));
    let headers = secret.map(|text| headers(&text, raw.headers.place(), found)).unwrap_or_default();
    Some(Tracing { endpoint: endpoint?, service_name: service_name.to_owned(), one_in, trust_parent, headers })
}

fn endpoint_of(text: &str, place: &Place, allow_http: bool, found: &mut Findings) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| url.host().is_some() && url.username().is_empty() && url.password().is_none() && url.query().is_none());
    let private = |url: &Url| match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_private() || ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_unique_local() || ip.is_loopback(),
        // What a name leads to is the network's word, and the switch says that it is trusted.
        Some(Host::Domain(_)) => true,
        None => false,
    };
    let good = |url: &Url| url.scheme() == "https" || (url.scheme() == "http" && (is_loopback(url) || (allow_http && private(url))));
    if !url.as_ref().is_some_and(good) {
        found.refuse_value(
            place,
            text,
            "must be an https URL without credentials and query, or http on loopback; with allow_http = true also http in a private network",
        );
    }
    url
}

/// `Name: value`, one a line.
fn headers(text: &Secret<String>, place: &Place, found: &mut Findings) -> Vec<(String, Secret<String>)> {
    let mut headers = Vec::new();
    for line in text.expose().lines().map(str::trim).filter(|line| !line.is_empty()) {
        let pair = line.split_once(':').map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()));
        match pair {
            Some((name, value)) if http::HeaderName::try_from(&name).is_ok() && http::HeaderValue::try_from(value).is_ok() => {
                headers.push((name, Secret::new(value.to_owned())));
            }
            // Not shown: it is a secret, or beside one.
            _ => found.refuse(place, "holds a line that is no header; write `Name: value`, one a line"),
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config::SecretFile;
    use crate::config::raw::RawConfig;

    /// Every secret is two headers.
    struct Fake;

    impl Environment for Fake {
        fn variable(&self, name: &str) -> Option<Secret<String>> {
            (name == "BAD").then(|| Secret::new("no header".to_owned()))
        }

        fn secret_file(&self, _: &Path) -> io::Result<SecretFile> {
            Ok(SecretFile { text: Secret::new("Authorization: Basic abc\nX-Tenant:  one \n".to_owned()), exposed: false })
        }

        fn resolve(&self, path: &str) -> PathBuf {
            path.into()
        }
    }

    fn checked(table: &str, built: bool) -> Result<(Tracing, usize), String> {
        let mut found = Findings::default();
        let raw = RawConfig::parse("x", &format!("[tracing]\n{table}"), &mut found).unwrap();
        match check(&raw.tracing, &Fake, false, built, &mut found) {
            Some(tracing) if found.problems.is_empty() => Ok((tracing, found.warnings.len())),
            _ => Err(found.to_string()),
        }
    }

    #[test]
    fn a_build_without_it_says_so() {
        let refused = checked("endpoint = \"https://collector.example/v1/traces\"", false).unwrap_err();
        assert!(refused.contains("this build has no OpenTelemetry; build with `--features otel`"), "{refused}");
        let raw = RawConfig::parse("x", "", &mut Findings::default()).unwrap();
        assert!(check(&raw.tracing, &Fake, false, false, &mut Findings::default()).is_none());
    }

    #[test]
    fn what_is_left_out_has_defaults() {
        let (tracing, warnings) = checked("endpoint = \"https://collector.example/v1/traces\"\nheaders = { file = \"x\" }", true).unwrap();
        assert_eq!((tracing.service_name.as_str(), tracing.one_in, tracing.trust_parent, warnings), ("helsebro", 1, false, 0));
        let headers: Vec<(&str, &str)> = tracing.headers.iter().map(|(name, value)| (name.as_str(), value.expose().as_str())).collect();
        assert_eq!(headers, [("authorization", "Basic abc"), ("x-tenant", "one")]);
        let (_, warnings) = checked("endpoint = \"https://collector.example/v1/traces\"\ntrust_parent = true", true).unwrap();
        assert_eq!(warnings, 1);
    }

    #[test]
    fn spans_go_in_the_clear_only_where_that_is_meant() {
        for (url, with, without) in [
            ("https://collector.example/v1/traces", true, true),
            ("http://127.0.0.1:4318/v1/traces", true, true),
            ("http://10.0.0.3:4318/v1/traces", true, false),
            ("http://[fd00::1]:4318/v1/traces", true, false),
            ("http://otel-collector:4318/v1/traces", true, false),
            ("http://203.0.113.9/v1/traces", false, false),
            ("https://user:secret@collector.example/v1/traces", false, false),
            ("https://collector.example/v1/traces?key=1", false, false),
            ("ftp://collector.example/", false, false),
            ("collector", false, false),
        ] {
            assert_eq!(checked(&format!("endpoint = \"{url}\"\nallow_http = true"), true).is_ok(), with, "{url}");
            assert_eq!(checked(&format!("endpoint = \"{url}\""), true).is_ok(), without, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        const URL: &str = "endpoint = \"https://collector.example/v1/traces\"";
        for (table, why) in [
            ("", "endpoint"),
            (&*format!("{URL}\nsample_one_in = 0"), "sample_one_in"),
            (&*format!("{URL}\nservice_name = \"a b\""), "service_name"),
            (&*format!("{URL}\nheaders = {{ env = \"BAD\" }}"), "no header"),
            (&*format!("{URL}\nsampling = 3"), "sampling"),
        ] {
            let refused = checked(table, true).map(drop).unwrap_err();
            assert!(refused.contains(why), "{table}: {refused}");
        }
    }
}
