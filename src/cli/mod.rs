//! What the command lines of all tools have in common: options, manual pages, shell completions, messages.

pub mod duration;
pub mod manual;
pub mod options;

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::builder::EnumValueParser;
use clap::{Arg, Command, Parser, ValueEnum};
use clap_complete::Shell;
use rustix::fs::FileType;

use crate::cli::manual::Section;

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

/// Whether a [`StatusLine`] is on the terminal.
static STATUS: AtomicBool = AtomicBool::new(false);

/// Moves to the beginning of the line and erases it (ECMA-48: CR, EL).
const ERASE: &str = "\r\x1b[K";

/// Prints a message on standard error. It does not matter if nobody reads that any more, as after `2>&1 | head`.
pub fn note(text: impl Display) {
    erase_status();
    let _ = writeln!(io::stderr(), "{text}");
}

/// Erases the [`StatusLine`], so that something else can be shown on the terminal.
pub fn erase_status() {
    if STATUS.swap(false, Relaxed) {
        let _ = write!(io::stderr(), "{ERASE}");
    }
}

/// A line on standard error that says how a trace goes. The next status takes its place; [`note`] and [`erase_status`]
/// erase it.
pub struct StatusLine {
    shown: Instant,
    due: Duration,
}

impl StatusLine {
    const INTERVAL: Duration = Duration::from_millis(500);

    /// There is one only if standard error is a terminal and standard output is a file or a device: a process that reads
    /// a pipe may write to the same terminal. Standard output may be the terminal too if `erased` says that the line is
    /// erased before anything is written there.
    pub fn new(erased: bool) -> Option<Self> {
        let output = rustix::fs::fstat(io::stdout()).ok()?;
        let to_file = match FileType::from_raw_mode(output.st_mode) {
            FileType::RegularFile => true,
            FileType::CharacterDevice => erased || !io::stdout().is_terminal(),
            _ => false,
        };
        (to_file && io::stderr().is_terminal()).then(|| Self {
            shown: Instant::now(),
            due: Duration::ZERO,
        })
    }

    /// How long ago the line was last shown, if it is time to show it again.
    pub fn is_due(&self) -> Option<Duration> {
        let since = self.shown.elapsed();
        (since >= self.due).then_some(since)
    }

    /// Shows as much of the text as fits on a line of the terminal.
    pub fn show(&mut self, text: &str) {
        self.shown = Instant::now();
        self.due = Self::INTERVAL;
        let width = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| size.ws_col);
        let width = match width {
            0 => 80,
            width => usize::from(width),
        };
        let text: String = text.chars().take(width - 1).collect();
        STATUS.store(true, Relaxed);
        let _ = write!(io::stderr(), "{ERASE}{text}");
    }
}

/// What an error of the system says, without the number that Rust adds.
pub fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}
