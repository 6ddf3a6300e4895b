//! How long an answer may be used again. RFC 9111 §4.2, §5.2.2; never longer than it says (SAL-108).

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES};
use jiff::fmt::rfc2822::DateTimeParser;

/// Where the answer allows more, it is still asked for again after this.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Where the answer says nothing.
const UNSAID: Duration = Duration::from_secs(60);

/// How long from the moment the request was sent; zero where the answer may not be used again.
pub(super) fn fresh_for(headers: &HeaderMap) -> Duration {
    let mut lifetime = None;
    for value in headers.get_all(CACHE_CONTROL) {
        // What cannot be read might have said `no-store`.
        let Ok(value) = value.to_str() else { return Duration::ZERO };
        for directive in directives(value) {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Duration::ZERO,
                "max-age" => {
                    let said = seconds(argument.trim().trim_matches('"'));
                    lifetime = Some(lifetime.map_or(said, |earlier: Duration| earlier.min(said)));
                }
                // Other directives do not lengthen anything, and we never use what is stale.
                _ => {}
            }
        }
    }
    let lifetime = lifetime.unwrap_or_else(|| expires(headers).map_or(UNSAID, |left| left.min(UNSAID)));
    let age = headers.get_all(AGE).iter().filter_map(|value| value.to_str().ok()).map(|value| seconds(value.trim())).max().unwrap_or_default();
    lifetime.min(LONGEST).saturating_sub(age)
}

/// Delta-seconds: what overflows is very long, what is no number is nothing. RFC 9111 §1.2.2.
fn seconds(text: &str) -> Duration {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))) } else { Duration::ZERO }
}

/// `Expires` by the sender's own clock; what cannot be read is past. RFC 9111 §5.3.
fn expires(headers: &HeaderMap) -> Option<Duration> {
    let parser = DateTimeParser::new();
    let at = |value: &http::HeaderValue| parser.parse_timestamp(value.to_str().ok()?).ok();
    let expires = headers.get(EXPIRES)?;
    let left = at(expires).zip(headers.get(DATE).and_then(at)).map(|(expires, date)| expires.as_second().saturating_sub(date.as_second()));
    Some(Duration::from_secs(left.and_then(|left| u64::try_from(left).ok()).unwrap_or(0)))
}

/// The comma-separated directives; a comma inside quotes separates nothing.
fn directives(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    value
        .split(move |c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        })
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[(&str, &str)]) -> u64 {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        fresh_for(&headers).as_secs()
    }

    #[test]
    fn an_answer_is_used_no_longer_than_it_says() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let cases: &[(&[(&str, &str)], u64)] = &[
            (&[], 60),
            (&[("cache-control", "public")], 60),
            (&[("cache-control", "max-age=5")], 5),
            (&[("cache-control", "public, Max-Age=\"300\"")], 300),
            (&[("cache-control", "max-age=999999999")], 86_400),
            (&[("cache-control", "max-age=99999999999999999999999")], 86_400),
            (&[("cache-control", "max-age=300, no-store")], 0),
            (&[("cache-control", "max-age=300"), ("cache-control", "No-Cache")], 0),
            (&[("cache-control", "max-age=300, max-age=5")], 5),
            (&[("cache-control", "max-age=soon")], 0),
            (&[("cache-control", "max-age=-1")], 0),
            (&[("cache-control", "max-age=0")], 0),
            (&[("cache-control", "x=\"a, max-age=300, b\", max-age=7")], 7),
            (&[("cache-control", "x=\"a, max-age=300, b\"")], 60),
            (&[("cache-control", "max-age=300"), ("age", "290")], 10),
            (&[("cache-control", "max-age=300"), ("age", "400")], 0),
            // An older copy than the cap may still have time left only within the cap.
            (&[("cache-control", "max-age=999999"), ("age", "86399")], 1),
            (&[("age", "50")], 10),
            (&[date, ("expires", "Sun, 06 Nov 1994 08:49:47 GMT")], 10),
            (&[date, ("expires", "Sun, 06 Nov 1994 09:49:37 GMT")], 60),
            (&[date, ("expires", "Sun, 06 Nov 1994 08:49:00 GMT")], 0),
            (&[date, ("expires", "0")], 0),
            (&[date, ("expires", "0"), ("cache-control", "max-age=9")], 9),
        ];
        for (lines, expected) in cases {
            assert_eq!(of(lines), *expected, "{lines:?}");
        }
    }
}
