//! The gateway: an app calls a national API through us, we add the token and the proof that must not leave. `reference/helseid.md` §6.4.

use super::Engine;
use crate::audit::trail;
use crate::domain::exchange::{Delivery, Direction, ExchangeRow};
use crate::domain::grant::Grant;
use crate::domain::person::PersonNumber;
use crate::protocol::dpop::ShownToken;
use crate::protocol::error::{Challenge, ErrorCode, OAuthError};
use crate::protocol::ids::Reference;
use crate::secret::Secret;
use crate::upstream::{Forward, Forwarded};

/// A request at the gateway route.
#[derive(Debug)]
pub struct GatewayRequest<'a> {
    /// Which row it is for.
    pub row: &'a str,
    pub method: http::Method,
    /// What comes after the row's name, as it was sent: begins with `/` or is empty.
    pub rest: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a http::HeaderMap,
    pub body: bytes::Bytes,
}

impl Engine {
    /// The audience of a row's handle: its gateway route.
    pub(super) fn gateway_audience(&self, row: &ExchangeRow) -> String {
        self.rules.issuer.at(&format!("/gateway/{}", row.name))
    }

    /// Passes a request on to what is behind a row, as its app may.
    ///
    /// # Errors
    /// 401 without a live handle and the proof of its key, 403 outside the row, 400 for a path that leaves it, 503 where nobody answers.
    pub async fn gateway(&self, shown: Option<ShownToken<'_>>, request: GatewayRequest<'_>) -> Result<Forwarded, OAuthError> {
        let path = format!("/gateway/{}{}", request.row, request.rest);
        let active = self.shown(shown, request.method.as_str(), &path).await?;
        let outside = || OAuthError::new(ErrorCode::InsufficientScope, "the token is not for this route").challenge(Challenge::DPoP { scope: None });
        let row = self.rules.exchange.iter().find(|row| row.name == request.row && row.direction == Direction::ToUpstream);
        // T2: as the policy is now, not as it was when the handle was made.
        let row = row.filter(|row| row.delivery == Delivery::Gateway && row.caller == active.claims.client_id).ok_or_else(outside)?;
        trail::note(|facts| (facts.way, facts.row) = (Some(row.direction.as_str()), Some(row.name.to_string())));
        let (Some(grant), Some(behind)) = (&active.grant, &row.gateway) else { return Err(outside()) };
        if active.claims.aud != self.gateway_audience(row) {
            return Err(outside());
        }
        let url = below(behind, request.rest, request.query).ok_or_else(|| OAuthError::invalid_request("the path leaves the route"))?;
        let scopes = active.claims.scope.narrow(&row.scopes);
        if scopes.is_empty() {
            return Err(outside());
        }
        let patient = match &row.patient_header {
            None => None,
            Some(header) => self.patient_number(grant).await?.map(|number| (header.as_str(), number)),
        };
        let upstream = self.upstream().ok_or_else(outside)?;
        let at = self.at_upstream(row, grant, &scopes).await?;
        let forward = Forward {
            method: request.method,
            url,
            headers: request.headers,
            body: request.body,
            access_token: &at.tokens.access_token,
            key: &at.key,
            added: patient.as_ref().map(|(header, number)| (*header, number)),
            withheld: row.patient_header.as_deref(),
        };
        let answer = upstream.forward(forward).await?;
        tracing::info!(caller = %row.caller, row = row.name, status = answer.status.as_u16(), "gateway request passed on");
        Ok(answer)
    }

    /// The identity number of the launch's patient: from our context, never from the request. T10.
    async fn patient_number(&self, grant: &Grant) -> Result<Option<Secret<String>>, OAuthError> {
        let Some(id) = &grant.context.patient else { return Ok(None) };
        let failed = |failed: super::people::Unknown| OAuthError::unavailable(failed);
        let (fhir, token) = self.reading_at(&grant.base).map_err(failed)?;
        let what = Reference::to("Patient", id);
        let Some(patient) = fhir.read(&token, &what).await.map_err(OAuthError::unavailable)? else { return Ok(None) };
        let mut numbers = PersonNumber::SYSTEMS.iter().flat_map(|system| patient.identifiers(system));
        Ok(numbers.find(|number| PersonNumber::parse(number.expose()).is_some()))
    }
}

/// The URL behind a row for what was asked; `None` where the path would leave it, however it is written.
fn below(behind: &str, rest: &str, query: Option<&str>) -> Option<url::Url> {
    let lower = rest.to_ascii_lowercase();
    let sly = rest.contains("//") || rest.contains('\\') || ["%2e", "%2f", "%5c", "%25", "%00"].iter().any(|hidden| lower.contains(hidden));
    if sly || rest.split('/').any(|part| matches!(part, "." | "..")) || !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    let mut url = url::Url::parse(&format!("{behind}{rest}")).ok()?;
    url.set_query(query);
    let root = url::Url::parse(behind).ok()?;
    let inside = url.origin() == root.origin() && url.path().starts_with(root.path().trim_end_matches('/'));
    inside.then_some(url)
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn no_path_leaves_its_row() {
        let at = |rest: &str| below("https://api.example/v1", rest, None).map(|url| url.to_string());
        assert_eq!(at("/a/b").as_deref(), Some("https://api.example/v1/a/b"));
        assert_eq!(at("").as_deref(), Some("https://api.example/v1"));
        for bad in ["/../v2", "/a/../../v2", "//evil.example", "/%2e%2e/v2", "/a%2fb", "/.%2E/", "/a\\b", "@evil.example/", ".evil.example", "/%252e%252e/"] {
            assert_eq!(at(bad), None, "{bad}");
        }
        let url = below("https://api.example", "/a", Some("x=1")).map(|url| url.to_string());
        assert_eq!(url.as_deref(), Some("https://api.example/a?x=1"));
    }
}
