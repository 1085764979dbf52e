//! The flow key of an upcall: a run of `OVS_KEY_ATTR_*` netlink attributes, as the kernel wrote it.
//!
//! [`attributes`] walks the run, [`Attribute::key`] decodes one attribute, and two printers show a
//! whole key: [`nlraw`] attribute by attribute, [`odp`] in the syntax of `ovs-dpctl dump-flows`. A
//! key that a snap length cut, or that is damaged, is partial input and not an error: what is there
//! is decoded, and each of the three says where and why it stopped.
//!
//! Numbers and layouts are those of `include/uapi/linux/openvswitch.h` (Linux 6.1; Linux has added
//! none since) and of `include/linux/openvswitch.h` of Open vSwitch 3.1. Integers that the kernel
//! does not keep in network byte order are in this host's.

mod nlraw;
pub(in crate::ovs) mod odp;
pub(in crate::ovs) mod text;
mod value;

pub use nlraw::nlraw;
pub(crate) use odp::{CT_STATE, Flag, TCP_FLAGS, key_name};
pub use odp::{no_names, odp, odp_masked};
pub use value::*;

/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` of `linux/netlink.h`: flags that share `nla_type` with
/// the type.
const NLA_F_MASK: u16 = 1 << 15 | 1 << 14;

/// `sizeof(struct nlattr)`.
pub(in crate::ovs) const NLA_HDRLEN: usize = 4;

/// `NLA_ALIGN()`: how far the next attribute is behind one of this `nla_len`. `next_multiple_of()` takes longer.
const fn aligned(len: u16) -> usize {
    (len as usize + 3) & !3
}

numbered! {
    /// Names of `enum ovs_key_attr`.
    OVS_KEY_ATTR_NAMES:
    OVS_KEY_ATTR_UNSPEC = 0,
    OVS_KEY_ATTR_ENCAP = 1,
    OVS_KEY_ATTR_PRIORITY = 2,
    OVS_KEY_ATTR_IN_PORT = 3,
    OVS_KEY_ATTR_ETHERNET = 4,
    OVS_KEY_ATTR_VLAN = 5,
    OVS_KEY_ATTR_ETHERTYPE = 6,
    OVS_KEY_ATTR_IPV4 = 7,
    OVS_KEY_ATTR_IPV6 = 8,
    OVS_KEY_ATTR_TCP = 9,
    OVS_KEY_ATTR_UDP = 10,
    OVS_KEY_ATTR_ICMP = 11,
    OVS_KEY_ATTR_ICMPV6 = 12,
    OVS_KEY_ATTR_ARP = 13,
    OVS_KEY_ATTR_ND = 14,
    OVS_KEY_ATTR_SKB_MARK = 15,
    OVS_KEY_ATTR_TUNNEL = 16,
    OVS_KEY_ATTR_SCTP = 17,
    OVS_KEY_ATTR_TCP_FLAGS = 18,
    OVS_KEY_ATTR_DP_HASH = 19,
    OVS_KEY_ATTR_RECIRC_ID = 20,
    OVS_KEY_ATTR_MPLS = 21,
    OVS_KEY_ATTR_CT_STATE = 22,
    OVS_KEY_ATTR_CT_ZONE = 23,
    OVS_KEY_ATTR_CT_MARK = 24,
    OVS_KEY_ATTR_CT_LABELS = 25,
    OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4 = 26,
    OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6 = 27,
    OVS_KEY_ATTR_NSH = 28,
    // Used by the userspace datapath; the kernel neither sends nor takes them.
    OVS_KEY_ATTR_PACKET_TYPE = 29,
    OVS_KEY_ATTR_ND_EXTENSIONS = 30,
    // Never leaves the kernel.
    OVS_KEY_ATTR_TUNNEL_INFO = 31,
    // Since Linux 5.18 in the key of every IPv6 packet; unknown to Open vSwitch's userspace.
    OVS_KEY_ATTR_IPV6_EXTHDRS = 32,
}

/// The kernel's name of a type of attribute, for example `OVS_KEY_ATTR_IN_PORT`.
pub fn name(kind: u16) -> Option<&'static str> {
    OVS_KEY_ATTR_NAMES.get(usize::from(kind)).copied()
}

/// One netlink attribute (`struct nlattr` and its payload).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Where the attribute's header begins: bytes from the start of the key.
    pub at: usize,
    /// `nla_len` as written: header and payload in bytes, without padding. At least 4.
    pub len: u16,
    /// `nla_type` without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
    pub kind: u16,
    /// The payload that is there; shorter than `nla_len` says if the attribute is cut.
    pub payload: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// Length of the payload according to `nla_len`, in bytes.
    pub fn payload_len(&self) -> usize {
        usize::from(self.len).saturating_sub(NLA_HDRLEN)
    }

    /// Whether the whole payload is there.
    pub fn is_complete(&self) -> bool {
        self.payload.len() == self.payload_len()
    }

    /// The payload as a run of attributes. Their offsets count from the start of the key, too.
    pub fn nested(&self) -> Attributes<'a> {
        Attributes {
            left: self.payload,
            at: self.at + NLA_HDRLEN,
            stop: None,
        }
    }
}

/// Why a run of attributes could not be walked to its end. Lengths and offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `left` (1 to 3) bytes remain at offset `at`: too few for a header.
    Header { at: usize, left: usize },
    /// The `nla_len` of the attribute at offset `at` does not even cover its header.
    Short { at: usize, len: u16 },
    /// The attribute at offset `at` is `len` long, but only `left` bytes of it are there, header
    /// included. It is the last one that the iterator yielded.
    Cut { at: usize, len: u16, left: usize },
}

/// Iterator over a run of netlink attributes; see [`attributes`].
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    left: &'a [u8],
    at: usize,
    stop: Option<Stop>,
}

impl Attributes<'_> {
    /// Why the walk ended early; `None` while it goes on, and after it reached the end of the run.
    pub fn stopped(&self) -> Option<Stop> {
        self.stop
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (left, at) = (std::mem::take(&mut self.left), self.at);
        let Some((header, body)) = left.split_first_chunk::<NLA_HDRLEN>() else {
            if !left.is_empty() {
                self.stop = Some(Stop::Header {
                    at,
                    left: left.len(),
                });
            }
            return None;
        };
        let len = u16::from_ne_bytes([header[0], header[1]]);
        let kind = u16::from_ne_bytes([header[2], header[3]]) & !NLA_F_MASK;
        let Some(payload_len) = usize::from(len).checked_sub(NLA_HDRLEN) else {
            self.stop = Some(Stop::Short { at, len });
            return None;
        };
        let Some(payload) = body.get(..payload_len) else {
            self.stop = Some(Stop::Cut {
                at,
                len,
                left: left.len(),
            });
            return Some(Attribute {
                at,
                len,
                kind,
                payload: body,
            });
        };
        // The last attribute of a run may lack its padding.
        let padded = aligned(len);
        self.left = left.get(padded..).unwrap_or_default();
        self.at = at + padded;
        Some(Attribute {
            at,
            len,
            kind,
            payload,
        })
    }
}

impl std::iter::FusedIterator for Attributes<'_> {}

/// Walks the netlink attributes of a key, which may be cut at any byte.
///
/// The last attribute may be incomplete; [`Attributes::stopped`] then says so, and says also when
/// nothing sensible followed the last attribute. A key that was cut exactly between two attributes
/// looks like a shorter whole one: only its length in the traced process distinguishes them.
pub fn attributes(key: &[u8]) -> Attributes<'_> {
    attributes_at(key, 0)
}

/// As [`attributes`], of a run that begins at byte `at` of a message. Offsets count from the message's start.
pub(super) fn attributes_at(run: &[u8], at: usize) -> Attributes<'_> {
    Attributes {
        left: run,
        at,
        stop: None,
    }
}

/// Whether a run has the header of an attribute of this type. It looks at nothing else, for it is asked of each upcall.
pub(crate) fn has(mut run: &[u8], kind: u16) -> bool {
    while let [l0, l1, k0, k1, ..] = *run {
        let len = u16::from_ne_bytes([l0, l1]);
        if u16::from_ne_bytes([k0, k1]) & !NLA_F_MASK == kind {
            return usize::from(len) >= NLA_HDRLEN;
        }
        match run.get(aligned(len)..) {
            Some(rest) if usize::from(len) >= NLA_HDRLEN => run = rest,
            _ => return false,
        }
    }
    false
}

/// What there is to say beside the text of [`odp`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Which IPv6 extension headers the packet has, for which Open vSwitch's flow syntax has no word: the bits
    /// `OFPIEH12_*` (`net/openvswitch/flow.h` of Linux 5.18 and later).
    pub ipv6_exthdrs: Option<u16>,
    /// The first thing in the text that `ovs-appctl ofproto/trace` does not take.
    pub not_for_trace: Option<NotForTrace>,
}

/// Why `ovs-appctl ofproto/trace` of Open vSwitch 3.1 does not take a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotForTrace {
    /// It has no form of this attribute that it takes: `nsh`, or one that it does not know.
    Attribute(u16),
    /// It does not know this attribute of a tunnel.
    TunnelAttribute(u16),
    /// The key is cut, or ends in nonsense.
    Cut,
}

impl std::fmt::Display for NotForTrace {
    /// The attribute as [`odp`] calls it: `nsh(...)`, `key40(...)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Attribute(kind) => match key_name(kind) {
                Some(name) => write!(f, "{name}(...)"),
                None => write!(f, "key{kind}(...)"),
            },
            Self::TunnelAttribute(kind) => write!(f, "key{kind}(...) of a tunnel"),
            Self::Cut => f.write_str("what is cut"),
        }
    }
}

/// Looks through a key for what [`odp`] cannot say.
pub fn beside_odp(key: &[u8]) -> Beside {
    fn look(mut attributes: Attributes<'_>, depth: u32, beside: &mut Beside) {
        // Not by `key()`, which would decode all of them.
        for attribute in attributes.by_ref() {
            let refused = match attribute.kind {
                OVS_KEY_ATTR_ENCAP if depth < MAX_NESTED => {
                    look(attribute.nested(), depth + 1, beside);
                    continue;
                }
                OVS_KEY_ATTR_TUNNEL => {
                    let mut parts = attribute.nested();
                    match parts.find(|part| matches!(part.tunnel_key(), TunnelKey::Unknown)) {
                        Some(part) => NotForTrace::TunnelAttribute(part.kind),
                        None => continue,
                    }
                }
                OVS_KEY_ATTR_IPV6_EXTHDRS if exthdrs(&attribute).is_some() => {
                    beside.ipv6_exthdrs = beside.ipv6_exthdrs.or_else(|| exthdrs(&attribute));
                    continue;
                }
                kind @ (OVS_KEY_ATTR_UNSPEC | OVS_KEY_ATTR_NSH) => NotForTrace::Attribute(kind),
                kind if key_name(kind).is_none() => NotForTrace::Attribute(kind),
                _ => continue,
            };
            beside.not_for_trace.get_or_insert(refused);
        }
        if attributes.stopped().is_some() {
            beside.not_for_trace.get_or_insert(NotForTrace::Cut);
        }
    }
    let mut beside = Beside::default();
    look(attributes(key), 0, &mut beside);
    beside
}

pub(crate) fn exthdrs(attribute: &Attribute<'_>) -> Option<u16> {
    if attribute.kind != OVS_KEY_ATTR_IPV6_EXTHDRS || !attribute.is_complete() {
        return None;
    }
    attribute.payload.try_into().ok().map(u16::from_ne_bytes)
}

/// How deep `OVS_KEY_ATTR_ENCAP` may nest. The kernel writes one level for each of at most two VLAN
/// headers.
pub(crate) const MAX_NESTED: u32 = 8;

/// The datapath's number of the port on which the packet came in, if its attribute is in the key as
/// a whole.
///
/// The kernel writes `OVS_KEY_ATTR_TUNNEL` before `OVS_KEY_ATTR_IN_PORT`, so a short snap length
/// loses it for tunnelled packets.
pub fn in_port(key: &[u8]) -> Option<u32> {
    // Not by `key()`, which would decode all that comes before.
    attributes(key)
        .filter(|attribute| attribute.kind == OVS_KEY_ATTR_IN_PORT && attribute.is_complete())
        .find_map(|attribute| attribute.payload.try_into().ok())
        .map(u32::from_ne_bytes)
}
