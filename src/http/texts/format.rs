//! Dates, durations and codes as people write them.

use std::time::Duration;

use jiff::civil::{Date, DateTime};

use crate::protocol::lang::Lang;

const MONTHS: [(&str, &str); 12] = [
    ("januar", "January"),
    ("februar", "February"),
    ("mars", "March"),
    ("april", "April"),
    ("mai", "May"),
    ("juni", "June"),
    ("juli", "July"),
    ("august", "August"),
    ("september", "September"),
    ("oktober", "October"),
    ("november", "November"),
    ("desember", "December"),
];

impl Lang {
    /// "14. mars 1974", "14 March 1974".
    pub fn date(self, date: Date) -> String {
        let (nb, en) = usize::try_from(date.month()).ok().and_then(|month| MONTHS.get(month.checked_sub(1)?)).copied().unwrap_or_default();
        match self {
            Self::Nb => format!("{}. {nb} {}", date.day(), date.year()),
            Self::En => format!("{} {en} {}", date.day(), date.year()),
        }
    }

    /// A FHIR `date`, which may lack day or month, as text: what does not parse is shown as it is.
    pub fn fhir_date(self, text: &str) -> String {
        if let Ok(date) = text.parse::<Date>() {
            return self.date(date);
        }
        let month = text.split_once('-').and_then(|(year, month)| Some((year, MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?)?)));
        match (month, self) {
            (Some((year, (nb, _))), Self::Nb) => format!("{nb} {year}"),
            (Some((year, (_, en))), Self::En) => format!("{en} {year}"),
            (None, _) => text.to_owned(),
        }
    }

    /// "23. november 2026 kl. 10.15", "23 November 2026, 10:15". In the clinic's own time: convert first.
    pub fn date_time(self, when: DateTime) -> String {
        let date = self.date(when.date());
        match self {
            Self::Nb => format!("{date} kl. {:02}.{:02}", when.hour(), when.minute()),
            Self::En => format!("{date}, {:02}:{:02}", when.hour(), when.minute()),
        }
    }

    /// "12 timer", "90 dager", "1 time og 30 minutter": days from two days up, then hours, then minutes. Rounded up to the minute.
    pub fn duration(self, duration: Duration) -> String {
        let minutes = duration.as_secs().div_ceil(60);
        let (days, hours) = (minutes / 1440, minutes / 60);
        match (days, hours) {
            (2.., _) => self.count(minutes.div_ceil(1440), ("dag", "dager"), ("day", "days")),
            (_, 1..) if minutes.is_multiple_of(60) => self.count(hours, ("time", "timer"), ("hour", "hours")),
            (_, 1..) => {
                let hours = self.count(hours, ("time", "timer"), ("hour", "hours"));
                let minutes = self.count(minutes % 60, ("minutt", "minutter"), ("minute", "minutes"));
                match self {
                    Self::Nb => format!("{hours} og {minutes}"),
                    Self::En => format!("{hours} and {minutes}"),
                }
            }
            _ => self.count(minutes, ("minutt", "minutter"), ("minute", "minutes")),
        }
    }

    fn count(self, n: u64, (one_nb, many_nb): (&str, &str), (one_en, many_en): (&str, &str)) -> String {
        let word = match (self, n == 1) {
            (Self::Nb, true) => one_nb,
            (Self::Nb, false) => many_nb,
            (Self::En, true) => one_en,
            (Self::En, false) => many_en,
        };
        format!("{n} {word}")
    }

    /// A code of FHIR's `administrative-gender`.
    pub fn sex(self, code: &str) -> &'static str {
        match (code, self) {
            ("female", Self::Nb) => "kvinne",
            ("female", Self::En) => "female",
            ("male", Self::Nb) => "mann",
            ("male", Self::En) => "male",
            ("other", Self::Nb) => "annet kjønn",
            ("other", Self::En) => "other sex",
            (_, Self::Nb) => "ukjent kjønn",
            (_, Self::En) => "sex unknown",
        }
    }

    /// "fødselsnummer slutter på 96": enough to tell two patients apart, too little to be a number. `None` for what is too short to hide.
    pub fn identity_number_hint(self, number: &str) -> Option<String> {
        let digits: Vec<char> = number.chars().filter(char::is_ascii_digit).collect();
        match digits.as_slice() {
            [_, _, _, _, .., tens, ones] => Some(self.identity_ends(format_args!("{tens}{ones}"))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_out() {
        let date = jiff::civil::date(1974, 3, 4);
        assert_eq!(Lang::Nb.date(date), "4. mars 1974");
        assert_eq!(Lang::En.date(date), "4 March 1974");
        assert_eq!(Lang::Nb.date_time(date.at(9, 5, 59, 0)), "4. mars 1974 kl. 09.05");
        assert_eq!(Lang::En.date_time(date.at(9, 5, 59, 0)), "4 March 1974, 09:05");
    }

    #[test]
    fn fhir_dates_may_be_partial() {
        for (text, nb, en) in [
            ("1974-12-24", "24. desember 1974", "24 December 1974"),
            ("1974-12", "desember 1974", "December 1974"),
            ("1974", "1974", "1974"),
            ("1974-13", "1974-13", "1974-13"),
            ("1974-00", "1974-00", "1974-00"),
            ("", "", ""),
        ] {
            assert_eq!(Lang::Nb.fhir_date(text), nb);
            assert_eq!(Lang::En.fhir_date(text), en);
        }
    }

    #[test]
    fn durations_are_in_the_largest_unit_that_says_it() {
        for (seconds, nb, en) in [
            (0, "0 minutter", "0 minutes"),
            (1, "1 minutt", "1 minute"),
            (300, "5 minutter", "5 minutes"),
            (3600, "1 time", "1 hour"),
            (5400, "1 time og 30 minutter", "1 hour and 30 minutes"),
            (43_200, "12 timer", "12 hours"),
            (86_400, "24 timer", "24 hours"),
            (90 * 86_400, "90 dager", "90 days"),
        ] {
            assert_eq!(Lang::Nb.duration(Duration::from_secs(seconds)), nb);
            assert_eq!(Lang::En.duration(Duration::from_secs(seconds)), en);
        }
    }

    #[test]
    fn an_identity_number_is_never_whole() {
        assert_eq!(Lang::Nb.identity_number_hint("14839219696").unwrap(), "fødselsnummer slutter på 96");
        assert_eq!(Lang::En.identity_number_hint("148392 19696").unwrap(), "identity number ends in 96");
        assert_eq!(Lang::Nb.identity_number_hint("12345"), None);
    }
}
