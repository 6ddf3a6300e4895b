//! `helsebro completions SHELL`: what a shell needs to complete our commands.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// The script for a shell, of the command line `C`.
pub fn script<C: CommandFactory>(args: &CompletionsArgs) -> String {
    let mut script = Vec::new();
    generate(args.shell, &mut C::command(), "helsebro", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
