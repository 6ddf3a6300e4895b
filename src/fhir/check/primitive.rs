//! The formats of primitive types. <https://hl7.org/fhir/R4/datatypes.html>

use serde_json::Value;

/// The primitive types there are.
#[cfg(test)]
pub const KINDS: &[&str] = &[
    "base64Binary",
    "boolean",
    "canonical",
    "code",
    "date",
    "dateTime",
    "decimal",
    "id",
    "instant",
    "integer",
    "markdown",
    "oid",
    "positiveInt",
    "string",
    "time",
    "unsignedInt",
    "uri",
    "url",
    "uuid",
    "xhtml",
];

/// Whether a value is one of this type. A type that is not known takes any text.
pub fn is(kind: &str, value: &Value) -> bool {
    match (kind, value) {
        ("boolean", Value::Bool(_)) | ("decimal", Value::Number(_)) => true,
        ("integer", Value::Number(number)) => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        ("unsignedInt", Value::Number(number)) => number.as_i64().is_some_and(|n| (0..=i64::from(i32::MAX)).contains(&n)),
        ("positiveInt", Value::Number(number)) => number.as_i64().is_some_and(|n| (1..=i64::from(i32::MAX)).contains(&n)),
        ("boolean" | "decimal" | "integer" | "unsignedInt" | "positiveInt", _) => false,
        (_, Value::String(text)) => is_text(kind, text),
        _ => false,
    }
}

fn is_text(kind: &str, text: &str) -> bool {
    match kind {
        _ if text.is_empty() => false,
        // R4 datatypes, string: no control character but these.
        _ if text.bytes().any(|b| b < b' ' && !matches!(b, b'\t' | b'\n' | b'\r')) => false,
        // No blank at either end and no two in a row.
        "code" => !text.starts_with(' ') && !text.ends_with(' ') && !text.contains("  ") && !text.contains(['\t', '\n', '\r']),
        "id" => text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.'),
        "uri" | "url" | "canonical" => !text.contains(char::is_whitespace),
        "oid" => text.strip_prefix("urn:oid:").is_some_and(|rest| rest.split('.').all(|arc| !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit()))),
        "uuid" => text.strip_prefix("urn:uuid:").is_some_and(|rest| rest.len() == 36 && rest.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')),
        "date" => is_date(text),
        "dateTime" => is_date(text) || is_moment(text),
        "instant" => is_moment(text),
        "time" => is_time(text),
        "base64Binary" => is_base64(text),
        "xhtml" => text.trim_start().starts_with("<div"),
        _ => text.chars().any(|c| !c.is_whitespace()),
    }
}

fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// `2026`, `2026-11` or `2026-11-23`; the day must be on the calendar.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let year = |text: &str| digits(text, 4).is_some_and(|year| year > 0);
    match parts.as_slice() {
        [y] => year(y),
        [y, month] => year(y) && digits(month, 2).is_some_and(|month| (1..=12).contains(&month)),
        [y, month, day] => year(y) && digits(month, 2).is_some() && digits(day, 2).is_some() && text.parse::<jiff::civil::Date>().is_ok(),
        _ => false,
    }
}

/// A date and a time to the second at least, with a zone.
fn is_moment(text: &str) -> bool {
    let Some((date, rest)) = text.split_once('T') else { return false };
    let zone = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let Some((time, zone)) = rest.split_at_checked(zone) else { return false };
    let zoned = match zone.split_at_checked(1) {
        Some(("Z", "")) => true,
        Some(("+" | "-", offset)) => {
            offset.split_once(':').is_some_and(|(hours, minutes)| digits(hours, 2).is_some_and(|h| h <= 14) && digits(minutes, 2).is_some_and(|m| m <= 59))
        }
        _ => false,
    };
    zoned && date.len() == 10 && is_date(date) && is_time(time)
}

fn is_time(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let parts: Vec<&str> = whole.split(':').collect();
    let [hours, minutes, seconds] = parts.as_slice() else { return false };
    digits(hours, 2).is_some_and(|h| h <= 23)
        && digits(minutes, 2).is_some_and(|m| m <= 59)
        && digits(seconds, 2).is_some_and(|s| s <= 60)
        && fraction.is_none_or(|fraction| !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit()))
}

/// Whole groups of four, padded; blank between them may stand.
fn is_base64(text: &str) -> bool {
    let mut count = 0usize;
    let mut padding = 0usize;
    for byte in text.bytes() {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'=' => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => {}
            _ => return false,
        }
        count += 1;
    }
    count > 0 && count.is_multiple_of(4) && padding <= 2
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats() {
        for (kind, good, bad) in [
            ("boolean", vec![json!(true)], vec![json!("true"), json!(1)]),
            ("decimal", vec![json!(5.0), json!(1)], vec![json!("5")]),
            ("integer", vec![json!(-3)], vec![json!(3_000_000_000i64), json!(1.5)]),
            ("positiveInt", vec![json!(1)], vec![json!(0), json!(-1)]),
            ("unsignedInt", vec![json!(0)], vec![json!(-1)]),
            ("code", vec![json!("NO-nb"), json!("a b")], vec![json!(""), json!(" a"), json!("a  b")]),
            ("id", vec![json!("a-1.B")], vec![json!("a_b"), json!("a".repeat(65))]),
            ("date", vec![json!("2026"), json!("2026-11"), json!("2024-02-29")], vec![json!("2026-13"), json!("2026-02-30"), json!("26-1-1"), json!("x")]),
            (
                "dateTime",
                vec![json!("2026-11-23"), json!("2026-11-23T10:00:00+01:00"), json!("2026-11-23T10:00:00.123Z")],
                vec![json!("2026-11-23T10:00Z"), json!("2026-11-23T10:00:00"), json!("2026-11-23T25:00:00Z"), json!("2026-11T10:00:00Z")],
            ),
            ("instant", vec![json!("2026-11-23T10:00:00Z")], vec![json!("2026-11-23")]),
            ("time", vec![json!("10:00:00"), json!("10:00:00.5")], vec![json!("10:00"), json!("24:00:00"), json!("10:00:00.")]),
            ("base64Binary", vec![json!("JVBERi0xLjQK"), json!("YQ=="), json!("YWJj\nYWJj")], vec![json!("YQ="), json!("Y=Q="), json!("æ")]),
            ("uri", vec![json!("urn:oid:1.2"), json!("Binary/x")], vec![json!("a b")]),
            ("oid", vec![json!("urn:oid:1.2.3")], vec![json!("1.2.3"), json!("urn:oid:1..2")]),
            ("string", vec![json!("x"), json!(" æ ")], vec![json!(""), json!("  "), json!("a\u{0}"), json!(1), json!({"a": 1})]),
        ] {
            for value in good {
                assert!(is(kind, &value), "{kind} {value}");
            }
            for value in bad {
                assert!(!is(kind, &value), "{kind} {value}");
            }
        }
    }
}
