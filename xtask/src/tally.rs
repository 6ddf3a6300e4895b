//! Counting what cargo's test runs say at their end.

use std::fmt;
use std::ops::AddAssign;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
    pub filtered_out: u64,
}

impl Tally {
    /// Reads `test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 131 filtered out; finished in 3.70s`, the closing line of one test
    /// binary; nothing for any other line.
    pub fn of_line(line: &str) -> Option<Self> {
        let (_verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |name: &str| counts.split("; ").find_map(|part| part.strip_suffix(name)?.trim_end().parse().ok());
        Some(Self { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")?, filtered_out: count("filtered out")? })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.ignored += more.ignored;
        self.filtered_out += more.filtered_out;
    }
}

/// The plain closing line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl fmt::Display for Closing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_summed() {
        let output = "\
running 3 tests
test a ... ok
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

test result: FAILED. 131 passed; 3 failed; 0 ignored; 0 measured; 4 filtered out; finished in 12.70s
test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        let mut sum = Tally::default();
        for found in output.lines().filter_map(Tally::of_line) {
            sum += found;
        }
        assert_eq!(sum, Tally { passed: 133, failed: 3, ignored: 1, filtered_out: 4 });
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in [
            "",
            "test result",
            "test result: ok.",
            "test result: ok. many passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
            "test result: ok. 1 passed; 0 failed",
            "  test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "12 passed, 0 failed",
        ] {
            assert_eq!(Tally::of_line(line), None, "{line}");
        }
    }

    #[test]
    fn the_closing_line_is_plain() {
        assert_eq!(Closing { passed: 412, failed: 0, skipped: 9 }.to_string(), "412 passed, 0 failed, 9 skipped");
    }
}
