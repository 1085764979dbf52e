//! Packets decoded into layers of named fields, as scapy's `show()` presents them.
//!
//! [`decode`] pushes what it finds into a [`Visitor`]; [`show`] is the visitor that prints text.
//! Nothing is allocated for a packet. Partial input is normal, for a snap length cuts most packets:
//! every field that is whole is decoded, what is there of the next one becomes a `Raw` layer, and a
//! [`Stop`] says where the decoder stopped and why. That is also why the headers are read field by
//! field here: a parser of whole headers shows nothing of a TCP header whose options are cut.
//!
//! It decodes Ethernet II and 802.3 with its LLC header, 802.1Q and 802.1ad tags, MPLS, ARP and
//! RARP, IPv4 with options, IPv6 with extension headers, TCP with options, UDP, the header of SCTP,
//! ICMP, ICMPv6 with MLD and neighbour discovery, GRE, VXLAN (also GBP and GPE) and Geneve. All
//! else is `Raw`, and so are the later fragments of a datagram.
//!
//! # Differences from scapy 2.5
//!
//! Names of layers, fields and values are scapy's, so that its users can read them. What differs,
//! on purpose: ports are numbers, never names of services; bytes are `b'...'` and absent TCP
//! options `[]`, as in later versions; lines have no trailing space; fields that are not in the
//! packet (`autopad`, an empty `unused`) are not shown, nor is the explanation of the action bits in
//! an IPv6 `otype`; the flags of a segment routing header are one number, a DNS search list and
//! TCP's `AO` and `TFO` are bytes (RFC 7413), `AltChkSum` is one number (RFC 1146), ICMP timestamps
//! are milliseconds. Zero bytes at the end of a field of bytes are shown. RARP, ICMPv6 messages of
//! other types and other options of neighbour discovery are decoded as far as all of their kind are
//! alike; STP, SNAP, DNS, DHCP, ESP, AH, SCTP's chunks and, behind MPLS, all but IPv4 and IPv6 are
//! `Raw`. An ICMP type without a format of its own ends after `chksum`; RFC 4884's `length`
//! separates the quoted packet from the extensions behind it. The records of an MLDv2 report are
//! siblings, their auxiliary data is counted in 32-bit words (RFC 3810). A UDP length of 0 means
//! all that remains (RFC 2675). VXLAN is recognised by its destination port alone. An impossible
//! version or length stops the decoder, where scapy goes on with a guess, and a field which is not
//! whole is `Raw`, where scapy shows a default or a part.

mod icmp;
mod link;
pub(crate) mod names;
mod net;
mod text;
mod transport;

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
    /// There are more than [`MAX_LAYERS`].
    TooDeep,
}

/// Decodes an Ethernet frame of which `packet` is the beginning, or all of it; `original_len` is
/// the length of the whole frame in bytes.
///
/// Any bytes will do: what cannot be decoded becomes a `Raw` layer, and [`Visitor::stop`] gets
/// the first reason for it, then the cut of the packet, if it is cut.
pub fn decode(packet: &[u8], original_len: usize, visitor: &mut impl Visitor) {
    let cut = original_len > packet.len();
    let mut decoder = Decoder {
        visitor,
        name: "Ethernet",
        depth: 0,
        nesting: 0,
        quoted: false,
        stop: None,
    };
    decoder.run(Span { bytes: packet, cut }, Decoder::ethernet);
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

/// The undecoded bytes of a header or payload.
#[derive(Clone, Copy)]
struct Span<'a> {
    bytes: &'a [u8],
    /// The packet goes on behind `bytes`, but the capture does not.
    cut: bool,
}

/// Why a layer is not decoded to its end.
enum Halt {
    /// The next field is not whole.
    End {
        cut: bool,
    },
    Invalid {
        field: &'static str,
        value: u64,
    },
}

impl<'a> Span<'a> {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn end(&self) -> Halt {
        Halt::End { cut: self.cut }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Halt> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or(self.end())?;
        self.bytes = tail;
        Ok(*head)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Halt> {
        let (head, tail) = self.bytes.split_at_checked(len).ok_or(self.end())?;
        self.bytes = tail;
        Ok(head)
    }

    fn u8(&mut self) -> Result<u8, Halt> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Halt> {
        self.array().map(u16::from_be_bytes)
    }

    fn u24(&mut self) -> Result<u32, Halt> {
        self.array()
            .map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    fn u32(&mut self) -> Result<u32, Halt> {
        self.array().map(u32::from_be_bytes)
    }

    /// All bytes that remain.
    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// Splits off the next `len` bytes, or as many of them as there are. The cut is in the part
    /// which is not whole.
    fn split(&mut self, len: usize) -> Span<'a> {
        match self.bytes.split_at_checked(len) {
            Some((head, tail)) => {
                self.bytes = tail;
                Span {
                    bytes: head,
                    cut: false,
                }
            }
            None => std::mem::replace(
                self,
                Span {
                    bytes: &[],
                    cut: false,
                },
            ),
        }
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
        };
        self.stop.get_or_insert(stop);
    }

    fn layer(&mut self, name: &'static str) {
        self.visitor.layer(name, self.depth);
        self.name = name;
        self.depth += 1;
    }

    /// A payload that is not decoded.
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

    fn field(&mut self, name: &'static str, value: Value<'_>) {
        self.visitor.field(name, value);
    }

    fn int(&mut self, name: &'static str, value: impl Into<u64>) {
        self.field(name, Value::Int(value.into()));
    }

    fn hex(&mut self, name: &'static str, value: impl Into<u64>) {
        self.field(name, Value::Hex(value.into()));
    }

    /// A number which may have a name, else in decimal.
    fn named(&mut self, field: &'static str, value: impl Into<u64>, name: Option<&'static str>) {
        let value = value.into();
        let int = Value::Int(value);
        self.field(field, name.map_or(int, |name| Value::Name { value, name }));
    }

    /// A number which may have a name, else in hexadecimal.
    fn named_hex(
        &mut self,
        field: &'static str,
        value: impl Into<u64>,
        name: Option<&'static str>,
    ) {
        let value = value.into();
        let hex = Value::Hex(value);
        self.field(field, name.map_or(hex, |name| Value::Name { value, name }));
    }
}
