//! Takes the events of a trace and counts them, has the matcher put them together, and has the statistics count the
//! sets.

use super::event::{Event, KINDS, Kind};
use super::matcher::Matcher;
use super::stats::Stats;
use crate::bpf::upcall_cost::types::bss;

/// The length of `lost[]` in `bpf/upcall_cost.bpf.c`: `enum cost_lost`.
pub const LOST: usize = 11;
/// Where `lost[]` counts the last kind of events that found the ring full. The other kinds are counted by their numbers.
pub const QUEUED: usize = 7;
const _: fn(&bss) -> &[u64; LOST] = |bss| &bss.lost;

/// The sum of counts. A recording may have arbitrarily large ones, so that the sum stops at [`u64::MAX`].
pub fn sum(counts: &[u64]) -> u64 {
    let add = |sum: u64, count: &u64| sum.saturating_add(*count);
    counts.iter().fold(0, add)
}

/// Events of each kind, in the order of [`Kind::ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub total: [u64; KINDS],
    /// Events that are [usable](Event::usable).
    pub usable: [u64; KINDS],
    /// Events that found the ring full.
    pub missed: [u64; KINDS],
    /// Events of any kind that were lost because their arguments could not be read.
    pub unreadable: u64,
    /// Events that the kernel did not show.
    pub unseen: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Kernel upcalls whose packet was not captured to its end, so that only a part of it could be compared.
    pub partial: u64,
    /// Those of them whose packet was in pages, so that only its first part was captured.
    pub paged: u64,
}

impl Counts {
    /// Adds what was lost, by reason.
    pub fn add_lost(&mut self, lost: &[u64]) {
        for (i, count) in lost.iter().enumerate().take(LOST) {
            let sum = match i {
                ARGUMENTS => &mut self.unreadable,
                QUEUED => &mut self.missed[Kind::DpQueued as usize],
                _ if i < ARGUMENTS => &mut self.missed[i],
                _ => &mut self.unseen,
            };
            *sum = sum.saturating_add(*count);
        }
    }
}

/// `LOST_ARGUMENTS` of `bpf/upcall_cost.h`.
const ARGUMENTS: usize = Kind::DpQueued as usize;

/// Everything that is known of a trace.
pub struct Analysis {
    /// Whether the events come from the kernel alone, without probes.
    pub of_kernel: bool,
    pub counts: Counts,
    pub stats: Stats,
    pub matcher: Matcher,
    handlers: Vec<Vec<u8>>,
    /// How many bytes the longest capture has.
    longest: usize,
}

impl Analysis {
    /// Only the threads named in `handlers` are analysed, or all if it is empty. The `slowest` upcalls are kept, and
    /// `draw` says that the figures for a picture are needed.
    pub fn new(handlers: &[String], slowest: usize, draw: bool) -> Self {
        Self {
            of_kernel: false,
            counts: Counts::default(),
            stats: Stats::new(slowest, draw),
            matcher: Matcher::default(),
            handlers: handlers.iter().map(|name| name.clone().into()).collect(),
            longest: 0,
        }
    }

    /// Whether an event is to be analysed. The kernel's upcalls always are, whatever their thread: they leave the
    /// datapath in the one that they interrupt.
    pub fn wants(&self, event: &Event<'_>) -> bool {
        self.handlers.is_empty()
            || matches!(event.kind, Kind::DpUpcall | Kind::DpFailed | Kind::DpQueued)
            || self.handlers.iter().any(|name| name == event.comm)
    }

    /// Takes an event that is to be analysed.
    pub fn event(&mut self, event: &Event<'_>) {
        let counts = &mut self.counts;
        counts.total[event.kind as usize] += 1;
        if !event.usable() {
            return;
        }
        counts.usable[event.kind as usize] += 1;
        if event.kind == Kind::DpUpcall && event.packet.bytes.len() < event.packet.len as usize {
            counts.partial += 1;
            // A capture that is shorter than another one did not end at the limit.
            counts.paged += u64::from(event.packet.bytes.len() < self.longest);
        }
        self.longest = self.longest.max(event.packet.bytes.len());
        let stats = &mut self.stats;
        self.matcher.event(event, &mut |found| stats.found(&found));
    }

    /// Ends the analysis, as there are no more events.
    pub fn finish(&mut self) {
        let stats = &mut self.stats;
        self.matcher.finish(&mut |found| stats.found(&found));
    }
}
