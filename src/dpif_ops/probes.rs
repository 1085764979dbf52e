//! What dpif-ops attaches to.

use crate::bpf::dpif_ops::types::dpif_op;
use crate::cost::probes::OP_FLOW_PUT;
use crate::ovs::family::Family;
use crate::ovs::flow_request::Operation;
use crate::ovs::ports;
use crate::trace::Error;
use crate::trace::kernel::Need;
use crate::trace::probes::{Group, Point, Tool, Usdt, Way, Without};
use crate::usdt_group;

static OP_FLOW_DEL: Usdt = Usdt {
    name: "op_flow_del",
    ..OP_FLOW_PUT
};
static OP_FLOW_GET: Usdt = Usdt {
    name: "op_flow_get",
    ..OP_FLOW_PUT
};
/// `lib/dpif-netlink.c` of Open vSwitch. The programs fetch the request, a `struct ofpbuf *`.
static OP_FLOW_EXECUTE: Usdt = Usdt {
    name: "op_flow_execute",
    args: 5,
    pointers: &[0, 1, 2, 4],
    fetched: &[4],
    ..OP_FLOW_PUT
};

static PUT: Group = usdt_group!("puts": OP_FLOW_PUT => "op_flow_put");
static DEL: Group = usdt_group!("deletes": OP_FLOW_DEL => "op_flow_del");
static GET: Group = usdt_group!("gets": OP_FLOW_GET => "op_flow_get");
static EXECUTE: Group = usdt_group!("executes": OP_FLOW_EXECUTE => "op_flow_execute");

/// The operations as the BPF programs number them, what is attached for each, and its probe.
#[rustfmt::skip]
pub static OPERATIONS: [(dpif_op, Operation, &Group, &Usdt); 4] = [
    (dpif_op::OP_FLOW_PUT, Operation::Put, &PUT, &OP_FLOW_PUT),
    (dpif_op::OP_FLOW_DEL, Operation::Del, &DEL, &OP_FLOW_DEL),
    (dpif_op::OP_FLOW_GET, Operation::Get, &GET, &OP_FLOW_GET),
    (dpif_op::OP_FLOW_EXECUTE, Operation::Execute, &EXECUTE, &OP_FLOW_EXECUTE),
];

/// The beginning and the end of functions of the kernel, by these programs: `between!("function" => "begins", "ends")`.
macro_rules! between {
    ($($function:literal => $begins:literal, $ends:literal);+ $(;)?) => {
        &[$(
            Point::Kernel { function: $function, program: $begins },
            Point::Kernel { function: $function, program: $ends },
        )+]
    };
}

/// Each request, from its beginning to its end in the kernel.
pub static REQUESTS: Group = Group {
    what: "requests to the datapath",
    ways: &[
        Way {
            name: "fentry",
            needs: &[Need::Datapath, Need::Memory, Need::KernelBtf],
            points: between!("genl_rcv_msg" => "request_begins", "request_ends"),
        },
        // Kprobes cost more. They are for kernels without fentry: aarch64 before Linux 6.4, or no type information.
        Way {
            name: "kprobe",
            needs: &[Need::Datapath, Need::Memory, Need::Kprobes],
            points: between!("genl_rcv_msg" => "request_begins_kprobe", "request_ends_kprobe"),
        },
    ],
    without: Without::Error,
};

/// The chunks of dumps.
pub static CHUNKS: Group = Group {
    what: "chunks of dumps",
    ways: &[
        Way {
            name: "fentry",
            needs: &[
                Need::Datapath,
                Need::Memory,
                Need::KernelBtf,
                Need::DatapathBtf,
            ],
            points: between!(
                "ovs_flow_cmd_dump" => "flow_chunk_begins", "flow_chunk_ends";
                "ovs_dp_cmd_dump" => "datapath_chunk_begins", "datapath_chunk_ends";
                "ovs_vport_cmd_dump" => "vport_chunk_begins", "vport_chunk_ends";
            ),
        },
        // The module's functions without its types.
        Way {
            name: "kprobe",
            needs: &[Need::Datapath, Need::Memory, Need::Kprobes, Need::KernelBtf],
            points: between!(
                "ovs_flow_cmd_dump" => "flow_chunk_begins_kprobe", "flow_chunk_ends_kprobe";
                "ovs_dp_cmd_dump" => "datapath_chunk_begins_kprobe", "datapath_chunk_ends_kprobe";
                "ovs_vport_cmd_dump" => "vport_chunk_begins_kprobe", "vport_chunk_ends_kprobe";
            ),
        },
    ],
    without: Without::Warning("of a dump only the request is shown"),
};

/// The numbers that the kernel gave to the families, in the order of [`Family::ALL`]; `None` for one that it does not
/// have.
///
/// # Errors
/// [`Error::Unseen`].
pub fn families() -> Result<[Option<u16>; Family::ALL.len()], Error> {
    let unseen = |why: String| Error::Unseen {
        what: REQUESTS.what,
        why,
    };
    let families = ports::families(Family::ALL.map(Family::name));
    let families = families.map_err(|error| unseen(error.to_string()))?;
    match families.iter().flatten().next() {
        Some(_) => Ok(families),
        None => Err(unseen(
            "the kernel's module openvswitch is not loaded".into(),
        )),
    }
}

pub static TOOL: Tool = Tool {
    name: "dpif-ops",
    usdt: &[&PUT, &DEL, &GET, &EXECUTE],
    kernel: &[&REQUESTS, &CHUNKS],
    datapath: true,
};
