//! The `claims` parameter: which claims a client asks for by name. OIDC Core §5.5, https://openid.net/specs/openid-connect-core-1_0.html.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json;

/// What we act on of a `claims` parameter. Claims we know nothing about, or that only scopes give, are passed over (OIDC Core §5.5.1: no
/// error because one is not returned).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimsRequest {
    /// `acr` with values, in the order wished for. OIDC Core §5.5.1.1.
    #[serde(default)]
    pub acr: Vec<String>,
    /// The login must have been one of `acr_among`; else it has failed.
    #[serde(default)]
    pub acr_essential: bool,
    /// What each member that demands values will take; records of before it was kept have `None` and demand one of `acr`.
    #[serde(default)]
    acr_among: Option<Vec<String>>,
    /// `auth_time` must be in the id_token. OIDC Core §2.
    #[serde(default)]
    pub auth_time_essential: bool,
    /// The users an answer may be about; anybody where it is `None`. OIDC Core §3.1.2.2, §5.5.1.
    #[serde(default)]
    pub sub: Option<Vec<String>>,
}

/// Why a `claims` parameter cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsRequestError {
    #[error("claims must be a JSON object with each member once")]
    NotAnObject,
    #[error("id_token and userinfo in claims must be JSON objects")]
    Member,
    #[error("each claim in claims must be null or an object with essential, value or values")]
    Claim,
}

impl ClaimsRequest {
    /// Reads the parameter. What the two members ask of `sub` and `acr` holds for the one login behind both.
    ///
    /// # Errors
    /// [`ClaimsRequestError`]
    pub fn parse(text: &str) -> Result<Self, ClaimsRequestError> {
        let members = json::object(text.as_bytes()).ok_or(ClaimsRequestError::NotAnObject)?;
        let mut asked = Self::default();
        for name in ["id_token", "userinfo"] {
            let claims = match members.get(name) {
                None | Some(Value::Null) => continue,
                Some(Value::Object(claims)) => claims,
                Some(_) => return Err(ClaimsRequestError::Member),
            };
            for (claim, wanted) in claims {
                asked.add(claim, &Wanted::parse(wanted)?)?;
            }
        }
        Ok(asked)
    }

    /// Whether a login by this name will do. OIDC Core §5.5.1.1.
    pub fn takes_acr(&self, acr: &str) -> bool {
        !self.acr_essential || self.acr_among.as_ref().unwrap_or(&self.acr).iter().any(|wanted| wanted == acr)
    }

    fn add(&mut self, claim: &str, wanted: &Wanted<'_>) -> Result<(), ClaimsRequestError> {
        match claim {
            "sub" => {
                if let Some(values) = wanted.texts()? {
                    self.sub = Some(in_both(self.sub.take(), &values));
                }
            }
            "acr" => {
                let values = wanted.texts()?.unwrap_or_default();
                // Essential without values asks for no more than that it be told, which it is.
                if wanted.essential && !values.is_empty() {
                    self.acr_essential = true;
                    self.acr_among = Some(in_both(self.acr_among.take(), &values));
                }
                self.acr.extend(values);
            }
            "auth_time" => self.auth_time_essential |= wanted.essential,
            _ => {}
        }
        Ok(())
    }
}

/// Asked for twice, in both members: only what is in both will do.
fn in_both(before: Option<Vec<String>>, values: &[String]) -> Vec<String> {
    match before {
        None => values.to_vec(),
        Some(before) => before.into_iter().filter(|value| values.contains(value)).collect(),
    }
}

/// How one claim is asked for. OIDC Core §5.5.1.
struct Wanted<'a> {
    essential: bool,
    /// `value` or `values`.
    values: Option<Vec<&'a Value>>,
}

impl<'a> Wanted<'a> {
    fn parse(value: &'a Value) -> Result<Self, ClaimsRequestError> {
        let members = match value {
            Value::Null => return Ok(Self { essential: false, values: None }),
            Value::Object(members) => members,
            _ => return Err(ClaimsRequestError::Claim),
        };
        let essential = match members.get("essential") {
            None => false,
            Some(flag) => flag.as_bool().ok_or(ClaimsRequestError::Claim)?,
        };
        let values = match (members.get("value"), members.get("values")) {
            (None, None) => None,
            (Some(one), None) => Some(vec![one]),
            (None, Some(Value::Array(several))) => Some(several.iter().collect()),
            (_, Some(_)) => return Err(ClaimsRequestError::Claim),
        };
        Ok(Self { essential, values })
    }

    /// The values of a claim that is a text.
    fn texts(&self) -> Result<Option<Vec<String>>, ClaimsRequestError> {
        let text = |value: &&Value| value.as_str().map(str::to_owned).ok_or(ClaimsRequestError::Claim);
        self.values.as_ref().map(|values| values.iter().map(text).collect()).transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> ClaimsRequest {
        ClaimsRequest::parse(text).unwrap()
    }

    /// The example of OIDC Core §5.5.
    #[test]
    fn the_published_example_is_understood() {
        let asked = read(
            r#"{"userinfo":{"given_name":{"essential":true},"nickname":null,"email":{"essential":true},"email_verified":{"essential":true},"picture":null,
                "http://example.info/claims/groups":null},"id_token":{"auth_time":{"essential":true},"acr":{"values":["urn:mace:incommon:iap:silver"]}}}"#,
        );
        assert_eq!(asked.acr, ["urn:mace:incommon:iap:silver"]);
        assert_eq!((asked.acr_essential, asked.auth_time_essential, asked.sub), (false, true, None));
    }

    #[test]
    fn what_is_asked_for_twice_must_hold_twice() {
        let both = |a: &str, b: &str| read(&format!(r#"{{"id_token":{{"sub":{a}}},"userinfo":{{"sub":{b}}}}}"#)).sub;
        assert_eq!(both(r#"{"value":"a"}"#, "null"), Some(vec!["a".to_owned()]));
        assert_eq!(both(r#"{"value":"a"}"#, r#"{"values":["b","a"]}"#), Some(vec!["a".to_owned()]));
        assert_eq!(both(r#"{"value":"a"}"#, r#"{"value":"b"}"#), Some(Vec::new()), "nobody is both");
    }

    #[test]
    fn only_an_acr_with_a_value_can_fail() {
        assert!(read(r#"{"id_token":{"acr":{"essential":true,"value":"x"}}}"#).acr_essential);
        assert!(!read(r#"{"id_token":{"acr":{"essential":true}}}"#).acr_essential);
        assert!(!read(r#"{"id_token":{"acr":{"value":"x"}}}"#).acr_essential);
    }

    #[test]
    fn an_essential_acr_of_either_member_must_hold() {
        let asked = |id_token: &str, userinfo: &str| read(&format!(r#"{{"id_token":{{"acr":{id_token}}},"userinfo":{{"acr":{userinfo}}}}}"#));
        let (four, three, both) = (r#"{"essential":true,"value":"Level4"}"#, r#""value":"Level3"}"#, r#"{"essential":true,"values":["Level3","Level4"]}"#);
        for (id_token, userinfo, takes_four, takes_three) in [
            (four, format!("{{{three}"), true, false),
            (four, both.to_owned(), true, false),
            (both, both.to_owned(), true, true),
            (four, format!(r#"{{"essential":true,{three}"#), false, false),
            (four, "null".to_owned(), true, false),
            ("null", format!("{{{three}"), true, true),
        ] {
            for asked in [asked(id_token, &userinfo), asked(&userinfo, id_token)] {
                assert_eq!((asked.takes_acr("Level4"), asked.takes_acr("Level3")), (takes_four, takes_three), "{id_token} {userinfo}");
            }
        }
        let wished = asked(four, &format!("{{{three}")).acr;
        assert_eq!(wished, ["Level4", "Level3"], "a wish stays one");
    }

    #[test]
    fn a_record_of_before_still_demands() {
        let kept: ClaimsRequest = serde_json::from_str(r#"{"acr":["a"],"acr_essential":true,"auth_time_essential":false,"sub":null}"#).unwrap();
        assert!(kept.takes_acr("a") && !kept.takes_acr("b"));
    }

    #[test]
    fn what_is_no_claims_request_is_refused() {
        use ClaimsRequestError as E;
        for (text, why) in [
            ("", E::NotAnObject),
            ("{", E::NotAnObject),
            ("[]", E::NotAnObject),
            ("null", E::NotAnObject),
            (r#"{"id_token":{"acr":{"essential":true,"value":"a"}},"id_token":{}}"#, E::NotAnObject),
            (r#"{"id_token":[]}"#, E::Member),
            (r#"{"userinfo":"name"}"#, E::Member),
            (r#"{"id_token":{"name":true}}"#, E::Claim),
            (r#"{"id_token":{"name":{"essential":"true"}}}"#, E::Claim),
            (r#"{"id_token":{"acr":{"value":1}}}"#, E::Claim),
            (r#"{"id_token":{"acr":{"values":"x"}}}"#, E::Claim),
            (r#"{"id_token":{"sub":{"values":[1]}}}"#, E::Claim),
            (r#"{"id_token":{"sub":{"value":"a","values":["a"]}}}"#, E::Claim),
        ] {
            assert_eq!(ClaimsRequest::parse(text), Err(why), "{text}");
        }
        // Members and claims nobody knows are none of our business.
        assert_eq!(read(r#"{"id_token":{"x":{"value":1,"y":2}},"verified":3,"userinfo":null}"#), ClaimsRequest::default());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            let _ = ClaimsRequest::parse(&text);
        }
    }
}
