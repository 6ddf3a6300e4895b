//! The command line of `cargo xtask test`.

use std::fmt;

/// Tests and checks that need something a machine may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// rustfmt and clippy.
    Lint,
    /// Clients from npm.
    Node,
    /// Clients from PyPI.
    Python,
    /// Pages in Chromium.
    Browser,
    /// The store on Redis.
    Redis,
    /// What systemd says of our unit.
    Systemd,
}

impl Group {
    const ALL: [Self; 6] = [Self::Lint, Self::Node, Self::Python, Self::Browser, Self::Redis, Self::Systemd];

    fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Node => "node",
            Self::Python => "python",
            Self::Browser => "browser",
            Self::Redis => "redis",
            Self::Systemd => "systemd",
        }
    }

    fn parse(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|group| group.name() == name)
            .ok_or_else(|| format!("--require: {name:?} is none of lint, node, python, browser, redis, systemd"))
    }
}

impl fmt::Display for Group {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub no_install: bool,
    pub no_browser: bool,
    pub no_lint: bool,
    pub require: Vec<Group>,
    pub filter: Option<String>,
}

impl Options {
    /// # Errors
    /// What is wrong with the command line, in one line.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().cloned().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--no-install" => options.no_install = true,
                "--no-browser" => options.no_browser = true,
                "--no-lint" => options.no_lint = true,
                "--require" => options.require = value()?.split(',').map(|name| Group::parse(name.trim())).collect::<Result<_, _>>()?,
                "--filter" => options.filter = Some(value()?),
                unknown => return Err(format!("{unknown:?} is no option")),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_option_is_understood() {
        let all = parse("--no-install --no-browser --no-lint --require node,browser --filter refresh").unwrap();
        let wanted =
            Options { no_install: true, no_browser: true, no_lint: true, require: vec![Group::Node, Group::Browser], filter: Some("refresh".to_owned()) };
        assert_eq!(all, wanted);
        assert_eq!(parse(""), Ok(Options::default()));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in ["--no-instal", "--require", "--require ruby", "--require node,", "--filter", "refresh"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
