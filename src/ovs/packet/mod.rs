//! Packets decoded into layers of named fields, as scapy's `show()` presents them.
//!
//! [`decode`] pushes what it finds into a [`Visitor`]; [`show`] is the visitor that prints text.
//! Whether a packet begins with an Ethernet header is a [`Link`], which its flow key says.
//! Nothing is allocated for a packet. Partial input is normal, for a snap length cuts most packets:
//! every field that is whole is decoded, what is there of the next one becomes a `Raw` layer, and a
//! [`Stop`] says where the decoder stopped and why. That is also why the headers are read field by
//! field here: a parser of whole headers shows nothing of a TCP header whose options are cut.
//!
//! It decodes what Open vSwitch and its kernel module match on, make or take for themselves:
//!
//! * Ethernet II, 802.3 with LLC and SNAP, 802.1Q and 802.1ad tags, ARP and RARP; STP, RSTP, MSTP; LACP, the marker
//!   protocol and the information of link OAM; LLDP; CFM; MACsec; PPPoE with PPP and the heads of its control
//!   protocols;
//! * MPLS, with a control word or an associated channel; NSH;
//! * IPv4 with options, IPv6 with extension headers, AH, the head of ESP;
//! * TCP with options, UDP, SCTP with the heads of its chunks, ICMP, ICMPv6 with MLD and neighbour discovery, IGMP,
//!   BFD;
//! * GRE of both versions, ERSPAN, VXLAN (also GBP and GPE), Geneve, GTP-U, LISP, STT, EtherIP, and IP, MPLS and
//!   Ethernet in IP or UDP.
//!
//! All else is `Raw`. It is data (of UDP and TCP, of an echo, of no next header) or bytes that mean nothing, or else a
//! [`Stop`] says what it is that is not decoded, for example which next protocol; so it is with later fragments and
//! with what is encrypted.
//!
//! # Differences from scapy 2.5
//!
//! Names of layers, fields and values are scapy's, those of its contributed layers too, so that its users can read
//! them. What differs, on purpose: ports are numbers, never names of services; bytes are `b'...'` and absent TCP
//! options `[]`, as in later versions; lines have no trailing space; fields that are not in the packet (`autopad`, an
//! empty `unused`) are not shown, nor is the explanation of the action bits in an IPv6 `otype`; the flags of a segment
//! routing header are one number, a DNS search list and TCP's `AO` and `TFO` are bytes (RFC 7413), `AltChkSum` is one
//! number (RFC 1146), ICMP timestamps are milliseconds, the times of STP 256ths of a second. Zero bytes at the end of a
//! field of bytes are shown. RARP, ICMPv6 messages of other types and other options of neighbour discovery are decoded
//! as far as all of their kind are alike. An ICMP type without a format of its own ends after `chksum`; RFC 4884's
//! `length` separates the quoted packet from the extensions behind it, whose objects are bytes. The records of an MLDv2
//! report are siblings, their auxiliary data is counted in 32-bit words (RFC 3810). A UDP length of 0 means all that
//! remains (RFC 2675). Tunnels over UDP, and BFD, are recognised by their destination port alone.
//!
//! The TLVs of LLDP and the chunks of SCTP are lists, for there may be more of them than [`MAX_LAYERS`]. The
//! capabilities of LLDP are sets of bits. A query of IGMP has the same name in all versions. `OUI` of SNAP has no name,
//! and `code` has one only where it is an Ethernet type. The parameters and causes of errors of SCTP, what PAP and CHAP
//! carry, and what only some extension headers of GTP-U have, are bytes; `proto_id` of SCTP is a number. The data of
//! ESP is `Raw`, and the integrity check value of MACsec is padding. Behind a label, Ethernet is recognised by a known
//! type alone, where scapy takes all that is not IP for it. What scapy has no layers for has the names of its standard:
//! link OAM, CFM, LISP, STT, the associated channel, IPV6CP, CCP, authentication of BFD, and what RSTP, MSTP and PVST+
//! add to `Spanning Tree Protocol`.
//!
//! An impossible version or length stops the decoder, where scapy goes on with a guess, and a field which is not
//! whole is `Raw`, where scapy shows a default or a part.

mod fields;
mod gre;
mod gtp;
mod icmp;
mod igmp;
mod ipv4;
mod ipv6;
mod link;
mod link_type;
mod llc;
mod lldp;
mod mpls;
pub(crate) mod names;
mod neighbour;
mod nsh;
mod oam;
mod ppp;
mod sctp;
mod security;
mod slow;
mod span;
mod text;
mod transport;
mod tunnel;

pub use link_type::Link;
use span::{Halt, Span};
pub use text::show;
pub(crate) use text::write_value;
pub use transport::{TcpOption, TcpOptions};

/// How deep layers may be nested, options of neighbour discovery included; what lies deeper is
/// `Raw`. It bounds both the stack and the indentation of the text.
pub const MAX_LAYERS: usize = 32;

/// Receives the layers of a packet in the order in which they lie in it.
///
/// ```text
/// layers = { layer } ; layer = "layer" { "field" | list } ; list = "begin" layers "end"
/// ```
/// and, behind the last layer, up to two "stop".
pub trait Visitor {
    /// A layer begins; the fields that follow are its own. `depth` is the number of layers around
    /// it, counted from the enclosing list: all options in a list have depth 0.
    fn layer(&mut self, name: &'static str, depth: usize);
    fn field(&mut self, name: &'static str, value: Value<'_>);
    /// The field `name` of the current layer is a list of layers: all of them up to the matching
    /// [`Visitor::end`], after which fields belong to the current layer again.
    fn begin(&mut self, name: &'static str);
    fn end(&mut self);
    /// Not all was decoded.
    fn stop(&mut self, stop: Stop);
}

/// The value of a field. Numbers are in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Int(u64),
    /// A number which is customarily written in hexadecimal: a checksum, an identifier.
    Hex(u64),
    /// A number which has a name.
    Name {
        value: u64,
        name: &'static str,
    },
    /// A set of named bits: `names[i]` belongs to bit `1 << i`.
    Flags {
        value: u64,
        names: &'static [&'static str],
        separator: &'static str,
    },
    Mac([u8; 6]),
    Ipv4([u8; 4]),
    Ipv6([u8; 16]),
    /// IPv4 addresses, 4 bytes each.
    Ipv4List(&'a [[u8; 4]]),
    /// IPv6 addresses, 16 bytes each.
    Ipv6List(&'a [[u8; 16]]),
    Bytes(&'a [u8]),
    TcpOptions(TcpOptions<'a>),
}

/// Why something in a packet was not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Only the first `captured` of the packet's `original` bytes are known; the capture ends in
    /// `layer`.
    Cut {
        layer: &'static str,
        captured: usize,
        original: usize,
    },
    /// The packet, or what an outer header leaves of it, ends inside the header of `layer`.
    Short { layer: &'static str },
    /// A field holds what the protocol forbids, so that what follows cannot be located.
    Invalid {
        layer: &'static str,
        field: &'static str,
        value: u64,
    },
    /// What follows in `layer` has a format that is not decoded here: that of the next protocol or of the version which
    /// `field` gives.
    Undecoded {
        layer: &'static str,
        field: &'static str,
        /// [`Value::Int`] or [`Value::Hex`].
        value: Value<'static>,
        /// What the value is called, if that is known.
        name: Option<&'static str>,
    },
    /// What follows in `layer` is encrypted.
    Encrypted { layer: &'static str },
    /// What follows in `layer` is a later fragment: the header that explains it is in the first one.
    Fragment { layer: &'static str },
    /// There are more than [`MAX_LAYERS`].
    TooDeep,
    /// Nothing is decoded, because it is not known what the packet begins with: [`Link::Unknown`].
    UnknownLink,
}

/// Decodes a packet that begins with what `link` says; `packet` is its beginning, or all of it, and
/// `original_len` the length of the whole packet in bytes.
///
/// Any bytes will do: what cannot be decoded becomes a `Raw` layer, and [`Visitor::stop`] gets
/// the first reason for it, then the cut of the packet, if it is cut.
pub fn decode(packet: &[u8], original_len: usize, link: Link, visitor: &mut impl Visitor) {
    let cut = original_len > packet.len();
    let mut decoder = Decoder {
        visitor,
        name: match link {
            Link::Ethernet => "Ethernet",
            Link::Network(_) | Link::Unknown => "packet",
        },
        depth: 0,
        nesting: 0,
        quoted: false,
        stop: None,
    };
    let span = Span { bytes: packet, cut };
    match link {
        Link::Ethernet => decoder.run(span, Decoder::ethernet),
        // The name that the flow key has for the type.
        Link::Network(ether_type) => decoder.by_ether_type("eth_type", ether_type, span),
        Link::Unknown => decoder.stopped(span, |_| Stop::UnknownLink),
    }
    let Decoder {
        visitor,
        name,
        stop,
        ..
    } = decoder;
    if let Some(stop) = stop {
        visitor.stop(stop);
    }
    if cut {
        let captured = packet.len();
        visitor.stop(Stop::Cut {
            layer: name,
            captured,
            original: original_len,
        });
    }
}

struct Decoder<'v, V> {
    visitor: &'v mut V,
    /// The layer to which the next bytes belong.
    name: &'static str,
    /// Depth of the next layer in the current list.
    depth: usize,
    /// Nested calls of `run`.
    nesting: usize,
    /// In the packet which an ICMP error quotes.
    quoted: bool,
    /// The first reason for not decoding something, other than a cut.
    stop: Option<Stop>,
}

impl<'a, V: Visitor> Decoder<'_, V> {
    /// Decodes one layer and what is in it. If the layer halts, the rest of its bytes becomes `Raw`.
    fn run(
        &mut self,
        mut span: Span<'a>,
        layer: impl FnOnce(&mut Self, &mut Span<'a>) -> Result<(), Halt>,
    ) {
        if span.is_empty() {
            return;
        }
        if self.nesting == MAX_LAYERS {
            self.stop.get_or_insert(Stop::TooDeep);
            return self.raw(span);
        }
        self.nesting += 1;
        if let Err(halt) = layer(self, &mut span) {
            self.halt(halt);
            self.leftover(span.bytes);
        }
        self.nesting -= 1;
    }

    /// Decodes a list of layers, up to the end of `span` or to the first which cannot be decoded.
    fn list(
        &mut self,
        field: &'static str,
        mut span: Span<'a>,
        mut item: impl FnMut(&mut Self, &mut Span<'a>) -> Result<(), Halt>,
    ) {
        let (name, depth) = (self.name, self.depth);
        let mut cut = false;
        self.visitor.begin(field);
        while !span.is_empty() {
            self.depth = 0;
            if let Err(halt) = item(self, &mut span) {
                cut = matches!(halt, Halt::End { cut: true });
                self.halt(halt);
                self.leftover(span.rest());
            }
        }
        self.visitor.end();
        // The name of an item that the capture cuts is kept: it says where.
        if !cut {
            self.name = name;
        }
        self.depth = depth;
    }

    /// Decodes a list of `number` layers, or those of them which are there. What is behind them stays in `span`.
    fn counted_list(
        &mut self,
        field: &'static str,
        number: usize,
        span: &mut Span<'a>,
        mut item: impl FnMut(&mut Self, &mut Span<'a>) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let mut missing = number;
        let mut behind = Span::EMPTY;
        self.list(field, *span, |this, span| {
            let Some(left) = missing.checked_sub(1) else {
                behind = std::mem::replace(span, Span::EMPTY);
                return Ok(());
            };
            item(this, span)?;
            missing = left;
            Ok(())
        });
        let end = span.end();
        *span = behind;
        if missing == 0 { Ok(()) } else { Err(end) }
    }

    /// Decodes a list of layers up to the one which ends it, for which `item` returns false; what is behind that one is
    /// padding.
    fn ended_list(
        &mut self,
        field: &'static str,
        span: Span<'a>,
        mut item: impl FnMut(&mut Self, &mut Span<'a>) -> Result<bool, Halt>,
    ) {
        let mut behind = Span::EMPTY;
        self.list(field, span, |this, span| {
            if !item(this, span)? {
                behind = std::mem::replace(span, Span::EMPTY);
            }
            Ok(())
        });
        self.padding(behind);
    }

    /// Decodes what the current layer has in its next `len` bytes; what is behind them is padding.
    fn bounded(
        &mut self,
        len: usize,
        span: &mut Span<'a>,
        body: impl FnOnce(&mut Self, &mut Span<'a>) -> Result<(), Halt>,
    ) {
        let mut inner = span.split(len);
        if let Err(halt) = body(self, &mut inner) {
            self.halt(halt);
            self.leftover(inner.bytes);
        }
        self.padding(*span);
    }

    fn halt(&mut self, halt: Halt) {
        let layer = self.name;
        let stop = match halt {
            Halt::End { cut: true } => return,
            Halt::End { cut: false } => Stop::Short { layer },
            Halt::Invalid { field, value } => Stop::Invalid {
                layer,
                field,
                value,
            },
            Halt::Undecoded { field, value } => Stop::Undecoded {
                layer,
                field,
                value: Value::Int(value),
                name: None,
            },
        };
        self.stop.get_or_insert(stop);
    }

    fn layer(&mut self, name: &'static str) {
        self.visitor.layer(name, self.depth);
        self.name = name;
        self.depth += 1;
    }

    /// A payload whose format, which `field` of the current layer gives, is not decoded.
    fn undecoded(
        &mut self,
        field: &'static str,
        value: Value<'static>,
        name: Option<&'static str>,
        payload: Span<'a>,
    ) {
        self.stopped(payload, |layer| Stop::Undecoded {
            layer,
            field,
            value,
            name,
        });
    }

    /// A payload that is not decoded, and why.
    fn stopped(&mut self, payload: Span<'a>, stop: impl FnOnce(&'static str) -> Stop) {
        if !payload.is_empty() {
            self.stop.get_or_insert(stop(self.name));
        }
        self.raw(payload);
    }

    /// Bytes which are known to be data, or which mean nothing.
    fn raw(&mut self, span: Span<'a>) {
        if !span.is_empty() {
            self.layer("Raw");
            self.field("load", Value::Bytes(span.bytes));
        }
    }

    /// The bytes of a layer that halted.
    fn leftover(&mut self, bytes: &'a [u8]) {
        let name = self.name;
        self.raw(Span { bytes, cut: false });
        self.name = name;
    }

    /// Bytes behind the end that a header gives to its payload.
    fn padding(&mut self, span: Span<'a>) {
        if !span.is_empty() {
            self.layer("Padding");
            self.field("load", Value::Bytes(span.bytes));
        } else if span.cut {
            self.name = "Padding";
        }
    }
}
