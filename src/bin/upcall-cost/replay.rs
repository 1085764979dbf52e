//! Analysing what was recorded.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ovs_tracers::cost;
use ovs_tracers::cost::upstream::{self, Item};
use ovs_tracers::run::output::Files;
use ovs_tracers::run::recording::{self, Start};
use ovs_tracers::show::message::cause;

use crate::account::Account;
use crate::args::Args;

const MAGIC: &[u8] = b"OVSTRACE";
const BUFFER: usize = 1 << 20;
/// Events between two looks at the clock.
const STRIDE: u32 = 1 << 14;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

pub fn run(args: &Args, path: &Path) -> anyhow::Result<()> {
    let mut files = Files::default();
    let (input, size) = files.open(path)?;
    let read = Arc::new(AtomicU64::new(0));
    let mut input = BufReader::with_capacity(
        BUFFER,
        Counted {
            input,
            read: Arc::clone(&read),
        },
    );
    let progress = Progress::new(args.quiet, size, read);
    let beginning = input
        .fill_buf()
        .map_err(|error| anyhow::anyhow!("failed to read the recording: {}", cause(&error)))?;
    let len = beginning.len().min(MAGIC.len());
    if len > 0 && MAGIC.starts_with(&beginning[..len]) {
        replay(args, input, files, progress)
    } else {
        replay_upstream(args, input, files, progress)
    }
}

/// Analyses a recording of upcall-cost.
fn replay(
    args: &Args,
    input: impl Read,
    files: Files,
    mut progress: Progress,
) -> anyhow::Result<()> {
    let mut reader = recording::Reader::new(input, &cost::RECORDS)?;
    let (mut session, mut account) = Account::new(args, reader.start(), files)?;
    let read = session.replay(&mut reader, |session, step| {
        progress.step();
        account.take(session, step)
    });
    progress.end();
    account.finish(session)?;
    read.map_err(|error| incomplete(&error))
}

/// Analyses what upcall_cost.py wrote.
fn replay_upstream(
    args: &Args,
    input: impl BufRead,
    files: Files,
    mut progress: Progress,
) -> anyhow::Result<()> {
    let mut reader = upstream::Reader::new(input)?;
    let mut start = Start::default();
    start.set("tool", "upcall_cost.py");
    let (mut session, mut account) = Account::new(args, &start, files)?;
    let error = loop {
        progress.step();
        let flow = match reader.next_item() {
            Ok(Some(Item::Event(event))) => account.event(&mut session, &event),
            Ok(Some(Item::Missed(missed))) => {
                session.set_lost(&missed, &mut |session, step| account.take(session, step))
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        if flow.is_break() {
            break None;
        }
    };
    progress.end();
    account.finish(session)?;
    error.map_or(Ok(()), |error| Err(incomplete(&error)))
}

fn incomplete(error: &impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("{error}\nwhat comes before is in the report")
}

/// An input that counts how much was read.
struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

/// Shows on a terminal how far a long replay has got.
struct Progress {
    /// The size of the file; `None` if no progress is shown.
    size: Option<u64>,
    read: Arc<AtomicU64>,
    events: u32,
    shown_at: Instant,
    shown: bool,
}

impl Progress {
    fn new(quiet: bool, size: Option<u64>, read: Arc<AtomicU64>) -> Self {
        // Events that are printed show how far it got; two on one terminal would be in each other's way.
        let terminal = rustix::termios::isatty(io::stderr())
            && (quiet || !rustix::termios::isatty(io::stdout()));
        Self {
            size: size.filter(|size| terminal && *size > 0),
            read,
            events: 0,
            shown_at: Instant::now(),
            shown: false,
        }
    }

    fn step(&mut self) {
        self.events = self.events.wrapping_add(1);
        if self.events.is_multiple_of(STRIDE)
            && let Some(size) = self.size
            && self.shown_at.elapsed() >= PROGRESS_INTERVAL
        {
            self.shown_at = Instant::now();
            self.shown = true;
            let percent = self.read.load(Relaxed).saturating_mul(100) / size;
            let _ = write!(
                io::stderr(),
                "\rreading the events: {:>3} %",
                percent.min(100)
            );
        }
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r{:24}\r", "");
        }
    }
}
