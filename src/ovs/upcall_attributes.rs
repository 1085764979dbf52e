//! What the message of an upcall has besides its flow key and its packet.
//!
//! `queue_userspace_packet()` (`net/openvswitch/datapath.c` of Linux) writes the key, then userdata, egress tunnel,
//! actions, MRU, length and hash as far as there are any, and the packet at the end. Numbers and layouts are those of
//! `include/uapi/linux/openvswitch.h` of Linux 6.12; integers are in this host's byte order.

use std::fmt::{self, Display};

use super::actions;
use super::flow_key::odp::odp_set;
use super::flow_key::odp::partial::{List, cut, payload};
use super::flow_key::text::{dec, hex, hex_bytes};
use super::flow_key::{Attribute, Attributes, OVS_KEY_ATTR_TUNNEL, Stop, attributes};
use super::flow_request::*;
use super::userdata::{Reason, Userdata};
use crate::show::json::Line;

// `enum ovs_pkt_hash_types` (`net/openvswitch/datapath.h` of Linux 5.5 and later).
/// Of [`UpcallAttributes::hash`]: software computed it, and not the device.
pub const OVS_PACKET_HASH_SW_BIT: u64 = 1 << 32;
/// Of [`UpcallAttributes::hash`]: it is one of addresses and of the ports of the transport layer.
pub const OVS_PACKET_HASH_L4_BIT: u64 = 1 << 33;

/// The attributes of an upcall, as far as their bytes are there.
#[derive(Clone, Copy, Debug)]
pub struct UpcallAttributes<'a> {
    run: &'a [u8],
    len: usize,
}

impl<'a> UpcallAttributes<'a> {
    /// Takes the attributes of a message, which may be cut at any byte, or some in a row: with or without the key and
    /// the packet, which are passed over. `run` are the bytes behind `struct ovs_header`, or those behind the key;
    /// `len` is how many there were before they were cut. Offsets count from the start of `run`.
    pub fn new(run: &'a [u8], len: usize) -> Self {
        UpcallAttributes { run, len }
    }

    /// Why an action sent the packet up. Absent from upcalls of packets for which there is no flow.
    pub fn reason(&self) -> Option<Reason> {
        self.userdata().map(|userdata| userdata.reason())
    }

    /// What the action has for the daemon, if it is there as a whole.
    pub fn userdata(&self) -> Option<Userdata<'a>> {
        let userdata = self.last(OVS_PACKET_ATTR_USERDATA)?;
        let whole = userdata.is_complete();
        whole.then(|| Userdata::new(userdata.payload))
    }

    /// The tunnel by which the packet leaves, a run of `OVS_TUNNEL_KEY_ATTR_*`: if the action samples the packets of
    /// a tunnel's port.
    pub fn egress_tunnel(&self) -> Option<Attribute<'a>> {
        self.last(OVS_PACKET_ATTR_EGRESS_TUN_KEY)
    }

    /// The actions of the packet's flow, a run of `OVS_ACTION_ATTR_*`: if the action asks for them, as that of sFlow
    /// does.
    pub fn actions(&self) -> Option<Attribute<'a>> {
        self.last(OVS_PACKET_ATTR_ACTIONS)
    }

    /// The size of the largest fragment of which conntrack put the packet together, in bytes.
    pub fn mru(&self) -> Option<u16> {
        self.fixed(OVS_PACKET_ATTR_MRU).map(u16::from_ne_bytes)
    }

    /// The packet's length in bytes before a `trunc` action cut it.
    pub fn packet_len(&self) -> Option<u32> {
        self.fixed(OVS_PACKET_ATTR_LEN).map(u32::from_ne_bytes)
    }

    /// The packet's hash (Linux 5.5 and later).
    ///
    /// The lower 32 bits are `skb->hash`, 0 if nothing has computed it yet. The two bits above say what it is:
    /// [`OVS_PACKET_HASH_SW_BIT`] and [`OVS_PACKET_HASH_L4_BIT`]. So `0x3000012ab` is a hash of addresses and ports that
    /// software computed. Open vSwitch 2.13 and later pass it back with the packet, so that a tunnel's source port, for
    /// example, is the same for the first packet of a connection as for those that follow in the kernel.
    pub fn hash(&self) -> Option<u64> {
        self.fixed(OVS_PACKET_ATTR_HASH).map(u64::from_ne_bytes)
    }

    /// Appends one line, or nothing if there is nothing to show:
    ///
    /// ```text
    ///     reason=slow_path(lacp),hash=0x0,mru=1500
    /// ```
    ///
    /// # Errors
    ///
    /// Only those of `out`.
    pub fn lines<N: Display>(
        &self,
        port_name: impl Fn(u32) -> Option<N>,
        out: &mut String,
    ) -> fmt::Result {
        const INDENT: &str = "    ";
        let start = out.len();
        out.push_str(INDENT);
        self.text(port_name, out)?;
        if out.len() == start + INDENT.len() {
            out.truncate(start);
        } else {
            out.push('\n');
        }
        Ok(())
    }

    /// Writes what there is, joined by commas: `reason`, `userdata` if it says more than the reason, `hash`, `mru`,
    /// `len`, `egress_tunnel`, `actions`. What is not decoded follows: `attr99(01 02)`, where 99 is its type;
    /// `mru(bad length 3, expected 2)(dc 05 00)`; `mru(repeated)(dc 05)`, if another one counts; `hash(<cut at byte 8: 3
    /// of 8 bytes: 01 02 03>)`. `port_name` is that of [`actions::odp`].
    ///
    /// # Errors
    ///
    /// Only those of `out`.
    pub fn text<N: Display>(
        &self,
        port_name: impl Fn(u32) -> Option<N>,
        out: &mut impl fmt::Write,
    ) -> fmt::Result {
        let mut list = List::new(out);
        if let Some(userdata) = self.userdata() {
            let reason = userdata.reason();
            write!(list.item()?, "reason={reason}")?;
            if !matches!(reason, Reason::SlowPath(_)) {
                let out = list.item()?;
                out.write_str("userdata=")?;
                userdata.odp(&port_name, out)?;
            }
        }
        if let Some(hash) = self.hash() {
            let out = list.item()?;
            out.write_str("hash=")?;
            hex(out, hash)?;
        }
        let numbers = [
            ("mru=", self.mru().map(u32::from)),
            ("len=", self.packet_len()),
        ];
        for (name, value) in numbers {
            if let Some(value) = value {
                let out = list.item()?;
                out.write_str(name)?;
                dec(out, value)?;
            }
        }
        if let Some(tunnel) = self.egress_tunnel() {
            let out = list.item()?;
            out.write_str("egress_tunnel=")?;
            egress_tunnel(&tunnel, out)?;
        }
        if let Some(attribute) = self.actions() {
            let out = list.item()?;
            out.write_str("actions=")?;
            actions::odp(&attribute, &port_name, out)?;
        }
        for item in self.undecoded() {
            // The text of nested attributes says where they are cut.
            if !matches!(item, Undecoded::Cut(attribute) if is_nested(attribute.kind)) {
                item.text(list.item()?)?;
            }
        }
        Ok(())
    }

    /// Writes the fields `reason`, `userdata`, `hash`, `mru`, `len`, `egress_tunnel`, `actions` and `undecoded` into
    /// the object that is open, as far as there are any. `port_name` is that of [`actions::odp`].
    pub fn json<N: Display>(&self, port_name: impl Fn(u32) -> Option<N>, line: &mut Line) {
        if let Some(userdata) = self.userdata() {
            line.plain("reason", userdata.reason());
            line.begin("userdata", b'{');
            userdata.json(&port_name, line);
            line.end(b'}');
        }
        if let Some(hash) = self.hash() {
            line.plain("hash", format_args!("{hash:#x}"));
        }
        if let Some(mru) = self.mru() {
            line.field("mru", mru);
        }
        if let Some(len) = self.packet_len() {
            line.field("len", len);
        }
        if let Some(tunnel) = self.egress_tunnel() {
            line.text("egress_tunnel", |out| egress_tunnel(&tunnel, out));
        }
        if let Some(attribute) = self.actions() {
            line.text("actions", |out| actions::odp(&attribute, &port_name, out));
        }
        let mut undecoded = self.undecoded().peekable();
        if undecoded.peek().is_some() {
            line.begin("undecoded", b'[');
            for item in undecoded {
                line.begin_item(b'{');
                item.json(line);
                line.end(b'}');
            }
            line.end(b']');
        }
    }

    /// What is not decoded, or not there as a whole, in the order of the message.
    pub fn undecoded(&self) -> impl Iterator<Item = Undecoded<'a>> + use<'a> {
        let this = *self;
        let mut run = this.attributes();
        let mut has_packet = false;
        // By type, where the last attribute of it begins. Of types beyond, none has a name.
        let mut last_at = [0; OVS_PACKET_ATTR_HASH as usize + 1];
        for attribute in run.by_ref() {
            has_packet |= attribute.kind == OVS_PACKET_ATTR_PACKET;
            if let Some(at) = last_at.get_mut(usize::from(attribute.kind)) {
                *at = attribute.at;
            }
        }
        let end = match run.stopped() {
            Some(stop @ (Stop::Header { .. } | Stop::Short { .. })) => Some(Undecoded::Stop(stop)),
            Some(Stop::Cut { .. }) => None,
            // What is cut behind the packet's header is the packet, which others show.
            None => (this.run.len() < this.len && !has_packet).then_some(Undecoded::End {
                at: this.run.len(),
                len: this.len,
            }),
        };
        let attributes = this.attributes();
        let attributes = attributes.filter_map(move |attribute| {
            let last_at = last_at.get(usize::from(attribute.kind)).copied();
            undecoded(attribute, last_at == Some(attribute.at))
        });
        attributes.chain(end)
    }

    fn attributes(&self) -> Attributes<'a> {
        attributes(self.run)
    }

    /// Of several attributes of one type, the last one counts, as in the daemon.
    fn last(&self, kind: u16) -> Option<Attribute<'a>> {
        self.attributes().filter(|it| it.kind == kind).last()
    }

    /// The payload of an attribute that has a fixed length, if it is there as a whole.
    fn fixed<const N: usize>(&self, kind: u16) -> Option<[u8; N]> {
        let attribute = self.last(kind).filter(Attribute::is_complete);
        attribute?.payload.try_into().ok()
    }
}

/// What is to be said of an attribute that is not decoded, or not as a whole. `is_last` of several of its type.
fn undecoded(attribute: Attribute<'_>, is_last: bool) -> Option<Undecoded<'_>> {
    let kind = attribute.kind;
    if kind == OVS_PACKET_ATTR_PACKET {
        return None;
    }
    if name(kind).is_none() && kind != OVS_PACKET_ATTR_KEY {
        return Some(Undecoded::Unknown(attribute));
    }
    if !attribute.is_complete() {
        return Some(Undecoded::Cut(attribute));
    }
    if kind == OVS_PACKET_ATTR_KEY {
        return None;
    }
    let len = packet_attr_len(kind).filter(|len| *len != attribute.payload.len());
    match len {
        Some(expected) => Some(Undecoded::Length {
            attribute,
            expected,
        }),
        None => (!is_last).then_some(Undecoded::Repeated(attribute)),
    }
}

/// The name of an attribute's field.
fn name(kind: u16) -> Option<&'static str> {
    Some(match kind {
        OVS_PACKET_ATTR_ACTIONS => "actions",
        OVS_PACKET_ATTR_USERDATA => "userdata",
        OVS_PACKET_ATTR_EGRESS_TUN_KEY => "egress_tunnel",
        OVS_PACKET_ATTR_MRU => "mru",
        OVS_PACKET_ATTR_LEN => "len",
        OVS_PACKET_ATTR_HASH => "hash",
        _ => return None,
    })
}

/// Whether an attribute is shown as far as it goes.
fn is_nested(kind: u16) -> bool {
    matches!(
        kind,
        OVS_PACKET_ATTR_ACTIONS | OVS_PACKET_ATTR_EGRESS_TUN_KEY
    )
}

/// Writes the tunnel as a flow key has it: `tunnel(tun_id=0x5,src=10.0.0.1,...)`.
fn egress_tunnel(tunnel: &Attribute<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    let tunnel = Attribute {
        kind: OVS_KEY_ATTR_TUNNEL,
        ..*tunnel
    };
    odp_set(&tunnel, None, out)
}

/// Something in the message that is not decoded, or not there as a whole. Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecoded<'a> {
    /// No upcall is known to have this type of attribute.
    Unknown(Attribute<'a>),
    /// The payload does not have the length that it must have.
    Length {
        attribute: Attribute<'a>,
        expected: usize,
    },
    /// Another attribute of this type follows, which counts.
    Repeated(Attribute<'a>),
    Cut(Attribute<'a>),
    /// The attributes end in less than a header, or go on with nonsense.
    Stop(Stop),
    /// The attributes are cut between two of them, at offset `at` of `len`.
    End {
        at: usize,
        len: usize,
    },
}

impl Undecoded<'_> {
    fn text(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match *self {
            Self::Unknown(attribute) => {
                out.write_str("attr")?;
                dec(out, attribute.kind.into())?;
                out.write_str("(")?;
                payload(&attribute, out)?;
            }
            Self::Length {
                attribute,
                expected,
            } => {
                out.write_str(name(attribute.kind).unwrap_or_default())?;
                let have = attribute.payload.len();
                write!(out, "(bad length {have}, expected {expected})(")?;
                hex_bytes(out, attribute.payload, " ")?;
            }
            Self::Repeated(attribute) => {
                out.write_str(name(attribute.kind).unwrap_or_default())?;
                out.write_str("(repeated)(")?;
                hex_bytes(out, attribute.payload, " ")?;
            }
            Self::Cut(attribute) => {
                let bytes = undecoded_bytes(&attribute);
                out.write_str(name(attribute.kind).unwrap_or("key"))?;
                out.write_str("(")?;
                cut(&attribute, bytes, out)?;
            }
            Self::Stop(Stop::Short { at, len }) => {
                return write!(out, "<nla_len {len} < 4 at byte {at}>");
            }
            Self::Stop(Stop::Header { at, left } | Stop::Cut { at, left, .. }) => {
                return write!(out, "<cut at byte {at}: {left} of 4 header bytes>");
            }
            Self::End { at, len } => return write!(out, "<cut at byte {at} of {len}>"),
        }
        out.write_str(")")
    }

    /// Writes an item of `undecoded`, which has the fields that those of a flow key have.
    fn json(&self, line: &mut Line) {
        let (at, why, attribute) = match *self {
            Self::Unknown(it) => (it.at, "unknown", Some(it)),
            Self::Length { attribute: it, .. } => (it.at, "length", Some(it)),
            Self::Repeated(it) => (it.at, "repeated", Some(it)),
            Self::Cut(it) => (it.at, "cut", Some(it)),
            Self::Stop(Stop::Short { at, .. }) => (at, "nla_len", None),
            Self::Stop(Stop::Header { at, .. }) => (at, "header", None),
            Self::Stop(Stop::Cut { at, .. }) | Self::End { at, .. } => (at, "cut", None),
        };
        line.field("at", at);
        line.field("why", why);
        if let Some(attribute) = attribute {
            line.field("type", attribute.kind);
            if let Some(name) = packet_attr_name(attribute.kind) {
                line.field("type_name", name);
            }
            line.field("length", attribute.payload_len());
            line.field("captured", attribute.payload.len());
            let bytes = undecoded_bytes(&attribute);
            if !bytes.is_empty() {
                line.base64("bytes", bytes);
            }
        }
        match *self {
            Self::Stop(Stop::Short { len, .. }) => line.field("nla_len", len),
            Self::Stop(Stop::Header { left, .. }) => line.field("captured", left),
            _ => {}
        }
    }
}

/// Those bytes of an attribute that are shown nowhere else: the key has fields of its own, and what is nested is shown
/// as far as it goes.
fn undecoded_bytes<'a>(attribute: &Attribute<'a>) -> &'a [u8] {
    let shown = attribute.kind == OVS_PACKET_ATTR_KEY
        || is_nested(attribute.kind) && !attribute.is_complete();
    if shown { &[] } else { attribute.payload }
}
