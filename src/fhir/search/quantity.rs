//! Quantities: `[prefix]number[|system|unit]`, compared as exactly as they are written. <https://hl7.org/fhir/R4/search.html#quantity>

use serde_json::Value;

use super::date::Prefix;
use super::text::{split, unescape};
use super::token::bare_oid;

/// Fractions of a number are counted in units of 10⁻¹⁵.
const SCALE: i32 = 15;
/// The most digits a number may have: with [`SCALE`] it stays well inside what an `i128` holds.
const DIGITS: usize = 18;

/// A decimal as it is written: what it is worth, and half of its last digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decimal {
    value: i128,
    half: i128,
}

impl Decimal {
    /// `None` for anything but a decimal of at most [`DIGITS`] digits between 10⁻¹⁴ and 10¹⁸.
    fn parse(text: &str) -> Option<Self> {
        let (text, exponent) = match text.split_once(['e', 'E']) {
            None => (text, 0),
            Some((text, exponent)) => (text, exponent.parse::<i32>().ok()?),
        };
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}");
        if whole.is_empty() || text.ends_with('.') || digits.len() > DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let last = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let unit = u32::try_from(last.checked_add(SCALE)?).ok().filter(|power| (1..=33).contains(power)).map(|power| 10_i128.pow(power))?;
        let value = digits.parse::<i128>().ok()?.checked_mul(unit)?;
        Some(Self { value: if negative { -value } else { value }, half: unit / 2 })
    }
}

/// A quantity parameter's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedQuantity {
    prefix: Prefix,
    number: Decimal,
    unit: Unit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Unit {
    Any,
    /// `||unit`: the code or the words.
    Named(String),
    Coded {
        system: String,
        code: String,
    },
}

impl WantedQuantity {
    pub fn parse(text: &str) -> Option<Self> {
        let parts = split(text, '|');
        let (prefix, number) = Prefix::split(parts.first()?);
        let unit = match *parts {
            [_] => Unit::Any,
            [_, system, code] if !code.is_empty() => match unescape(system) {
                system if system.is_empty() => Unit::Named(unescape(code)),
                system => Unit::Coded { system: bare_oid(&system).to_owned(), code: unescape(code) },
            },
            _ => return None,
        };
        Some(Self { prefix, number: Decimal::parse(number)?, unit })
    }

    /// Whether a Quantity is one of these. A comparator makes it a range without an end.
    pub fn matches(&self, found: &Value) -> bool {
        let text = |name: &str| found.get(name).and_then(Value::as_str);
        let unit = match &self.unit {
            Unit::Any => true,
            Unit::Named(name) => text("code") == Some(name) || text("unit") == Some(name),
            Unit::Coded { system, code } => text("system").is_some_and(|found| bare_oid(found) == system) && text("code") == Some(code),
        };
        let Some(value) = found.get("value").and_then(Value::as_number).and_then(|number| Decimal::parse(number.as_str())) else { return false };
        let (low, high) = match text("comparator") {
            Some("<" | "<=") => (i128::MIN, value.value),
            Some(">" | ">=") => (value.value, i128::MAX),
            _ => (value.value, value.value),
        };
        let Decimal { value: wanted, half } = self.number;
        let about = |slack: i128| low >= wanted.saturating_sub(slack) && high < wanted.saturating_add(slack).saturating_add(i128::from(slack == 0));
        unit && match self.prefix {
            Prefix::Eq => about(half),
            Prefix::Ne => !about(half),
            // With these the number is taken as exact. R4 search, number.
            Prefix::Gt | Prefix::StartsAfter => high > wanted,
            Prefix::Ge => high >= wanted,
            Prefix::Lt | Prefix::EndsBefore => low < wanted,
            Prefix::Le => low <= wanted,
            Prefix::Approximately => {
                let slack = (wanted.abs() / 10).max(half);
                low <= wanted.saturating_add(slack) && high >= wanted.saturating_sub(slack)
            }
        }
    }

    /// What a Quantity is worth, for sorting.
    pub fn worth(found: &Value) -> Option<i128> {
        Decimal::parse(found.get("value")?.as_number()?.as_str()).map(|number| number.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_and_units_count() {
        let mg = |value: &str| format!(r#"{{"value":{value},"unit":"mg","system":"http://unitsofmeasure.org","code":"mg"}}"#);
        let below = r#"{"value":5,"comparator":"<","unit":"mg"}"#.to_owned();
        for (wanted, found, yes) in [
            ("5.4", mg("5.4"), true),
            ("5.4", mg("5.35"), true),
            ("5.4", mg("5.449"), true),
            ("5.4", mg("5.45"), false),
            ("5.40", mg("5.41"), false),
            ("5", mg("5.4"), true),
            ("5e0", mg("5.4"), true),
            ("1e2", mg("149"), true),
            ("100", mg("149"), false),
            ("ne5.4", mg("5.45"), true),
            ("gt5.4", mg("5.4"), false),
            ("gt5.4", mg("5.400001"), true),
            ("ge5.4", mg("5.4"), true),
            ("lt-1", mg("-1.5"), true),
            ("le5", mg("5.0"), true),
            ("sa5", mg("5"), false),
            ("eb5", mg("4.9"), true),
            ("ap100", mg("109"), true),
            ("ap100", mg("111"), false),
            ("5.4|http://unitsofmeasure.org|mg", mg("5.4"), true),
            ("5.4|http://unitsofmeasure.org|g", mg("5.4"), false),
            ("5.4|urn:x|mg", mg("5.4"), false),
            ("5.4||mg", mg("5.4"), true),
            ("5.4||g", mg("5.4"), false),
            ("lt5", below.clone(), true),
            ("gt5", below.clone(), false),
            ("5", below, false),
            ("5", r#"{"unit":"mg"}"#.to_owned(), false),
        ] {
            let value: Value = serde_json::from_str(&found).unwrap();
            assert_eq!(WantedQuantity::parse(wanted).unwrap().matches(&value), yes, "{wanted} on {found}");
        }
        for bad in ["", "x", "5.", ".5", "5|mg", "5||", "5|s|", "5|a|b|c", "1e99", "1e-99", "--5", "gt", "1234567890123456789", "5,4"] {
            assert_eq!(WantedQuantity::parse(bad), None, "{bad}");
        }
    }
}
