//! What became of the upcalls: all = shown + filtered + undecodable + pending + lost, shown = received + failed.
//!
//! Received are those that ovs-vswitchd took from its socket, failed those that the kernel could not hand to it, and lost
//! those that were handed to it, or failed, without the tool's seeing more of them than that they were there.

use std::fmt::{self, Display};

use crate::bpf::upcall_monitor::types::bss;
use crate::run::loss::{
    ARGUMENTS_UNREADABLE, LARGER_RING, Lost, Outcome, RING_FULL, Reason, SKIPPED,
};
use crate::show::number::number;
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
    /// Whether the upcalls shown were only counted.
    pub only_counted: bool,
    /// Of those shown, the upcalls that failed in the kernel.
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

    /// Of those shown, the upcalls that ovs-vswitchd received.
    pub fn received(&self) -> u64 {
        self.shown.saturating_sub(self.failed)
    }

    /// Upcalls of which the tool has a record.
    pub fn recorded(&self) -> u64 {
        self.shown + self.filtered + self.undecodable + self.pending
    }

    pub fn all(&self) -> u64 {
        self.recorded().saturating_add(self.lost.total())
    }
}

/// `9 upcalls in all: 5 shown, 2 filtered, 2 lost by upcall-monitor (2 ring full)`, then what those shown are. Parts
/// that are 0 are left out, except the first and the last one.
impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown;
        let verb = match self.only_counted {
            true => "counted",
            false => "shown",
        };
        let parts = [
            (self.filtered, "filtered"),
            (self.undecodable, "undecodable"),
            (self.pending, "after the last one shown"),
        ];
        let outcome = Outcome {
            all: self.all(),
            things: "upcalls",
            shown: (shown, verb),
            parts: &parts,
            lost: &self.lost,
            tool: "upcall-monitor",
        };
        write!(f, "{outcome}")?;
        let parts = [
            (self.received(), "received by ovs-vswitchd"),
            (self.failed, "failed in the kernel (never received)"),
        ];
        let there = parts.into_iter().filter(|(count, _)| *count > 0);
        for (i, (count, what)) in there.enumerate() {
            match i {
                0 => write!(f, "\n{shown} {verb}: {count} {what}")?,
                _ => write!(f, ", {count} {what}")?,
            }
        }
        for (count, what) in [
            (self.packets_unreadable, "packets"),
            (self.keys_unreadable, "flow keys"),
            (self.names_unreadable, "datapath names"),
        ] {
            if count > 0 {
                write!(
                    f,
                    "\n{} of those {verb} could not be read",
                    number(count, what)
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
            "37 upcalls in all: 1 shown, 2 undecodable, 34 lost by upcall-monitor (30 ring full, 4 arguments unreadable)\n\
             1 shown: 1 received by ovs-vswitchd\n\
             1 packet of those shown could not be read"
        );
    }

    /// Check that upcalls which failed in the kernel are not among those that the daemon received, and that nothing is
    /// said of what was not there.
    #[test]
    fn received_and_failed() {
        let summary = |shown, failed| Summary {
            shown,
            failed,
            lost: Lost::new(LOST),
            ..Summary::default()
        };
        let lines = |summary: &Summary| summary.to_string().replace('\n', "|");
        let both = Summary {
            only_counted: true,
            ..summary(1200, 638)
        };
        assert_eq!(
            lines(&both),
            "1200 upcalls in all: 1200 counted, 0 lost by upcall-monitor|1200 counted: 562 received by ovs-vswitchd, \
             638 failed in the kernel (never received)"
        );
        assert_eq!(
            lines(&summary(1, 1)),
            "1 upcall in all: 1 shown, 0 lost by upcall-monitor|1 shown: 1 failed in the kernel (never received)"
        );
        assert_eq!(
            lines(&summary(0, 0)),
            "0 upcalls in all: 0 shown, 0 lost by upcall-monitor"
        );
    }
}
