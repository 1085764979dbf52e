//! What became of the events: received = shown + undecodable + left, fired = received + lost.

use std::fmt::{self, Display};

use crate::bpf::upcall_monitor::types::bss;
use crate::upcall::event::Upcall;

/// Why an upcall was fired and not delivered: `enum lost_reason` of `bpf/upcall_monitor.h`, in its order.
pub const LOST_REASONS: [&str; 2] = ["ring full", "arguments unreadable"];

// A reason that only the kernel knows would not be told.
const _: fn(&bss) -> &[u64; LOST_REASONS.len()] = |bss| &bss.lost;

/// Counts of lost events, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost([u64; LOST_REASONS.len()]);

impl Lost {
    /// Takes as many counts as there are reasons.
    pub fn new(counts: &[u64]) -> Self {
        let mut lost = Self::default();
        for (mine, count) in lost.0.iter_mut().zip(counts) {
            *mine = *count;
        }
        lost
    }

    pub fn counts(&self) -> &[u64] {
        &self.0
    }

    pub fn total(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |total, count| total.saturating_add(*count))
    }

    /// These and those of `other`.
    pub fn plus(&self, other: &Self) -> Self {
        let mut lost = *self;
        for (mine, other) in lost.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(other);
        }
        lost
    }

    /// What was lost since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let mut lost = *self;
        for (mine, before) in lost.0.iter_mut().zip(before.0) {
            *mine = mine.saturating_sub(before);
        }
        lost
    }

    /// Whether a larger ring would have kept some of them.
    pub fn ring_full(&self) -> bool {
        self.0[0] > 0
    }
}

/// `3 ring full, 1 arguments unreadable`, without the reasons that did not happen.
impl Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (count, reason) in self.0.iter().zip(LOST_REASONS) {
            if *count > 0 {
                write!(f, "{separator}{count} {reason}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

/// Counts of a whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub shown: u64,
    /// Of these, the upcalls that failed in the kernel.
    pub failed: u64,
    /// Upcalls that a filter kept back.
    pub filtered: u64,
    /// Records whose bytes make no sense.
    pub undecodable: u64,
    /// Records that came when the run had ended: after the last one of `--count`, or when an output took no more.
    pub left: u64,
    /// Shown upcalls of which the packet, the flow key or the datapath's name could not be read.
    pub packets_unreadable: u64,
    pub keys_unreadable: u64,
    pub names_unreadable: u64,
    pub lost: Lost,
}

impl Summary {
    pub fn show(&mut self, upcall: &Upcall<'_>) {
        self.shown += 1;
        self.failed += u64::from(upcall.result != 0);
        self.packets_unreadable += u64::from(upcall.packet.error.is_some());
        self.keys_unreadable += u64::from(upcall.key.error.is_some());
        self.names_unreadable += u64::from(upcall.datapath.is_empty());
    }

    pub fn received(&self) -> u64 {
        self.shown + self.filtered + self.undecodable + self.left
    }

    pub fn fired(&self) -> u64 {
        self.received().saturating_add(self.lost.total())
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            shown, undecodable, ..
        } = self;
        write!(
            f,
            "{} upcalls fired: {} received, {} lost",
            self.fired(),
            self.received(),
            self.lost.total()
        )?;
        if self.lost.total() > 0 {
            write!(f, " ({})", self.lost)?;
        }
        write!(
            f,
            "\n{} upcalls received: {shown} shown, {undecodable} undecodable",
            self.received()
        )?;
        if self.filtered > 0 {
            write!(f, ", {} filtered", self.filtered)?;
        }
        if self.left > 0 {
            write!(f, ", {} after the last one shown", self.left)?;
        }
        if self.failed > 0 {
            write!(f, "\n{} of those shown failed in the kernel", self.failed)?;
        }
        for (count, what) in [
            (self.packets_unreadable, "packet"),
            (self.keys_unreadable, "flow key"),
            (self.names_unreadable, "datapath name"),
        ] {
            if count > 0 {
                write!(
                    f,
                    "\n{count} shown without their {what}, which could not be read"
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upcall::event::Captured;

    /// Check that the lines say each figure once and that the sums hold.
    #[test]
    fn sums() {
        let mut summary = Summary {
            undecodable: 2,
            lost: Lost::new(&[30, 4]),
            ..Default::default()
        };
        let unreadable = Captured {
            len: 60,
            bytes: &[],
            error: Some(14),
        };
        let upcall = Upcall {
            datapath: b"system@ovs-system",
            packet: unreadable,
            ..Upcall::default()
        };
        summary.show(&upcall);
        assert_eq!(
            summary.to_string(),
            "37 upcalls fired: 3 received, 34 lost (30 ring full, 4 arguments unreadable)\n\
             3 upcalls received: 1 shown, 2 undecodable\n\
             1 shown without their packet, which could not be read"
        );
    }

    /// Check that only what was lost in between is told, and nothing twice.
    #[test]
    fn lost_since() {
        let before = Lost::new(&[5, 1]);
        let after = Lost::new(&[9, 1]);
        assert_eq!(after.since(&before).to_string(), "4 ring full");
        assert_eq!(after.since(&after).total(), 0);
    }
}
