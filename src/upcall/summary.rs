//! What became of the events: received = shown + filtered + undecodable + pending, fired = received + lost.

use std::fmt::{self, Display};

use crate::bpf::upcall_monitor::types::bss;
use crate::run::loss::{ARGUMENTS_UNREADABLE, LARGER_RING, Lost, RING_FULL, Reason, SKIPPED};
use crate::upcall::event::Upcall;

/// Why an upcall was not delivered: `enum lost_reason` of `bpf/upcall_monitor.h`, in its order.
pub const LOST: &[Reason] = &[
    Reason {
        what: "upcalls",
        why: RING_FULL,
        hint: LARGER_RING,
    },
    Reason {
        what: "upcalls",
        why: ARGUMENTS_UNREADABLE,
        hint: "",
    },
    Reason {
        what: "upcalls",
        why: SKIPPED,
        hint: "",
    },
];

// A reason that only the kernel knows would not be reported.
const _: fn(&bss) -> &[u64; LOST.len()] = |bss| &bss.lost;

/// Counts of a whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub shown: u64,
    /// Of these, the upcalls that failed in the kernel.
    pub failed: u64,
    /// Upcalls that a filter excluded.
    pub filtered: u64,
    /// Records whose bytes make no sense.
    pub undecodable: u64,
    /// Records that came when the run had ended: after the last one of `--count`, or when an output took no more.
    pub pending: u64,
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
        let unnamed = upcall.datapath.is_empty() && upcall.dp_ifindex.is_none();
        self.names_unreadable += u64::from(unnamed);
    }

    pub fn received(&self) -> u64 {
        self.shown + self.filtered + self.undecodable + self.pending
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
        if self.pending > 0 {
            write!(f, ", {} after the last one shown", self.pending)?;
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
    use crate::trace::captured::Captured;

    /// Check that the lines say each figure once and that the sums hold.
    #[test]
    fn sums() {
        let mut summary = Summary {
            undecodable: 2,
            lost: Lost::of(LOST, &[30, 4]),
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
}
