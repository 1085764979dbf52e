//! What the command lines of all tools have in common: options, manual pages, shell completions, exit.

pub mod duration;
pub mod manual;
pub mod options;

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::builder::EnumValueParser;
use clap::{Arg, Command, Parser, ValueEnum};
use clap_complete::Shell;

use crate::cli::manual::Section;
use crate::show::message::{cause, note};

/// What `--generate` writes. The option is hidden, because only those who package the tools need it.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Generate {
    Man,
    Bash,
    Zsh,
    Fish,
}

/// Reads the arguments of this process. It ends with a message and status 2 if they make no sense, and with status 0
/// after `--help`, `--version` and `--generate`. `sections` are those of the manual page.
pub fn parse<T: Parser>(sections: &[Section]) -> T {
    let mut command = T::command().arg(
        Arg::new("generate")
            .long("generate")
            .hide(true)
            .exclusive(true)
            .value_parser(EnumValueParser::<Generate>::new()),
    );
    let matches = command.get_matches_mut();
    if let Some(what) = matches.get_one("generate") {
        let written = generate(&T::command(), *what, sections, &mut io::stdout().lock());
        std::process::exit(match written {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                note(format_args!(
                    "error: failed to write standard output: {}",
                    cause(&error)
                ));
                1
            }
            _ => 0,
        });
    }
    T::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

fn generate(
    command: &Command,
    what: Generate,
    sections: &[Section],
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut complete = |shell: Shell| {
        let mut script = Vec::new();
        let mut command = command.clone();
        let name = command.get_name().to_string();
        clap_complete::generate(shell, &mut command, name, &mut script);
        out.write_all(&script)
    };
    match what {
        Generate::Bash => complete(Shell::Bash),
        Generate::Zsh => complete(Shell::Zsh),
        Generate::Fish => complete(Shell::Fish),
        Generate::Man => manual::write(command, sections, out),
    }
}

/// Ends a tool. An error is reported in one or two lines, the fact and the way out, and the status is 1.
pub fn exit(result: Result<(), impl Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(format_args!(
                "error: {}",
                error.to_string().replace('\n', "\n  ")
            ));
            ExitCode::FAILURE
        }
    }
}
