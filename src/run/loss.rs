//! What was lost on the way from a probe to the tool, by reason.

use std::fmt::{self, Display};

use crate::show::number::number;

/// Why something was lost: an index of `lost[]` of the BPF program (`bpf/ring.bpf.h`), in the order of the tool's own
/// enum.
#[derive(Debug)]
pub struct Reason {
    /// What was lost: "upcalls".
    pub what: &'static str,
    /// Why it was lost: "ring full". Several may have the same reason.
    pub why: &'static str,
    /// What helps against it; empty if nothing helps.
    pub hint: &'static str,
}

pub const RING_FULL: &str = "ring full";
/// The hint of [`RING_FULL`].
pub const LARGER_RING: &str = "a larger --buffer-page-count helps";
/// The same if the queue behind the ring was full.
const LARGER_QUEUE: &str = "its outputs are too slow: a larger --queue-size helps for longer";
pub const ARGUMENTS_UNREADABLE: &str = "arguments unreadable";
/// A function of the kernel was entered, and that it returned was not seen.
pub const END_NOT_SEEN: &str = "end not seen";
/// The kernel does not run a program on a CPU that is in it already, and counts that: [`Programs::skipped`]. It is the
/// last reason of each tool.
///
/// [`Programs::skipped`]: crate::trace::programs::Programs::skipped
pub const SKIPPED: &str = "skipped by the kernel";

/// Counts of what was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    reasons: &'static [Reason],
    counts: Vec<u64>,
    /// Whether the ring was full because the queue behind it was.
    pub queue_full: bool,
}

impl PartialEq for Reason {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
impl Eq for Reason {}

impl Lost {
    /// No loss yet.
    pub fn new(reasons: &'static [Reason]) -> Self {
        Self {
            reasons,
            counts: vec![0; reasons.len()],
            queue_full: false,
        }
    }

    /// Counts by reason.
    pub fn of(reasons: &'static [Reason], counts: &[u64]) -> Self {
        let mut lost = Self::new(reasons);
        lost.set(counts);
        lost
    }

    /// Takes these counts, by reason. A recording may have fewer of them, or more, than there are reasons.
    pub fn set(&mut self, counts: &[u64]) {
        for (i, mine) in self.counts.iter_mut().enumerate() {
            *mine = counts.get(i).copied().unwrap_or(0);
        }
    }

    /// The counts, by reason.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Each reason, with its count.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static Reason, u64)> {
        self.reasons.iter().zip(self.counts.iter().copied())
    }

    pub fn total(&self) -> u64 {
        self.sum(|_| true)
    }

    /// How many of these things, the `what` of a reason, were lost.
    pub fn total_of(&self, what: &str) -> u64 {
        self.sum(|reason| reason.what == what)
    }

    /// Whether a larger ring would have kept some of them.
    pub fn ring_full(&self) -> bool {
        self.sum(|reason| reason.why == RING_FULL) > 0
    }

    fn sum(&self, wanted: impl Fn(&Reason) -> bool) -> u64 {
        let counts = self.reasons.iter().zip(&self.counts);
        let counts = counts.filter(|(reason, _)| wanted(reason));
        counts.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Adds what was lost before, by reason.
    pub fn add(&mut self, other: &[u64]) {
        for (mine, other) in self.counts.iter_mut().zip(other) {
            *mine = mine.saturating_add(*other);
        }
    }

    /// What was lost since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let mut new = self.clone();
        for (mine, before) in new.counts.iter_mut().zip(&before.counts) {
            *mine = mine.saturating_sub(*before);
        }
        new
    }

    /// A line for each thing that `tool` lost: `34 upcalls lost by upcall-monitor (30 ring full, 4 arguments
    /// unreadable); a larger ... helps`.
    pub fn lines(&self, tool: &str) -> Vec<String> {
        let mut whats: Vec<&str> = Vec::new();
        for reason in self.reasons {
            if !whats.contains(&reason.what) && self.total_of(reason.what) > 0 {
                whats.push(reason.what);
            }
        }
        let line = |what: &&str| {
            let counts = self.reasons.iter().zip(&self.counts);
            let mut hints = counts
                .filter(|(reason, count)| reason.what == *what && **count > 0)
                .map(|(reason, _)| match reason.why {
                    RING_FULL if self.queue_full => LARGER_QUEUE,
                    _ => reason.hint,
                });
            let hint = match hints.find(|hint| !hint.is_empty()) {
                Some(hint) => format!("; {hint}"),
                None => String::new(),
            };
            let why = Why(self, Some(what));
            let lost = number(self.total_of(what), what);
            format!("{lost} lost by {tool} ({why}){hint}")
        };
        whats.iter().map(line).collect()
    }
}

/// `3 ring full, 1 arguments unreadable`, without the reasons that did not happen.
impl Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Why(self, None))
    }
}

/// The reasons for which something was lost, or for which these things were.
struct Why<'a>(&'a Lost, Option<&'a str>);

impl Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(lost, what) = self;
        let wanted = |reason: &Reason| what.is_none_or(|what| what == reason.what);
        let mut seen: Vec<&str> = Vec::new();
        for reason in lost.reasons.iter().filter(|reason| wanted(reason)) {
            if seen.contains(&reason.why) {
                continue;
            }
            let count = lost.sum(|other| wanted(other) && other.why == reason.why);
            if count > 0 {
                let separator = if seen.is_empty() { "" } else { ", " };
                write!(f, "{separator}{count} {}", reason.why)?;
                seen.push(reason.why);
            }
        }
        Ok(())
    }
}

/// What became of all events of a run, for its last line: `9 operations in all: 5 shown, 2 filtered, 2 lost by dpif-ops
/// (2 ring full)`.
pub struct Outcome<'a> {
    pub all: u64,
    /// "operations", for example.
    pub things: &'a str,
    /// How many of them were shown, and "shown", or "counted" if they were only counted.
    pub shown: (u64, &'a str),
    /// The other parts, which are left out if they are 0.
    pub parts: &'a [(u64, &'a str)],
    pub lost: &'a Lost,
    /// Which tool lost them.
    pub tool: &'a str,
}

impl Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, verb) = self.shown;
        write!(
            f,
            "{} in all: {shown} {verb}",
            number(self.all, self.things)
        )?;
        for (count, what) in self.parts.iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        let lost = self.lost.total();
        write!(f, ", {lost} lost by {}", self.tool)?;
        if lost > 0 {
            write!(f, " ({})", self.lost)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASONS: &[Reason] = &[
        Reason {
            what: "events",
            why: RING_FULL,
            hint: LARGER_RING,
        },
        Reason {
            what: "events",
            why: RING_FULL,
            hint: LARGER_RING,
        },
        Reason {
            what: "events",
            why: ARGUMENTS_UNREADABLE,
            hint: "",
        },
        Reason {
            what: "probes",
            why: "too many threads",
            hint: "",
        },
    ];

    fn lost(counts: &[u64]) -> Lost {
        Lost::of(REASONS, counts)
    }

    /// Check that equal reasons are one, that each thing has its line, and that only what helps is advised.
    #[test]
    fn wording() {
        let all = lost(&[3, 4, 1, 2]);
        assert_eq!(
            all.lines("a-tool"),
            [
                "8 events lost by a-tool (7 ring full, 1 arguments unreadable); a larger --buffer-page-count helps",
                "2 probes lost by a-tool (2 too many threads)"
            ]
        );
        assert_eq!(
            lost(&[0, 0, 1, 0]).lines("a-tool"),
            ["1 event lost by a-tool (1 arguments unreadable)"]
        );
        let queue_full = Lost {
            queue_full: true,
            ..lost(&[3, 0, 0, 2])
        };
        assert_eq!(
            queue_full.lines("a-tool"),
            [
                "3 events lost by a-tool (3 ring full); its outputs are too slow: a larger --queue-size helps for longer",
                "2 probes lost by a-tool (2 too many threads)"
            ]
        );
        assert_eq!(
            all.to_string(),
            "7 ring full, 1 arguments unreadable, 2 too many threads"
        );
    }

    /// Check that only what was lost in between is reported, that no sum overflows, and that a recording with other
    /// reasons is no cause for a panic.
    #[test]
    fn since() {
        let before = lost(&[5, 0, 1]);
        let after = lost(&[9, 0, 1, 0, 77]);
        assert_eq!(after.since(&before).to_string(), "4 ring full");
        assert!(after.since(&after).lines("a-tool").is_empty());
        let most = lost(&[u64::MAX, 1, 1, 1]);
        assert_eq!(most.total(), u64::MAX);
        assert_eq!(before.since(&most).total(), 0);
    }
}
