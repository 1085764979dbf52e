//! What upcall-cost attaches to.

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

const NEEDS: &[Need] = &[Need::Datapath, Need::KernelBtf, Need::DatapathBtf];

/// An upcall on its way through the datapath.
pub static DATAPATH: Group = Group {
    what: "the kernel's side of upcalls",
    ways: &[
        Way {
            name: "fentry",
            needs: NEEDS,
            points: &[
                Point::Kernel {
                    function: "ovs_dp_upcall",
                    program: "upcall_begins",
                },
                Point::Kernel {
                    function: "queue_userspace_packet",
                    program: "queue_begins",
                },
                Point::Kernel {
                    function: "queue_userspace_packet",
                    program: "queue_ends",
                },
                Point::Kernel {
                    function: "ovs_dp_upcall",
                    program: "upcall_ends",
                },
            ],
        },
        // Kprobes cost more. They are for kernels without fentry: aarch64 before Linux 6.4.
        Way {
            name: "kprobe",
            needs: NEEDS,
            points: &[
                Point::Kernel {
                    function: "ovs_dp_upcall",
                    program: "upcall_begins_kprobe",
                },
                Point::Kernel {
                    function: "queue_userspace_packet",
                    program: "queue_begins_kprobe",
                },
                Point::Kernel {
                    function: "queue_userspace_packet",
                    program: "queue_ends_kprobe",
                },
                Point::Kernel {
                    function: "ovs_dp_upcall",
                    program: "upcall_ends_kprobe",
                },
            ],
        },
    ],
    without: Without::Warning("only the times within ovs-vswitchd are shown"),
};

/// From the receipt of an upcall to what the daemon asks of the datapath.
pub static DAEMON: Group = usdt_group!(
    "received upcalls":
        RECV_UPCALL => "recv_upcall",
        OP_FLOW_PUT => "op_flow_put",
        OP_FLOW_EXECUTE => "op_flow_execute",
);

/// The packet is back in the datapath.
pub static EXECUTE: Group = Group {
    what: "",
    ways: &[
        Way {
            name: "fentry",
            needs: NEEDS,
            points: &[Point::Kernel {
                function: "ovs_packet_cmd_execute",
                program: "execute",
            }],
        },
        Way {
            name: "kprobe",
            needs: NEEDS,
            points: &[Point::Kernel {
                function: "ovs_packet_cmd_execute",
                program: "execute_kprobe",
            }],
        },
    ],
    // The warning is that of DATAPATH.
    without: Without::Nothing,
};

pub static TOOL: Tool = Tool {
    name: "upcall-cost",
    usdt: &[&DATAPATH, &DAEMON, &EXECUTE],
    kernel: &[],
    datapath: true,
};
