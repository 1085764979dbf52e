//! What upcall-monitor attaches to.

use crate::trace::kernel::Need;
use crate::trace::probes::{Group, Point, Tool, Usdt, Way, Without};
use crate::usdt_group;

/// `lib/dpif.c` of Open vSwitch, 2.17 and later. Its arguments: the datapath's name, the type of the upcall, the packet
/// and its size, the flow key and its size. upcall-cost fetches them too.
pub static RECV_UPCALL: Usdt = Usdt {
    provider: "dpif_recv",
    name: "recv_upcall",
    args: 6,
    pointers: &[0, 2, 4],
    fetched: &[0, 1, 2, 3, 4, 5],
};

/// Received and failed upcalls, seen by these programs: one at the probe, three where the kernel copies a message to the
/// daemon, which differ in how they get at what is in pages, one at the end of `ovs_dp_upcall()`, and one where it returns.
macro_rules! groups {
    ($received:ident, $received_kernel:ident, $failed:ident, $failed_too:ident:
     $at_probe:literal, $pages:literal, $later:literal, $linear:literal, $at_end:literal, $at_return:literal) => {
pub static $received: Group = usdt_group!("received upcalls": RECV_UPCALL => $at_probe);
        pub static $received_kernel: Group = Group {
            what: "received upcalls",
            ways: &[
                Way {
                    name: "pages",
                    needs: &[Need::KernelBtf, Need::SkbDynptr, Need::Memory],
                    points: &[Point::Kernel {
                        function: "skb_copy_datagram_iovec",
                        program: $pages,
                    }],
                },
                // Where a tracepoint cannot read pages, they are read when the daemon has the message.
                Way {
                    name: "buffer",
                    needs: &[Need::KernelBtf, Need::Memory],
                    points: &[
                        Point::Kernel {
                            function: "skb_copy_datagram_iovec",
                            program: $later,
                        },
                        Point::Kernel {
                            function: "netlink_recvmsg",
                            program: "recv_ends",
                        },
                    ],
                },
                Way {
                    name: "linear",
                    needs: &[Need::KernelBtf, Need::Memory],
                    points: &[Point::Kernel {
                        function: "skb_copy_datagram_iovec",
                        program: $linear,
                    }],
                },
            ],
            without: Without::Error,
        };
        /// For a trace of failed upcalls only.
        pub static $failed: Group = Group {
            without: Without::Error,
            ..$failed_too
        };
        pub static $failed_too: Group = Group {
            what: "upcalls that fail in the kernel",
            ways: &[
                Way {
                    name: "fexit",
                    needs: &[
                        Need::Datapath,
                        Need::KernelBtf,
                        Need::Memory,
                        Need::DatapathBtf,
                    ],
                    points: &[Point::Kernel {
                        function: "ovs_dp_upcall",
                        program: $at_end,
                    }],
                },
                // Where there is no fexit: on aarch64 before Linux 6.4, or without type information of the module.
                Way {
                    name: "tracepoint",
                    needs: &[
                        Need::Datapath,
                        Need::KernelBtf,
                        Need::Memory,
                        Need::DatapathTracepoint,
                        Need::Tracefs,
                    ],
                    points: &[
                        Point::Kernel {
                            function: "ovs_dp_upcall",
                            program: "upcall_begins",
                        },
                        Point::Kernel {
                            function: "ovs_dp_upcall",
                            program: $at_return,
                        },
                    ],
                },
            ],
            without: Without::Warning(""),
        };
    };
}

groups!(RECEIVED, RECEIVED_KERNEL, FAILED, FAILED_TOO:
    "recv_upcall", "recv_message_pages", "recv_message_later", "recv_message", "upcall_failed", "upcall_returns");
// The same, with a packet filter in the kernel.
groups!(RECEIVED_FILTERED, RECEIVED_KERNEL_FILTERED, FAILED_FILTERED, FAILED_TOO_FILTERED:
    "recv_filtered", "recv_message_pages_filtered", "recv_message_later_filtered", "recv_message_filtered", "failed_filtered", "returns_filtered");

pub static TOOL: Tool = Tool {
    name: "upcall-monitor",
    usdt: &[&FAILED_TOO, &RECEIVED],
    kernel: &[&FAILED_TOO, &RECEIVED_KERNEL],
    datapath: true,
};
