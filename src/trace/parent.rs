//! `traceparent` and `tracestate` as they arrive. W3C Trace Context §3.2, §3.3.

use std::fmt::Write as _;

use http::HeaderMap;

use super::{TRACEPARENT, TRACESTATE};

/// The longest `tracestate` that is looked at. §3.3.1.5 asks for 512 at least.
const LONGEST_STATE: usize = 512;

/// The span of the caller that a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    pub(super) sampled: bool,
    /// As it came, not yet understood.
    pub(super) state: Option<String>,
}

impl Parent {
    /// What the headers tell; `None` where they tell nothing that can be believed to be meant. §4.3.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (Some(only), None) = (values.next(), values.next()) else { return None };
        let mut parent = Self::parse(only.to_str().ok()?)?;
        let states: Option<Vec<&str>> = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
        parent.state = states.map(|states| states.join(",")).filter(|state| !state.is_empty() && state.len() <= LONGEST_STATE);
        Some(parent)
    }

    /// `00-{trace}-{span}-{flags}`, in lower case; a later version may go on behind another dash. §3.2.2.
    pub fn parse(text: &str) -> Option<Self> {
        let (known, rest) = text.split_at_checked(55)?;
        let mut parts = known.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = bytes::<1>(version)?;
        let goes_on = rest.is_empty() || (version != 0 && rest.starts_with('-'));
        if parts.next().is_some() || version == 0xff || !goes_on {
            return None;
        }
        let (trace, span, [flags]) = (bytes::<16>(trace)?, bytes::<8>(span)?, bytes::<1>(flags)?);
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, sampled: flags & 1 == 1, state: None })
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        hexadecimal(&self.trace)
    }

    /// In the version we know.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id(), hexadecimal(&self.span), u8::from(self.sampled))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Exactly so many bytes, in lower-case hexadecimal.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    if !odd.is_empty() || pairs.len() != N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_well_formed_is_read_and_written_again() {
        let parent = Parent::parse(GOOD).unwrap();
        assert!(parent.sampled && parent.trace_id() == "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.traceparent(), GOOD);
        for (text, written) in [
            (GOOD.replace("-01", "-00"), GOOD.replace("-01", "-00")),
            // Flags we do not know are not passed on.
            (GOOD.replace("-01", "-ff"), GOOD.to_owned()),
            // A later version, with and without more.
            (GOOD.replacen("00", "01", 1), GOOD.to_owned()),
            (format!("{}-what-comes", GOOD.replacen("00", "cc", 1)), GOOD.to_owned()),
        ] {
            assert_eq!(Parent::parse(&text).map(|parent| parent.traceparent()), Some(written), "{text}");
        }
    }

    #[test]
    fn what_is_not_is_as_if_it_were_not_there() {
        for text in [
            String::new(),
            GOOD.to_uppercase(),
            format!("{GOOD}-"),
            format!("{GOOD}-00"),
            format!("{GOOD} "),
            format!(" {GOOD}"),
            GOOD.replacen("00", "ff", 1),
            format!("{}x", GOOD.replacen("00", "01", 1)),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            GOOD.replace("00f067aa0ba902b7", "0000000000000000"),
            GOOD.replace("4bf9", "4bg9"),
            GOOD.replace('-', "_"),
            GOOD.replace("-01", "-0"),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b-701".to_owned(),
            "ø".repeat(40),
        ] {
            assert_eq!(Parent::parse(&text), None, "{text}");
        }
        let mut twice = HeaderMap::new();
        twice.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(Parent::of(&twice).is_some());
        twice.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(Parent::of(&twice), None);
    }

    #[test]
    fn states_are_one_list_and_not_a_long_one() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        assert_eq!(Parent::of(&headers).unwrap().state.as_deref(), Some("a=1,b=2"));
        headers.append(TRACESTATE, HeaderValue::try_from(format!("c={}", "x".repeat(600))).unwrap());
        assert_eq!(Parent::of(&headers).unwrap().state, None);
    }
}
