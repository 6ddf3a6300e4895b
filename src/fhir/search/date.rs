//! FHIR dates are intervals: their precision says how long. <https://hl7.org/fhir/R4/search.html#date>

use std::sync::LazyLock;

use jiff::civil::{Date, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp, ToSpan as _};
use serde_json::Value;

use crate::time::UnixTime;

/// A time without a zone is read as Norwegian time. fhir-server.md §6.
static OSLO: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::get("Europe/Oslo").unwrap_or(TimeZone::UTC));

/// From `from` up to, not including, `to`: microseconds since 1970-01-01T00:00:00Z. An open end reaches to the extreme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    pub from: i64,
    pub to: i64,
}

impl Interval {
    fn contains(self, other: Self) -> bool {
        self.from <= other.from && other.to <= self.to
    }

    fn overlaps(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    /// Reads a date, dateTime or instant. A blank where an offset's `+` should be is repaired: that is how an unencoded `+` arrives.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = match text.split_once('T') {
            None => (text, None),
            Some((date, time)) => (date, Some(time)),
        };
        let mut numbers = date.split('-');
        let year = digits(numbers.next()?, 4)?;
        let month = numbers.next().map(|text| digits(text, 2)).map_or(Some(None), |n| n.map(Some))?;
        let day = numbers.next().map(|text| digits(text, 2)).map_or(Some(None), |n| n.map(Some))?;
        if numbers.next().is_some() {
            return None;
        }
        let part = |n: i32| i8::try_from(n).ok();
        let first = Date::new(i16::try_from(year).ok()?, part(month.unwrap_or(1))?, part(day.unwrap_or(1))?).ok()?;
        let Some(time) = time else {
            let length: Span = match (month, day) {
                (None, _) => 1.year(),
                (_, None) => 1.month(),
                _ => 1.day(),
            };
            let to = first.checked_add(length).map_or(Some(i64::MAX), |after| instant(after, Time::midnight(), &OSLO))?;
            return Some(Self { from: instant(first, Time::midnight(), &OSLO)?, to });
        };
        day?;
        let (clock, zone) = split_zone(time)?;
        let (clock, fraction) = match clock.split_once('.') {
            None => (clock, None),
            Some((clock, fraction)) => (clock, Some(fraction)),
        };
        let mut numbers = clock.split(':');
        let hour = digits(numbers.next()?, 2)?;
        let minute = digits(numbers.next()?, 2)?;
        let second = numbers.next().map(|text| digits(text, 2)).map_or(Some(None), |n| n.map(Some))?;
        if numbers.next().is_some() || (fraction.is_some() && second.is_none()) {
            return None;
        }
        // 60 is a leap second to FHIR; the second before it is as near as a civil time gets.
        let second_of = second.map(|s| s.min(59));
        let at = Time::new(part(hour)?, part(minute)?, part(second_of.unwrap_or(0))?, 0).ok()?;
        let begin = instant(first, at, zone.as_ref().unwrap_or(&OSLO))?;
        let (offset, length) = match (fraction, second) {
            (Some(fraction), _) => fraction_us(fraction)?,
            (None, Some(_)) => (0, 1_000_000),
            (None, None) => (0, 60_000_000),
        };
        let from = begin.checked_add(offset)?;
        Some(Self { from, to: from.checked_add(length)? })
    }

    /// Reads an element: a date of any precision, or a Period.
    pub fn of_element(value: &Value) -> Option<Self> {
        if let Some(text) = value.as_str() {
            return Self::parse(text);
        }
        let end = |name: &str| value.get(name).and_then(Value::as_str).map(Self::parse);
        match (end("start"), end("end")) {
            (None, None) => None,
            (start, end) => Some(Self { from: start.map_or(Some(i64::MIN), |i| Some(i?.from))?, to: end.map_or(Some(i64::MAX), |i| Some(i?.to))? }),
        }
    }
}

/// How a date, a number or a quantity compares. R4 search, prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
    StartsAfter,
    EndsBefore,
    Approximately,
}

impl Prefix {
    /// The prefix of a value, and the rest of it.
    pub fn split(text: &str) -> (Self, &str) {
        let known = [
            ("eq", Self::Eq),
            ("ne", Self::Ne),
            ("gt", Self::Gt),
            ("ge", Self::Ge),
            ("lt", Self::Lt),
            ("le", Self::Le),
            ("sa", Self::StartsAfter),
            ("eb", Self::EndsBefore),
            ("ap", Self::Approximately),
        ];
        known.iter().find_map(|(word, prefix)| Some((*prefix, text.strip_prefix(word)?))).unwrap_or((Self::Eq, text))
    }
}

/// A date parameter's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    prefix: Prefix,
    interval: Interval,
}

impl Wanted {
    pub fn parse(text: &str, now: UnixTime) -> Option<Self> {
        let (prefix, rest) = Prefix::split(text);
        let mut interval = Interval::parse(rest)?;
        if prefix == Prefix::Approximately {
            // R4 search: ten per cent of the time between now and the date.
            let slack = now.0.saturating_mul(1_000_000).saturating_sub(interval.from).saturating_abs() / 10;
            interval = Interval { from: interval.from.saturating_sub(slack), to: interval.to.saturating_add(slack) };
        }
        Some(Self { prefix, interval })
    }

    pub fn matches(self, found: Interval) -> bool {
        let wanted = self.interval;
        match self.prefix {
            Prefix::Eq => wanted.contains(found),
            Prefix::Ne => !wanted.contains(found),
            Prefix::Gt => found.to > wanted.to,
            Prefix::Ge => found.to > wanted.to || wanted.contains(found),
            Prefix::Lt => found.from < wanted.from,
            Prefix::Le => found.from < wanted.from || wanted.contains(found),
            Prefix::StartsAfter => found.from >= wanted.to,
            Prefix::EndsBefore => found.to <= wanted.from,
            Prefix::Approximately => wanted.overlaps(found),
        }
    }
}

/// The last days of 9999, which are written for what has no end, lie beyond what a timestamp holds: they are as late as it gets.
fn instant(date: Date, time: Time, zone: &TimeZone) -> Option<i64> {
    match date.to_datetime(time).to_zoned(zone.clone()) {
        Ok(zoned) => Some(zoned.timestamp().as_microsecond()),
        Err(_) if date.year() == 9999 => Some(Timestamp::MAX.as_microsecond()),
        Err(_) => None,
    }
}

fn digits(text: &str, count: usize) -> Option<i32> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Splits `10:00:00+01:00` into its time and its zone. Outer `None`: an offset that cannot be read.
fn split_zone(time: &str) -> Option<(&str, Option<TimeZone>)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, Some(TimeZone::UTC)));
    }
    let Some(place) = time.find(['+', '-', ' ']) else { return Some((time, None)) };
    let (clock, offset) = time.split_at_checked(place)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    if minutes > 59 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    let signed = if offset.starts_with('-') { -seconds } else { seconds };
    Some((clock, Some(Offset::from_seconds(signed).ok()?.to_time_zone())))
}

/// Where a fraction of a second begins and how long its last digit is, in microseconds.
fn fraction_us(fraction: &str) -> Option<(i64, i64)> {
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let kept = fraction.get(..fraction.len().min(6))?;
    let unit = 10_i64.checked_pow(6 - u32::try_from(kept.len()).ok()?)?;
    Some((kept.parse::<i64>().ok()? * unit, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_795_000_000);

    #[test]
    fn the_end_of_time_is_a_date() {
        let found = Interval::parse("2026-11-22").unwrap();
        let open = Interval::of_element(&serde_json::json!({"start": "2020-01-01", "end": "9999-12-31"})).unwrap();
        for wanted in ["lt9999-12-31", "le9999", "le9999-12-31T23:59:59Z", "lt9999-12", "eb9999-12-30"] {
            let wanted = Wanted::parse(wanted, NOW).unwrap_or_else(|| panic!("{wanted}"));
            assert!(wanted.matches(found) && !Wanted::parse("gt9999-12-31", NOW).unwrap().matches(found));
        }
        assert!(Wanted::parse("ge2026", NOW).unwrap().matches(open) && !Wanted::parse("lt2020", NOW).unwrap().matches(open));
        assert_eq!((Interval::parse("9999-13"), Interval::parse("10000-01-01")), (None, None));
    }

    #[test]
    fn precision_decides_the_interval() {
        for (text, from, to) in [
            ("2026", "2025-12-31T23:00:00Z", "2026-12-31T23:00:00Z"),
            ("2026-07", "2026-06-30T22:00:00Z", "2026-07-31T22:00:00Z"),
            ("2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            ("2026-01-01T10:00Z", "2026-01-01T10:00:00Z", "2026-01-01T10:01:00Z"),
            ("2026-01-01T10:00:00+01:00", "2026-01-01T09:00:00Z", "2026-01-01T09:00:01Z"),
            ("2026-01-01T10:00:00 01:00", "2026-01-01T09:00:00Z", "2026-01-01T09:00:01Z"),
            ("2026-01-01T10:00:00", "2026-01-01T09:00:00Z", "2026-01-01T09:00:01Z"),
            ("2026-01-01T10:00:00.25Z", "2026-01-01T10:00:00.25Z", "2026-01-01T10:00:00.26Z"),
        ] {
            let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
            assert_eq!(Interval::parse(text), Some(Interval { from: at(from), to: at(to) }), "{text}");
        }
        for bad in [
            "",
            "26",
            "2026-1-1",
            "2026-13",
            "2026-02-30",
            "2026-01T10:00Z",
            "2026-01-01T25:00Z",
            "2026-01-01T10:00:00.Z",
            "2026-01-01T10",
            "yesterday",
            "2026-01-01T10:00+1:00",
        ] {
            assert_eq!(Interval::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn prefixes_compare_intervals() {
        for (wanted, found, yes) in [
            ("2026-01", "2026-01-15", true),
            ("2026-01-15", "2026-01", false),
            ("ne2026-01", "2026-02-01", true),
            ("gt2026-01-15", "2026-01-15T23:59:59+01:00", false),
            ("gt2026-01-15", "2026-01-16", true),
            ("ge2026-01-15", "2026-01-15T10:00:00Z", true),
            ("ge2026-01-15", "2026-01-14", false),
            ("lt2026-01-15", "2026-01-14", true),
            ("lt2026-01-15", "2026-01-15", false),
            ("le2026-01-15", "2026-01-15", true),
            ("sa2026-01-15", "2026-01-15T12:00:00Z", false),
            ("sa2026-01-15", "2026-01-16", true),
            ("eb2026-01-15", "2026-01-14", true),
            ("eb2026-01-15", "2026-01-15", false),
            ("ap2020", "2021-01-01", true),
            ("ap2026-11-01", "2020-01-01", false),
        ] {
            assert_eq!(Wanted::parse(wanted, NOW).unwrap().matches(Interval::parse(found).unwrap()), yes, "{wanted} on {found}");
        }
        let open = Interval::of_element(&serde_json::json!({"start": "2026-01-10"})).unwrap();
        assert!(Wanted::parse("gt2030", NOW).unwrap().matches(open));
        assert!(!Wanted::parse("2026-01", NOW).unwrap().matches(open));
        assert_eq!(Interval::of_element(&serde_json::json!({"text": "i vår"})), None);
    }
}
