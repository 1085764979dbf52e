//! What the matcher finds: sets of events and batches, and the reasons why other events belong to no set.

use std::collections::BTreeMap;

use crate::cost::event::{Event, Kind};
use crate::trace::captured::Captured;

/// All events of an upcall. Times are nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set<'a> {
    pub datapath: &'a [u8],
    pub device: &'a [u8],
    pub port: Option<u32>,
    pub upcall_type: u32,
    pub comm: &'a [u8],
    pub tid: u32,
    /// CPU on which it was received.
    pub cpu: u32,
    /// When the kernel sent it up; `None` if that is not known.
    pub upcall: Option<u64>,
    /// When the socket got its message. This and the two requests are known only with the kernel as the source.
    pub queued: Option<u64>,
    /// When the daemon received it.
    pub receive: u64,
    /// When the daemon went on to the next upcall of the batch or to the first operation; `None` if it may have waited
    /// for an upcall in between.
    pub looked_up: Option<u64>,
    pub put: Option<u64>,
    pub execute: Option<u64>,
    /// When the kernel began to execute.
    pub kernel: Option<u64>,
    pub put_request: Option<Request>,
    pub execute_request: Option<Request>,
    /// How many upcalls its batch had.
    pub batch: usize,
    pub packet: Captured<'a>,
    pub key: Captured<'a>,
    /// The unique id of the flow that was installed.
    pub ufid: Option<[u8; 16]>,
}

/// What the kernel did with a request of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub begun: u64,
    pub ended: u64,
    /// The errno with which it failed.
    pub error: Option<i32>,
}

impl Request {
    /// That which an event is of, if the event knows.
    pub fn of(event: &Event<'_>) -> Option<Self> {
        let error = event.result.saturating_neg();
        Some(Self {
            begun: event.begun?,
            ended: event.ended?,
            error: (error != 0).then_some(error),
        })
    }
}

/// What the matcher finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    Set(&'a Set<'a>),
    /// A thread received this many upcalls in a row.
    Batch {
        comm: &'a [u8],
        tid: u32,
        size: usize,
    },
}

/// Events that belong to no set, by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A kernel upcall that failed.
    Failed,
    /// A kernel upcall that was not received, while younger ones of the same socket were.
    Overtaken,
    /// A kernel upcall that was not received within [`MAX_AGE`](super::MAX_AGE).
    TimedOut,
    /// A kernel upcall whose message gave its memory to another one: its receive was not seen.
    Reused,
    /// A kernel upcall that [`MAX_WAITING`](super::MAX_WAITING) or [`MAX_BYTES`](super::MAX_BYTES) pushed out.
    PushedOut,
    /// A kernel upcall that was in flight at the end.
    InFlight,
    /// A receive to which no kernel upcall is equal.
    NoUpcall,
    /// A put or an execute of a thread that had received nothing.
    NoBatch,
    /// A put of another flow than those received.
    OtherFlow,
    /// A put while every upcall of the batch has one.
    NoPlace,
    /// An execute of another packet than those received.
    OtherPacket,
    /// An execute without a kernel execution.
    NotExecuted,
    /// A kernel execution of a thread that had no execute.
    NoExecute,
    /// A kernel execution whose size is that of no execute.
    OtherSize,
    /// The failure of an upcall that is not in flight.
    NoSuchUpcall,
}

impl Reason {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Overtaken => "overtaken",
            Self::TimedOut => "timed_out",
            Self::Reused => "reused",
            Self::PushedOut => "pushed_out",
            Self::InFlight => "in_flight",
            Self::NoUpcall => "no_upcall",
            Self::NoBatch => "no_batch",
            Self::OtherFlow => "other_flow",
            Self::NoPlace => "no_place",
            Self::OtherPacket => "other_packet",
            Self::NotExecuted => "not_executed",
            Self::NoExecute => "no_execute",
            Self::OtherSize => "other_size",
            Self::NoSuchUpcall => "no_such_upcall",
        }
    }

    /// The description in the text report.
    pub fn text(self) -> &'static str {
        match self {
            Self::Failed => "failed in the kernel",
            Self::Overtaken => "not received, younger ones of the socket were",
            Self::TimedOut => "not received within a minute",
            Self::Reused => "its receive was not seen",
            Self::PushedOut => "not received, too many in flight",
            Self::InFlight => "not received at the end",
            Self::NoUpcall => "no kernel upcall like it",
            Self::NoBatch => "its thread had received nothing",
            Self::OtherFlow => "of no flow that was received",
            Self::NoPlace => "more than were received",
            Self::OtherPacket => "of no packet that was received",
            Self::NotExecuted => "the kernel was not seen to execute it",
            Self::NoExecute => "its thread had nothing to execute",
            Self::OtherSize => "of no packet that was to execute",
            Self::NoSuchUpcall => "of an upcall that is not known",
        }
    }
}

/// How many events belong to no set, by kind and reason.
#[derive(Default)]
pub struct Unmatched(BTreeMap<(Kind, Reason), u64>);

impl Unmatched {
    pub fn add(&mut self, kind: Kind, reason: Reason, count: u64) {
        if count > 0 {
            *self.0.entry((kind, reason)).or_default() += count;
        }
    }

    pub fn counts(&self) -> impl Iterator<Item = (Kind, Reason, u64)> {
        let counts = self.0.iter();
        counts.map(|((kind, reason), count)| (*kind, *reason, *count))
    }
}
