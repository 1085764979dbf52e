//! What dpif-ops attaches to.

use crate::cost::probes::OP_FLOW_PUT;
use crate::trace::plan::{Group, Point, Tool, Usdt, Way, Without};

pub static OP_FLOW_DEL: Usdt = Usdt {
    name: "op_flow_del",
    ..OP_FLOW_PUT
};

pub static OP_FLOW_GET: Usdt = Usdt {
    name: "op_flow_get",
    ..OP_FLOW_PUT
};

/// `lib/dpif-netlink.c` of Open vSwitch. Fetched is the request, a `struct ofpbuf *`.
pub static OP_FLOW_EXECUTE: Usdt = Usdt {
    name: "op_flow_execute",
    args: 5,
    pointers: &[0, 1, 2, 4],
    fetched: &[4],
    ..OP_FLOW_PUT
};

/// The probe of an operation, whose program has the same name.
macro_rules! group {
    ($group:ident, $what:literal, $probe:ident, $program:literal) => {
        pub static $group: Group = Group {
            what: $what,
            ways: &[Way {
                name: "usdt",
                needs: &[],
                points: &[Point::Usdt {
                    probe: &$probe,
                    program: $program,
                }],
            }],
            without: Without::Error,
        };
    };
}

group!(PUT, "puts", OP_FLOW_PUT, "op_flow_put");
group!(DEL, "deletes", OP_FLOW_DEL, "op_flow_del");
group!(GET, "gets", OP_FLOW_GET, "op_flow_get");
group!(EXECUTE, "executes", OP_FLOW_EXECUTE, "op_flow_execute");

pub static TOOL: Tool = Tool {
    name: "dpif-ops",
    groups: &[&PUT, &DEL, &GET, &EXECUTE],
    datapath: true,
};
