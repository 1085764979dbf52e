//! What the command lines of all tools have in common: the manual page, shell completions, the form of an error.

pub mod duration;
pub mod options;

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::builder::EnumValueParser;
use clap::{Arg, Command, Parser, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use rustix::fs::FileType;

/// A section of a manual page that clap knows nothing of: its title and its text. Blank lines part paragraphs; a
/// paragraph whose lines begin with four blanks is shown as it is.
pub type Section = (&'static str, &'static str);

/// What `--generate` writes. It is hidden: who packages the tools needs it, and nobody else.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Generate {
    Man,
    Bash,
    Zsh,
    Fish,
}

/// The arguments of this process, or the end of it: with a message and status 2 if they make no sense, and with
/// status 0 after `--help`, `--version` and `--generate`.
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
        Generate::Man => man(command, sections, out),
    }
}

fn man(command: &Command, sections: &[Section], out: &mut dyn Write) -> io::Result<()> {
    // What is below --help, the examples, is a section of its own here.
    let page = Man::new(command.clone().after_help("").after_long_help(""))
        .section("8")
        .manual("Open vSwitch tracers");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    for (title, text) in sections {
        section(title, text).to_writer(out)?;
    }
    Ok(())
}

fn section(title: &str, text: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for paragraph in text.trim_matches('\n').split("\n\n") {
        let literal = paragraph.starts_with("    ");
        roff.control("PP", []);
        if literal {
            roff.control("nf", []);
        }
        for line in paragraph.lines() {
            roff.text([roman(line)]);
        }
        if literal {
            roff.control("fi", []);
        }
    }
    roff
}

/// The end of a tool: an error is one or two lines, the fact and the way out, and status 1.
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

/// Tells the user something on standard error. That nobody reads it any more, as after `2>&1 | head`, ends nothing.
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

/// A line on standard error that says how a trace goes. The next one takes its place, and [`note`] and [`erase_status`]
/// erase it.
pub struct StatusLine {
    shown: Instant,
    due: Duration,
}

impl StatusLine {
    const INTERVAL: Duration = Duration::from_millis(500);

    /// None unless standard error is a terminal and standard output is a file or a device: what reads a pipe may write
    /// to the same terminal. If that is a terminal too, `erased` says whether the line is erased before what goes there.
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

    /// How long ago it was last shown, if it is time to show it again.
    pub fn is_due(&self) -> Option<Duration> {
        let since = self.shown.elapsed();
        (since >= self.due).then_some(since)
    }

    /// Shows it, as much as fits on a line of the terminal.
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
