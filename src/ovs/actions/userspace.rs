//! The action that sends a packet up to ovs-vswitchd.

use std::fmt::{self, Display};

use super::parts::{Part, Parts};
use super::port;
use crate::ovs::flow_key::Attribute;
use crate::ovs::flow_key::odp::fields::number;
use crate::ovs::flow_key::odp::partial::List;
use crate::ovs::userdata::Userdata;

// `enum ovs_userspace_attr`.
pub const OVS_USERSPACE_ATTR_PID: u16 = 1;
pub const OVS_USERSPACE_ATTR_USERDATA: u16 = 2;
pub const OVS_USERSPACE_ATTR_EGRESS_TUN_PORT: u16 = 3;
pub const OVS_USERSPACE_ATTR_ACTIONS: u16 = 4;

pub(super) fn userspace<N: Display>(
    action: &Attribute<'_>,
    port_name: &impl Fn(u32) -> Option<N>,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    const KNOWN: [Part; 5] = [
        Part::Unknown,
        Part::Fixed(4),
        Part::Any,
        Part::Fixed(4),
        Part::Any,
    ];
    let parts = Parts::of(action, &KNOWN);
    out.write_str("userspace(")?;
    let mut list = List::new(out);
    if let Some(pid) = parts.host32(OVS_USERSPACE_ATTR_PID) {
        number(list.item()?, "pid=", pid)?;
    }
    if let Some(userdata) = parts.get(OVS_USERSPACE_ATTR_USERDATA) {
        Userdata::new(userdata.payload).odp(port_name, list.item()?)?;
    }
    if parts.has(OVS_USERSPACE_ATTR_ACTIONS) {
        list.item()?.write_str("actions")?;
    }
    if let Some(tunnel) = parts.host32(OVS_USERSPACE_ATTR_EGRESS_TUN_PORT) {
        let out = list.item()?;
        out.write_str("tunnel_out_port=")?;
        port(port_name, tunnel, out)?;
    }
    parts.end(list)
}
