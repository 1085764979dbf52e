//! What upcall-cost attaches to.

use crate::ovs::ports;
use crate::trace::Error;
use crate::trace::kernel::Need;
use crate::trace::probes::{Group, Point, Tool, Usdt, Way, Without};
use crate::upcall::probes::RECV_UPCALL;
use crate::usdt_group;

/// `lib/dpif-netlink.c` of Open vSwitch. The programs fetch the request, a `struct ofpbuf *`.
pub static OP_FLOW_PUT: Usdt = Usdt {
    provider: "dpif_netlink_operate__",
    name: "op_flow_put",
    args: 4,
    pointers: &[0, 1, 2, 3],
    fetched: &[3],
};

/// `lib/dpif-netlink.c` of Open vSwitch. The programs fetch the packet and its size.
pub static OP_FLOW_EXECUTE: Usdt = Usdt {
    provider: "dpif_netlink_operate__",
    name: "op_flow_execute",
    args: 5,
    pointers: &[0, 1, 2, 4],
    fetched: &[2, 3],
};

/// What functions of the module openvswitch need.
const MODULE: &[Need] = &[
    Need::Datapath,
    Need::KernelBtf,
    Need::Memory,
    Need::DatapathBtf,
];

/// Functions of the kernel with their programs: `points!("function" => "program")`.
macro_rules! points {
    ($($function:literal => $program:literal),+ $(,)?) => {
        &[$(Point::Kernel { function: $function, program: $program }),+]
    };
}

/// Two ways to see the same: by fentry and fexit, and by kprobes, which cost more and are for kernels without the
/// others: aarch64 before Linux 6.4.
macro_rules! ways {
    ($needs:expr, $fentry:expr, $kprobe:expr $(,)?) => {
        &[
            Way {
                name: "fentry",
                needs: $needs,
                points: $fentry,
            },
            Way {
                name: "kprobe",
                needs: $needs,
                points: $kprobe,
            },
        ]
    };
}

/// An upcall on its way through the datapath.
pub static DATAPATH: Group = Group {
    what: "the kernel's side of upcalls",
    ways: ways!(
        MODULE,
        points!(
            "ovs_dp_upcall" => "upcall_begins",
            "queue_userspace_packet" => "queue_begins",
            "queue_userspace_packet" => "queue_ends",
            "ovs_dp_upcall" => "upcall_ends",
        ),
        points!(
            "ovs_dp_upcall" => "upcall_begins_kprobe",
            "queue_userspace_packet" => "queue_begins_kprobe",
            "queue_userspace_packet" => "queue_ends_kprobe",
            "ovs_dp_upcall" => "upcall_ends_kprobe",
        ),
    ),
    without: Without::Warning("only the times within ovs-vswitchd are shown"),
};

/// The same with the message that carries the upcall.
pub static DATAPATH_KERNEL: Group = Group {
    what: "upcalls in the datapath",
    ways: ways!(
        MODULE,
        points!(
            "ovs_dp_upcall" => "upcall_begins",
            "queue_userspace_packet" => "queue_begins",
            "netlink_unicast" => "message_queued",
            "queue_userspace_packet" => "queue_ends",
            "ovs_dp_upcall" => "upcall_ends",
        ),
        points!(
            "ovs_dp_upcall" => "upcall_begins_kprobe",
            "queue_userspace_packet" => "queue_begins_kprobe",
            "netlink_unicast" => "message_queued_kprobe",
            "queue_userspace_packet" => "queue_ends_kprobe",
            "ovs_dp_upcall" => "upcall_ends_kprobe",
        ),
    ),
    without: Without::Warning("only the times from their receipt on are shown"),
};

/// From the receipt of an upcall to what the daemon asks of the datapath.
pub static DAEMON: Group = usdt_group!(
    "received upcalls":
        RECV_UPCALL => "recv_upcall",
        OP_FLOW_PUT => "op_flow_put",
        OP_FLOW_EXECUTE => "op_flow_execute",
);

/// The receipt of an upcall, as the kernel copies its message.
pub static RECEIVED: Group = Group {
    what: "received upcalls",
    ways: &[Way {
        name: "tracepoint",
        needs: &[Need::KernelBtf, Need::Memory],
        points: points!("skb_copy_datagram_iovec" => "recv_message"),
    }],
    without: Without::Error,
};

/// What the daemon asks of the datapath, from its sendmsg() to the end of each request in the kernel.
pub static REQUESTS: Group = Group {
    what: "requests to the datapath",
    ways: ways!(
        &[Need::KernelBtf, Need::Memory],
        points!(
            "netlink_sendmsg" => "send_begins",
            "genl_rcv_msg" => "request_begins",
            "genl_rcv_msg" => "request_ends",
            "netlink_sendmsg" => "send_ends",
        ),
        points!(
            "netlink_sendmsg" => "send_begins_kprobe",
            "genl_rcv_msg" => "request_begins_kprobe",
            "genl_rcv_msg" => "request_ends_kprobe",
            "netlink_sendmsg" => "send_ends_kprobe",
        ),
    ),
    without: Without::Warning("only the times until upcalls are received are shown"),
};

/// The packet is back in the datapath.
pub static EXECUTE: Group = Group {
    what: "",
    ways: ways!(
        MODULE,
        points!("ovs_packet_cmd_execute" => "execute"),
        points!("ovs_packet_cmd_execute" => "execute_kprobe"),
    ),
    // The warning is that of DATAPATH or DATAPATH_KERNEL.
    without: Without::Nothing,
};

/// The number of the family of generic netlink by which flows are put; 0 if the kernel has none.
///
/// # Errors
/// [`Error::Unseen`].
pub fn flow_family() -> Result<u16, Error> {
    let families = ports::families([c"ovs_flow"]).map_err(|error| Error::Unseen {
        what: REQUESTS.what,
        why: error.to_string(),
    })?;
    Ok(families[0].unwrap_or(0))
}

pub static TOOL: Tool = Tool {
    name: "upcall-cost",
    usdt: &[&DATAPATH, &DAEMON, &EXECUTE],
    kernel: &[&DATAPATH_KERNEL, &RECEIVED, &REQUESTS, &EXECUTE],
    datapath: true,
};
