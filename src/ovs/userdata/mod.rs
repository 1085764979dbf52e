//! The userdata of a `userspace` action: the cookie by which ovs-vswitchd knows why it gets a packet.
//!
//! The kernel hands the bytes back as they are, in each upcall of that action (`OVS_PACKET_ATTR_USERDATA`). They are a
//! C structure of Open vSwitch, `user_action_cookie` of its `lib/odp-util.h`. Its length tells which one:
//!
//! | length | releases | what it is |
//! |---|---|---|
//! | 8 | 2.4 to 2.8 | `union user_action_cookie`: its `sflow`, `slow_path` or `ipfix` |
//! | 16 | 2.4, 2.5 | the same union: its `flow_sample` |
//! | 20 | 2.6 | `flow_sample` with `output_odp_port` |
//! | 24 | 2.7, 2.8 | `flow_sample` with `direction`, too |
//! | 48 | 2.9 to 4.0 | `struct user_action_cookie`, whatever its type; 2.9 brought its `controller` |
//!
//! Within a length, nothing has moved. The reasons of a slow path have:
//!
//! * 2.4 to 2.8 have `controller` at 0x20 and `action` at 0x40.
//! * 2.9 has `action` at 0x20, and no `controller`, which became a cookie of its own.
//! * 2.10 and later have `match` at 0x40, too.
//!
//! Releases before 2.4 are not told apart: they send 8 bytes as well, with `controller` at 0x10 and `action` at 0x20.
//! Any other length or type is shown as bytes.

mod reason;

use std::fmt::{self, Display};

pub use self::reason::{Reason, SlowPath, packet_in_reason};

use super::actions::{host16, host32, net16, port};
use super::flow_key::odp::fields::number;
use super::flow_key::text::{alt_hex, hex_bytes};
use super::flow_request::Ufid;
use crate::show::json::Line;

// `enum user_action_cookie_type`.
pub const USER_ACTION_COOKIE_SFLOW: u16 = 1;
pub const USER_ACTION_COOKIE_SLOW_PATH: u16 = 2;
pub const USER_ACTION_COOKIE_FLOW_SAMPLE: u16 = 3;
pub const USER_ACTION_COOKIE_IPFIX: u16 = 4;
/// Since Open vSwitch 2.9.
pub const USER_ACTION_COOKIE_CONTROLLER: u16 = 5;

/// `enum nx_action_sample_direction` (`include/openvswitch/ofp-actions.h` of Open vSwitch 2.7 to 4.0).
static SAMPLE_DIRECTIONS: [&str; 3] = ["default", "ingress", "egress"];

/// Lengths of the cookies in bytes.
const STRUCT: usize = 48;
const UNION: usize = 8;
const FLOW_SAMPLE_2_4: usize = 16;
const FLOW_SAMPLE_2_6: usize = 20;
const FLOW_SAMPLE_2_7: usize = 24;

/// A cookie's matter, by its type. Ports are numbers of the datapath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cookie {
    Sflow {
        vlan_tci: u16,
        output: u32,
    },
    SlowPath(SlowPath),
    FlowSample {
        probability: u16,
        collector_set_id: u32,
        obs_domain_id: u32,
        obs_point_id: u32,
        output_port: Option<u32>,
        direction: Option<u32>,
    },
    Ipfix {
        output_port: u32,
    },
    Controller {
        dont_send: bool,
        continuation: bool,
        reason: u16,
        recirc_id: u32,
        rule_cookie: u64,
        controller_id: u16,
        max_len: u16,
    },
}

/// What a userspace action has for the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Userdata<'a> {
    bytes: &'a [u8],
    cookie: Option<Cookie>,
}

impl<'a> Userdata<'a> {
    /// Decodes userdata, which must be there as a whole: its length says what it is.
    pub fn new(bytes: &'a [u8]) -> Self {
        let cookie = cookie(bytes);
        Userdata { bytes, cookie }
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Why the daemon gets the packet.
    pub fn reason(&self) -> Reason {
        match self.cookie {
            Some(Cookie::Sflow { .. }) => Reason::Sflow,
            Some(Cookie::SlowPath(reasons)) => Reason::SlowPath(reasons),
            Some(Cookie::FlowSample { .. }) => Reason::FlowSample,
            Some(Cookie::Ipfix { .. }) => Reason::Ipfix,
            Some(Cookie::Controller { reason, .. }) => Reason::Controller(reason),
            None => Reason::Unknown,
        }
    }

    /// Writes what `ovs-dpctl dump-flows` shows of it inside `userspace(...)`, for example `slow_path(lacp)`; unknown
    /// userdata is `userdata(0102)`. `port_name` is that of [`actions::odp`](super::actions::odp).
    ///
    /// # Errors
    ///
    /// Only those of `out`.
    pub fn odp<N: Display>(
        &self,
        port_name: impl Fn(u32) -> Option<N>,
        out: &mut impl fmt::Write,
    ) -> fmt::Result {
        match self.cookie {
            Some(Cookie::Sflow { vlan_tci, output }) => {
                number(out, "sFlow(vid=", vid(vlan_tci))?;
                number(out, ",pcp=", pcp(vlan_tci))?;
                number(out, ",output=", output)?;
            }
            Some(Cookie::SlowPath(reasons)) => write!(out, "slow_path({reasons}")?,
            Some(Cookie::FlowSample {
                probability,
                collector_set_id,
                obs_domain_id,
                obs_point_id,
                output_port,
                direction,
            }) => {
                number(out, "flow_sample(probability=", probability)?;
                number(out, ",collector_set_id=", collector_set_id)?;
                number(out, ",obs_domain_id=", obs_domain_id)?;
                number(out, ",obs_point_id=", obs_point_id)?;
                if let Some(output) = output_port {
                    out.write_str(",output_port=")?;
                    port(port_name, output, out)?;
                }
                out.write_str(match direction {
                    Some(1) => ",ingress",
                    Some(2) => ",egress",
                    _ => "",
                })?;
            }
            Some(Cookie::Ipfix { output_port }) => {
                out.write_str("ipfix(output_port=")?;
                port(port_name, output_port, out)?;
            }
            Some(Cookie::Controller {
                dont_send,
                continuation,
                reason,
                recirc_id,
                rule_cookie,
                controller_id,
                max_len,
            }) => {
                number(out, "controller(reason=", reason)?;
                number(out, ",dont_send=", dont_send)?;
                number(out, ",continuation=", continuation)?;
                number(out, ",recirc_id=", recirc_id)?;
                out.write_str(",rule_cookie=")?;
                alt_hex(out, rule_cookie)?;
                number(out, ",controller_id=", controller_id)?;
                number(out, ",max_len=", max_len)?;
            }
            None => {
                out.write_str("userdata(")?;
                hex_bytes(out, self.bytes, "")?;
            }
        }
        out.write_str(")")
    }

    /// Writes its fields into the object that is open. `port_name` is that of [`odp`](Self::odp), for its text.
    pub fn json<N: Display>(&self, port_name: impl Fn(u32) -> Option<N>, line: &mut Line) {
        line.field("length", self.bytes.len());
        line.text("odp", |out| self.odp(port_name, out));
        if let Some(cookie) = &self.cookie {
            line.field("type", host16(self.bytes, 0));
            line.field("type_name", self.reason().name());
            cookie.json(line);
        } else {
            line.base64("bytes", self.bytes);
        }
        if self.cookie.is_some() && self.bytes.len() == STRUCT {
            line.field("ofp_in_port", host32(self.bytes, 4));
            // A `struct uuid` is shown as a flow's identifier is.
            if let Some(uuid) = self.bytes.get(8..).and_then(<[u8]>::first_chunk) {
                line.plain("ofproto_uuid", Ufid(*uuid));
            }
        }
    }
}

impl Cookie {
    fn json(&self, line: &mut Line) {
        match *self {
            Self::Sflow { vlan_tci, output } => {
                line.field("vid", vid(vlan_tci));
                line.field("pcp", pcp(vlan_tci));
                line.field("output", output);
            }
            Self::SlowPath(reasons) => {
                line.field("reasons", reasons.bits());
                line.name_of("reasons", "_names");
                line.bits(reasons.bits().into(), reasons.names());
            }
            Self::FlowSample {
                probability,
                collector_set_id,
                obs_domain_id,
                obs_point_id,
                output_port,
                direction,
            } => {
                line.field("probability", probability);
                line.field("collector_set_id", collector_set_id);
                line.field("obs_domain_id", obs_domain_id);
                line.field("obs_point_id", obs_point_id);
                if let Some(output) = output_port {
                    line.field("output_port", output);
                }
                if let Some(direction) = direction {
                    line.field("direction", direction);
                    if let Some(name) = SAMPLE_DIRECTIONS.get(direction as usize) {
                        line.field("direction_name", name);
                    }
                }
            }
            Self::Ipfix { output_port } => line.field("output_port", output_port),
            Self::Controller {
                dont_send,
                continuation,
                reason,
                recirc_id,
                rule_cookie,
                controller_id,
                max_len,
            } => {
                line.field("reason", reason);
                if let Some(name) = packet_in_reason(reason) {
                    line.field("reason_name", name);
                }
                line.field("dont_send", dont_send);
                line.field("continuation", continuation);
                line.field("recirc_id", recirc_id);
                line.plain("rule_cookie", format_args!("{rule_cookie:#x}"));
                line.field("controller_id", controller_id);
                line.field("max_len", max_len);
            }
        }
    }
}

/// Decodes a cookie of a known type that has the length of its type. All but `vlan_tci` and `rule_cookie` are in this
/// host's byte order.
fn cookie(bytes: &[u8]) -> Option<Cookie> {
    let kind = u16::from_ne_bytes(*bytes.first_chunk()?);
    let is_struct = bytes.len() == STRUCT;
    // The types' own parts. In the union they begin with the type; in the structure they follow the type, the OpenFlow
    // port (`ofp_port_t`, 32 bits) and the UUID of the bridge.
    let (half, words) = if is_struct { (24, 24) } else { (2, 0) };
    let word = |index: usize| host32(bytes, words + 4 * index);
    let byte = |index: usize| bytes.get(words + index).is_some_and(|byte| *byte != 0);
    Some(match (kind, bytes.len()) {
        (USER_ACTION_COOKIE_SFLOW, STRUCT | UNION) => Cookie::Sflow {
            vlan_tci: net16(bytes, half),
            output: word(1),
        },
        (USER_ACTION_COOKIE_SLOW_PATH, STRUCT | UNION) => Cookie::SlowPath(match is_struct {
            true => SlowPath::new(word(1)),
            false => SlowPath::new_2_4(word(1)),
        }),
        (
            USER_ACTION_COOKIE_FLOW_SAMPLE,
            len @ (STRUCT | FLOW_SAMPLE_2_4 | FLOW_SAMPLE_2_6 | FLOW_SAMPLE_2_7),
        ) => Cookie::FlowSample {
            probability: host16(bytes, half),
            collector_set_id: word(1),
            obs_domain_id: word(2),
            obs_point_id: word(3),
            output_port: (len >= FLOW_SAMPLE_2_6).then(|| word(4)),
            direction: (len >= FLOW_SAMPLE_2_7).then(|| word(5)),
        },
        (USER_ACTION_COOKIE_IPFIX, STRUCT) => Cookie::Ipfix {
            output_port: word(0),
        },
        (USER_ACTION_COOKIE_IPFIX, UNION) => Cookie::Ipfix {
            output_port: word(1),
        },
        (USER_ACTION_COOKIE_CONTROLLER, STRUCT) => {
            let rule_cookie = bytes.get(words + 8..).and_then(<[u8]>::first_chunk);
            Cookie::Controller {
                dont_send: byte(0),
                continuation: byte(1),
                reason: host16(bytes, words + 2),
                recirc_id: word(1),
                rule_cookie: u64::from_be_bytes(*rule_cookie?),
                controller_id: host16(bytes, words + 16),
                max_len: host16(bytes, words + 18),
            }
        }
        _ => return None,
    })
}

/// The VLAN of a tag control information.
fn vid(tci: u16) -> u16 {
    tci & 0xfff
}

/// The priority of a tag control information.
fn pcp(tci: u16) -> u16 {
    tci >> 13
}
