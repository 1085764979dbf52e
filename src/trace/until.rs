//! What ends a trace: a signal, the time, the exit of its targets.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::target::Target;

/// Why draining ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Whoever took the records has enough.
    Enough,
    /// SIGINT, SIGTERM or SIGHUP.
    Signal,
    TimeOut,
    /// All targets have exited.
    TargetExited,
    /// The ring cannot be read.
    Failed,
}

/// What ends a trace, besides the exit of its targets.
pub struct Until {
    signals: UnixStream,
    duration: Option<Duration>,
    /// When the duration is over, which begins with the first wait: when all is attached, or when there is no daemon to
    /// attach to yet. None if the clock cannot represent it: then it is never reached.
    deadline: OnceLock<Option<Instant>>,
}

impl Until {
    /// Takes the handling of SIGINT, SIGTERM and SIGHUP: the first ends the drain, a second one the process. A
    /// SIGHUP that is ignored, as under nohup, stays so.
    pub fn new(duration: Option<Duration>) -> io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        use std::sync::Arc;
        use std::sync::atomic::AtomicBool;

        let (signals, handler) = UnixStream::pair()?;
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if signal == SIGHUP && ignored_signals() >> (SIGHUP - 1) & 1 == 1 {
                continue;
            }
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&seen))?;
            signal_hook::flag::register(signal, Arc::clone(&seen))?;
            signal_hook::low_level::pipe::register(signal, handler.try_clone()?)?;
        }
        Ok(Self {
            signals,
            duration,
            deadline: OnceLock::new(),
        })
    }

    /// Sleeps for `interval`, unless something ends the trace.
    pub fn sleep(&self, interval: Duration) -> io::Result<Option<End>> {
        self.wait(&[], &mut Vec::new(), interval)
    }

    /// Sleeps until one of `wakers` is readable, `interval` is over, or something ends the trace, the exit of the last
    /// of `targets` for example. Those that have exited are removed from `targets`.
    pub(super) fn wait(
        &self,
        wakers: &[BorrowedFd<'_>],
        targets: &mut Vec<&Target>,
        interval: Duration,
    ) -> io::Result<Option<End>> {
        let mut timeout = interval;
        let deadline = *self.deadline.get_or_init(|| {
            let duration = self.duration?;
            Instant::now().checked_add(duration)
        });
        if let Some(deadline) = deadline {
            timeout = timeout.min(deadline.saturating_duration_since(Instant::now()));
        }
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        fds.extend(
            targets
                .iter()
                .map(|target| PollFd::new(*target, PollFlags::IN)),
        );
        let wakers = wakers.iter();
        fds.extend(wakers.map(|waker| PollFd::from_borrowed_fd(*waker, PollFlags::IN)));
        let timeout = Timespec::try_from(timeout).ok();
        match poll(&mut fds, timeout.as_ref()) {
            // A signal that is not ours, such as SIGCONT.
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let signal = !fds[0].revents().is_empty();
        let exited: Vec<bool> = fds[1..][..targets.len()]
            .iter()
            .map(|fd| !fd.revents().is_empty())
            .collect();
        let had_targets = !targets.is_empty();
        let mut exited = exited.into_iter();
        targets.retain(|_| exited.next() != Some(true));
        Ok(if signal {
            Some(End::Signal)
        } else if had_targets && targets.is_empty() {
            Some(End::TargetExited)
        } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            Some(End::TimeOut)
        } else {
            None
        })
    }
}

/// A bit for each signal that this process ignores, that of signal 1 the lowest.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
