//! What cargo's test runs say at their end: how many passed, and why some did not.

use std::collections::VecDeque;
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

/// What failed tests printed, to be said once more where all of it ends: thousands of lines may come after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// The first lines of each and the last, below its heading.
    tests: Vec<(String, VecDeque<String>)>,
    open: bool,
}

impl Failures {
    /// So much is kept of a test, its beginning and its end, and so many bytes of a line.
    const FIRST: usize = 10;
    const LINES: usize = 40;
    const LINE: usize = 2000;

    /// Reads the next line of a test run. What a test printed stands below `---- NAME stdout ----`, until the list of names.
    pub fn read(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.tests.push((name.to_owned(), VecDeque::new()));
            self.open = true;
        } else if line == "failures:" {
            self.open = false;
        } else if let Some((_, lines)) = self.tests.last_mut().filter(|_| self.open) {
            if lines.len() == Self::LINES {
                lines.remove(Self::FIRST);
            }
            lines.push_back(line.get(..line.floor_char_boundary(Self::LINE)).unwrap_or(line).to_owned());
        }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, lines) in &self.tests {
            writeln!(out, "── {name}")?;
            lines.iter().skip_while(|line| line.is_empty()).try_for_each(|line| writeln!(out, "   {line}"))?;
        }
        Ok(())
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
    fn what_failed_is_said_again() {
        let long = "x".repeat(3000);
        let many: String = (0..50).map(|n| format!("line {n}\n")).collect();
        let output = format!(
            "running 2 tests\ntest a ... FAILED\n\nfailures:\n\n---- a stdout ----\n\nthread 'a' panicked\n{long}\n\n---- b::c stdout ----\n{many}\nfailures:\n    a\n    b::c\n\ntest result: FAILED."
        );
        let mut failures = Failures::default();
        output.lines().for_each(|line| failures.read(line));
        let said = failures.to_string();
        assert!(said.starts_with(&format!("── a\n   thread 'a' panicked\n   {}\n", "x".repeat(2000))), "{said}");
        assert!(
            said.contains("── b::c\n   line 0\n") && said.contains("line 9\n   line 21\n") && said.contains("line 49\n") && !said.contains("    a\n"),
            "{said}"
        );
        let mut none = Failures::default();
        ["test a ... ok", "failures:", "test result: ok."].iter().for_each(|line| none.read(line));
        assert_eq!(none.to_string(), "");
    }

    #[test]
    fn the_closing_line_is_plain() {
        assert_eq!(Closing { passed: 412, failed: 0, skipped: 9 }.to_string(), "412 passed, 0 failed, 9 skipped");
    }
}
