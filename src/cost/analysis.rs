//! From events to figures.

use super::event::{Event, KINDS, Kind};
use super::matcher::Matcher;
use super::stats::Stats;
use crate::bpf::upcall_cost::types::bss;

/// What `lost[]` of `bpf/upcall_cost.bpf.c` has: the events that found the ring full, by kind, and at last those whose
/// arguments could not be read.
pub const LOST: usize = KINDS + 1;
const _: fn(&bss) -> &[u64; LOST] = |bss| &bss.lost;

/// The sum of counts, which a recording may make arbitrarily large: it stops at [`u64::MAX`].
pub fn sum(counts: &[u64]) -> u64 {
    let add = |sum: u64, count: &u64| sum.saturating_add(*count);
    counts.iter().fold(0, add)
}

/// Events of each kind, in the order of [`Kind::ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub total: [u64; KINDS],
    /// Those that have what is needed to put them together with others.
    pub usable: [u64; KINDS],
    pub missed: [u64; KINDS],
    /// Lost because their arguments could not be read, of whatever kind.
    pub unreadable: u64,
    /// Records whose bytes make no sense.
    pub undecodable: u64,
    /// Upcalls of which less was captured than there is, so that the rest could not be compared.
    pub partial: u64,
    /// Those of them that are in pages, of which the first part alone was captured.
    pub paged: u64,
}

/// Everything that is known of a trace.
pub struct Analysis {
    pub counts: Counts,
    pub stats: Stats,
    pub matcher: Matcher,
    handlers: Vec<Vec<u8>>,
    longest: usize,
}

impl Analysis {
    /// `handlers` are the names of the threads that matter; none are all. `slowest` upcalls are kept; `draw` says that
    /// there will be a picture.
    pub fn new(handlers: &[String], slowest: usize, draw: bool) -> Self {
        Self {
            counts: Counts::default(),
            stats: Stats::new(slowest, draw),
            matcher: Matcher::default(),
            handlers: handlers.iter().map(|name| name.clone().into()).collect(),
            longest: 0,
        }
    }

    /// Whether an event is of a thread that matters. Upcalls leave the datapath in whichever thread they interrupt.
    pub fn wants(&self, event: &Event<'_>) -> bool {
        self.handlers.is_empty()
            || matches!(event.kind, Kind::DpUpcall | Kind::DpFailed)
            || self.handlers.iter().any(|name| name == event.comm)
    }

    /// Takes an event that is wanted.
    pub fn event(&mut self, event: &Event<'_>) {
        let counts = &mut self.counts;
        counts.total[event.kind as usize] += 1;
        if !event.usable() {
            return;
        }
        counts.usable[event.kind as usize] += 1;
        if event.kind == Kind::DpUpcall && event.packet.bytes.len() < event.packet.len as usize {
            counts.partial += 1;
            // Captured up to a limit that others reach as well, or less than that.
            counts.paged += u64::from(event.packet.bytes.len() < self.longest);
        }
        self.longest = self.longest.max(event.packet.bytes.len());
        let stats = &mut self.stats;
        self.matcher.event(event, &mut |found| stats.found(&found));
    }

    /// There are no more events.
    pub fn finish(&mut self) {
        let stats = &mut self.stats;
        self.matcher.finish(&mut |found| stats.found(&found));
    }
}
