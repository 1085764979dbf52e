//! Messages on standard error, and the line there that says how a trace goes.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::fs::FileType;

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
    without_number(error.to_string())
}

/// The text of an error of the system, without the number that Rust adds.
pub fn without_number(mut text: String) -> String {
    if let Some(end) = text.rfind(" (os error ") {
        text.truncate(end);
    }
    text
}
