//! What dpif-ops attaches to.

use crate::bpf::dpif_ops::types::dpif_op;
use crate::cost::probes::OP_FLOW_PUT;
use crate::ovs::flow_request::Operation;
use crate::trace::probes::{Group, Tool, Usdt};
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

pub static TOOL: Tool = Tool {
    name: "dpif-ops",
    usdt: &[&PUT, &DEL, &GET, &EXECUTE],
    kernel: &[],
    datapath: true,
};
