//! The stages of an upcall, and how long a set took for each.

use super::matcher::Set;

/// A stage of an upcall, or several of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Kernel upcall to vswitchd receive.
    Queue,
    /// vswitchd execute to kernel receive.
    Execute,
    /// All but the time from the receive to the flow put.
    Overhead,
    /// Kernel upcall to kernel packet execute.
    Total,
    /// Receive to the next upcall of the batch, or to its first operation.
    Lookup,
    /// The rest of the batch: from the end of the lookup to the execute.
    Batch,
    /// The message waits in the socket: a part of [`Stage::Queue`].
    Socket,
    /// The kernel handles the requests before those of the upcall that the daemon sent with them.
    Wait,
    /// The kernel handles the request to put the flow.
    KernelPut,
    /// The kernel handles the request to execute the packet.
    KernelExecute,
}

pub const STAGES: usize = 10;
/// How many stages, the first ones, the probes of the daemon show. The others take the kernel as the source.
const OF_PROBES: usize = 6;

impl Stage {
    /// The stages that `upcall_cost.py` has come first, in its order.
    pub const ALL: [Self; STAGES] = [
        Self::Queue,
        Self::Execute,
        Self::Overhead,
        Self::Total,
        Self::Lookup,
        Self::Batch,
        Self::Socket,
        Self::Wait,
        Self::KernelPut,
        Self::KernelExecute,
    ];

    /// Those that can be seen; `of_kernel` says that the kernel is the source.
    pub fn shown(of_kernel: bool) -> &'static [Self] {
        &Self::ALL[..if of_kernel { STAGES } else { OF_PROBES }]
    }

    /// The same in the order in which an upcall passes them, parts behind what they are of, and the sums last.
    pub fn in_order(of_kernel: bool) -> &'static [Self] {
        use Stage::*;
        if of_kernel {
            &[
                Queue,
                Socket,
                Lookup,
                Batch,
                Execute,
                Wait,
                KernelPut,
                KernelExecute,
                Overhead,
                Total,
            ]
        } else {
            &[Queue, Lookup, Batch, Execute, Overhead, Total]
        }
    }

    /// What only the kernel as the source shows.
    pub const KERNEL: [Self; 4] = [
        Self::Socket,
        Self::Wait,
        Self::KernelPut,
        Self::KernelExecute,
    ];

    /// The stages that an upcall passes one after the other. Their sum is [`Stage::Total`].
    pub const PARTS: [Self; 4] = [Self::Queue, Self::Lookup, Self::Batch, Self::Execute];

    /// The title in the report, which is that of `upcall_cost.py` if it has the stage.
    pub fn title(self) -> &'static str {
        match self {
            Self::Queue => "Kernel upcall action to vswitchd receive",
            Self::Execute => "vswitchd execute to kernel receive",
            Self::Overhead => "Upcall overhead (total time minus lookup)",
            Self::Total => "Kernel upcall to kernel packet execute",
            Self::Lookup => "vswitchd lookup of the upcall itself",
            Self::Batch => "vswitchd rest of the batch, lookup to execute",
            Self::Socket => "Message in the socket's queue",
            Self::Wait => "Kernel handles requests sent before it",
            Self::KernelPut => "Kernel puts the flow",
            Self::KernelExecute => "Kernel executes the packet",
        }
    }

    /// Where it begins and where it ends with the kernel as the source.
    pub fn ends(self) -> (&'static str, &'static str) {
        const QUEUE: &str = "queue_userspace_packet()";
        const RECEIVE: &str = "skb:skb_copy_datagram_iovec";
        const SEND: &str = "netlink_sendmsg()";
        const REQUEST: &str = "genl_rcv_msg()";
        const EXECUTE: &str = "ovs_packet_cmd_execute()";
        const DONE: &str = "its return";
        const LOOKED_UP: &str = "the same of the next upcall, or netlink_sendmsg()";
        match self {
            Self::Queue => (QUEUE, RECEIVE),
            Self::Lookup => (RECEIVE, LOOKED_UP),
            Self::Batch => ("the end of the lookup", SEND),
            Self::Execute => (SEND, EXECUTE),
            Self::Overhead => (QUEUE, "ovs_packet_cmd_execute(), less receive to put"),
            Self::Total => (QUEUE, EXECUTE),
            Self::Socket => ("netlink_unicast()", RECEIVE),
            Self::Wait => (SEND, REQUEST),
            Self::KernelPut | Self::KernelExecute => (REQUEST, DONE),
        }
    }

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Execute => "execute",
            Self::Overhead => "overhead",
            Self::Total => "total",
            Self::Lookup => "lookup",
            Self::Batch => "batch",
            Self::Socket => "socket",
            Self::Wait => "wait",
            Self::KernelPut => "kernel_put",
            Self::KernelExecute => "kernel_execute",
        }
    }

    /// The nanoseconds that a set took for this stage, if both ends of the stage are known.
    pub fn of(self, set: &Set<'_>) -> Option<u64> {
        let between = |from: u64, to: u64| to.saturating_sub(from);
        match self {
            Self::Queue => Some(between(set.upcall?, set.receive)),
            Self::Execute => Some(between(set.execute?, set.kernel?)),
            Self::Overhead => {
                let lookup = between(set.receive, set.put?);
                Some(between(set.upcall?, set.kernel?).saturating_sub(lookup))
            }
            Self::Total => Some(between(set.upcall?, set.kernel?)),
            Self::Lookup => Some(between(set.receive, set.looked_up?)),
            Self::Batch => Some(between(set.looked_up?, set.execute?)),
            Self::Socket => Some(between(set.queued?, set.receive)),
            Self::Wait => {
                let put = set.put.zip(set.put_request);
                let execute = set.execute.zip(set.execute_request);
                let requests = [put, execute].into_iter().flatten();
                let (sent, first) = requests.min_by_key(|(_, request)| request.begun)?;
                Some(between(sent, first.begun))
            }
            Self::KernelPut => set.put_request.map(|put| between(put.begun, put.ended)),
            Self::KernelExecute => set
                .execute_request
                .map(|execute| between(execute.begun, execute.ended)),
        }
    }
}

/// The nanoseconds from the first known event of a set to its last.
pub fn duration(set: &Set<'_>) -> u64 {
    let last = [
        Some(set.receive),
        set.looked_up,
        set.put,
        set.execute,
        set.kernel,
    ];
    let last = last.into_iter().flatten().max().unwrap_or(set.receive);
    last.saturating_sub(begin(set))
}

/// The time of the first known event of a set.
pub fn begin(set: &Set<'_>) -> u64 {
    set.upcall.unwrap_or(set.receive)
}
