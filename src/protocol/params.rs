//! Parameters of a form or a query: pairs with one value each. RFC 6749 §3.1, §3.2, appendix B.

use percent_encoding::percent_decode;

/// At most this many parameters in one request: more than any protocol here needs, few enough to look at cheaply.
const MOST: usize = 100;

/// The longest name of a parameter, in bytes. Values are bounded with the body that brings them.
const LONGEST_NAME: usize = 256;

/// What may come more than once: RFC 8707 §2, RFC 8693 §2.1.
const REPEATABLE: &[&str] = &["resource", "audience"];

/// Why a body or query is not a list of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    #[error("the parameters are not UTF-8")]
    Encoding,
    #[error("there are more than 100 parameters")]
    TooMany,
    #[error("the name of a parameter is longer than 256 bytes")]
    Name,
}

/// The pairs of a request, in order. An empty value counts as absent (RFC 6749 §3.1); names are compared byte for byte.
#[derive(Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// # Errors
    /// [`ParamsError`] for text that is no UTF-8, or too much of it. A stray `%` stands for itself, as browsers have it.
    pub fn parse(encoded: &[u8]) -> Result<Self, ParamsError> {
        let mut pairs = Vec::new();
        for pair in encoded.split(|&b| b == b'&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == MOST {
                return Err(ParamsError::TooMany);
            }
            let cut = pair.iter().position(|&b| b == b'=');
            let (name, value) = cut.map_or((pair, &[][..]), |at| (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()));
            if name.len() > LONGEST_NAME {
                return Err(ParamsError::Name);
            }
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The value of a parameter; its first where it was sent twice, which [`Params::repeated`] tells.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter that may be repeated.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A parameter sent more than once that must not be. RFC 6749 §3.1: an error, whatever its value.
    pub fn repeated(&self) -> Option<&str> {
        let repeats = |place: usize, name: &str| self.0.iter().take(place).any(|(earlier, _)| earlier == name);
        self.0.iter().enumerate().find(|(place, (name, _))| !REPEATABLE.contains(&name.as_str()) && repeats(*place, name)).map(|(_, (name, _))| name.as_str())
    }

    /// Whether this one parameter was sent more than once.
    pub fn is_repeated(&self, name: &str) -> bool {
        self.0.iter().filter(|(known, _)| known == name).count() > 1
    }

    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn decode(part: &[u8]) -> Result<String, ParamsError> {
    // Most values stand for themselves, and some are long.
    if !part.iter().any(|b| matches!(b, b'+' | b'%')) {
        return String::from_utf8(part.to_vec()).map_err(|_| ParamsError::Encoding);
    }
    let spaced: Vec<u8> = part.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
    percent_decode(&spaced).decode_utf8().map(|text| text.into_owned()).map_err(|_| ParamsError::Encoding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_are_decoded_once() {
        let params = Params::parse(b"a=1+2&b=%2B%20&c=&d&e=x=y&%C3%A5=%c3%a6&f=100%").unwrap();
        assert_eq!(params.get("a"), Some("1 2"));
        assert_eq!(params.get("b"), Some("+ "));
        assert_eq!((params.get("c"), params.get("d")), (None, None));
        assert_eq!(params.get("e"), Some("x=y"));
        assert_eq!(params.get("å"), Some("æ"));
        assert_eq!(params.get("f"), Some("100%"));
    }

    #[test]
    fn a_repeated_name_is_told_even_when_empty() {
        assert_eq!(Params::parse(b"a=1&b=2&a=").unwrap().repeated(), Some("a"));
        assert_eq!(Params::parse(b"resource=1&resource=2&audience=x&audience=y").unwrap().repeated(), None);
    }

    #[test]
    fn no_utf8_no_parameters() {
        assert_eq!(Params::parse(b"a=%ff").err(), Some(ParamsError::Encoding));
        let many = vec!["a=1"; 101].join("&");
        assert_eq!(Params::parse(many.as_bytes()).err(), Some(ParamsError::TooMany));
        assert_eq!(Params::parse(format!("{}=1", "a".repeat(257)).as_bytes()).err(), Some(ParamsError::Name));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Params::parse(&bytes);
        }

        #[test]
        fn what_a_client_encodes_is_what_we_read(name in "[a-z_]{1,12}", value in "\\PC{1,40}") {
            let encoded = form_urlencoded::Serializer::new(String::new()).append_pair(&name, &value).finish();
            let params = Params::parse(encoded.as_bytes()).unwrap();
            prop_assert_eq!(params.get(&name), Some(value.as_str()));
        }
    }
}
