//! What one attribute carries, decoded but not yet printed.

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::*;

// `enum ovs_tunnel_key_attr`.
pub const OVS_TUNNEL_KEY_ATTR_ID: u16 = 0;
pub const OVS_TUNNEL_KEY_ATTR_IPV4_SRC: u16 = 1;
pub const OVS_TUNNEL_KEY_ATTR_IPV4_DST: u16 = 2;
pub const OVS_TUNNEL_KEY_ATTR_TOS: u16 = 3;
pub const OVS_TUNNEL_KEY_ATTR_TTL: u16 = 4;
pub const OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT: u16 = 5;
pub const OVS_TUNNEL_KEY_ATTR_CSUM: u16 = 6;
pub const OVS_TUNNEL_KEY_ATTR_OAM: u16 = 7;
pub const OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS: u16 = 8;
pub const OVS_TUNNEL_KEY_ATTR_TP_SRC: u16 = 9;
pub const OVS_TUNNEL_KEY_ATTR_TP_DST: u16 = 10;
pub const OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS: u16 = 11;
pub const OVS_TUNNEL_KEY_ATTR_IPV6_SRC: u16 = 12;
pub const OVS_TUNNEL_KEY_ATTR_IPV6_DST: u16 = 13;
pub const OVS_TUNNEL_KEY_ATTR_PAD: u16 = 14;
pub const OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS: u16 = 15;
/// Open vSwitch's userspace has given this number to GTP-U, the kernel (6.1 and later) to the flag
/// `OVS_TUNNEL_KEY_ATTR_IPV4_INFO_BRIDGE`. A flag has no payload, which distinguishes the two.
pub const OVS_TUNNEL_KEY_ATTR_GTPU_OPTS: u16 = 16;

/// `OVS_VXLAN_EXT_GBP` of `OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS`: the group-based policy's `u32`.
pub const OVS_VXLAN_EXT_GBP: u16 = 1;

// `enum ovs_nsh_key_attr`.
pub const OVS_NSH_KEY_ATTR_BASE: u16 = 1;
pub const OVS_NSH_KEY_ATTR_MD1: u16 = 2;
pub const OVS_NSH_KEY_ATTR_MD2: u16 = 3;

/// An `OVS_KEY_ATTR_*` attribute, decoded.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    /// The key of what follows a VLAN header.
    Encap(Attributes<'a>),
    Priority(u32),
    InPort(u32),
    Ethernet(&'a Ethernet),
    /// The 802.1Q tag control information: priority, CFI (always set by the kernel), VLAN.
    Vlan(u16),
    EtherType(u16),
    Ipv4(&'a Ipv4),
    Ipv6(&'a Ipv6),
    Tcp(&'a Ports),
    Udp(&'a Ports),
    Icmp(&'a Icmp),
    Icmpv6(&'a Icmp),
    Arp(&'a Arp),
    Nd(&'a Nd),
    SkbMark(u32),
    /// A run of `OVS_TUNNEL_KEY_ATTR_*`; see [`Attribute::tunnel_key`].
    Tunnel(Attributes<'a>),
    Sctp(&'a Ports),
    TcpFlags(u16),
    DpHash(u32),
    RecircId(u32),
    /// Label stack entries, outermost first. At least one.
    Mpls(&'a [U32]),
    /// `OVS_CS_F_*`.
    CtState(u32),
    CtZone(u16),
    CtMark(u32),
    CtLabels(u128),
    CtTuple4(&'a CtTuple4),
    CtTuple6(&'a CtTuple6),
    /// A run of `OVS_NSH_KEY_ATTR_*`; see [`Attribute::nsh_key`].
    Nsh(Attributes<'a>),
    /// Namespace in the upper, type in the lower 16 bits.
    PacketType(u32),
    NdExtensions(&'a NdExtensions),
    /// No decoding is known for this type; [`Attribute::payload`] has its bytes.
    Unknown,
    /// The attribute is cut, and not one of the nested ones, which are decoded as far as they go.
    Cut,
    /// The payload is whole, but not `expected` bytes long.
    BadLength {
        expected: usize,
    },
}

/// An `OVS_TUNNEL_KEY_ATTR_*` attribute, decoded.
#[derive(Clone, Debug)]
pub enum TunnelKey<'a> {
    Id(u64),
    Ipv4Src([u8; 4]),
    Ipv4Dst([u8; 4]),
    Ipv6Src([u8; 16]),
    Ipv6Dst([u8; 16]),
    Tos(u8),
    Ttl(u8),
    DontFragment,
    Csum,
    Oam,
    TpSrc(u16),
    TpDst(u16),
    /// Geneve options as on the wire; see [`GeneveOption::split`].
    Geneve(&'a [u8]),
    /// A run of `OVS_VXLAN_EXT_*`; see [`Attribute::vxlan_gbp`].
    Vxlan(Attributes<'a>),
    Erspan(Erspan),
    Gtpu(&'a Gtpu),
    /// Filler, which aligns `OVS_TUNNEL_KEY_ATTR_ID` on some hosts.
    Pad,
    Unknown,
    Cut,
    BadLength {
        expected: usize,
    },
}

/// An `OVS_NSH_KEY_ATTR_*` attribute, decoded.
#[derive(Clone, Debug)]
pub enum NshKey<'a> {
    Base(&'a NshBase),
    /// The context of metadata type 1.
    Md1(&'a [U32; 4]),
    Unknown,
    Cut,
    BadLength {
        expected: usize,
    },
}

/// `struct ovs_key_ethernet`.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ethernet {
    pub src: [u8; 6],
    pub dst: [u8; 6],
}

/// `struct ovs_key_ipv4`.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv4 {
    pub src: [u8; 4],
    pub dst: [u8; 4],
    pub proto: u8,
    pub tos: u8,
    pub ttl: u8,
    /// `OVS_FRAG_TYPE_*`.
    pub frag: u8,
}

/// `struct ovs_key_ipv6`.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv6 {
    pub src: [u8; 16],
    pub dst: [u8; 16],
    /// The flow label, 20 bits.
    pub label: U32,
    pub proto: u8,
    pub tclass: u8,
    pub hlimit: u8,
    /// `OVS_FRAG_TYPE_*`.
    pub frag: u8,
}

/// `struct ovs_key_tcp`, `struct ovs_key_udp` and `struct ovs_key_sctp`.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ports {
    pub src: U16,
    pub dst: U16,
}

/// `struct ovs_key_icmp` and `struct ovs_key_icmpv6`.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Icmp {
    pub kind: u8,
    pub code: u8,
}

/// `struct ovs_key_arp`.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Arp {
    pub sip: [u8; 4],
    pub tip: [u8; 4],
    pub op: U16,
    pub sha: [u8; 6],
    pub tha: [u8; 6],
    pad: [u8; 2],
}

/// `struct ovs_key_nd`.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Nd {
    pub target: [u8; 16],
    pub sll: [u8; 6],
    pub tll: [u8; 6],
}

/// `struct ovs_key_nd_extensions` of Open vSwitch's userspace.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct NdExtensions {
    pub reserved: U32,
    pub options_type: u8,
    pad: [u8; 3],
}

/// `struct ovs_key_ct_tuple_ipv4`: the original direction of a tracked connection.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CtTuple4 {
    pub src: [u8; 4],
    pub dst: [u8; 4],
    pub src_port: U16,
    pub dst_port: U16,
    pub proto: u8,
    pad: [u8; 3],
}

/// `struct ovs_key_ct_tuple_ipv6`: the original direction of a tracked connection.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CtTuple6 {
    pub src: [u8; 16],
    pub dst: [u8; 16],
    pub src_port: U16,
    pub dst_port: U16,
    pub proto: u8,
    pad: [u8; 3],
}

/// `struct ovs_nsh_key_base`.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct NshBase {
    pub flags: u8,
    pub ttl: u8,
    pub mdtype: u8,
    pub np: u8,
    /// Service path identifier in the upper 24, service index in the lower 8 bits.
    pub path_hdr: U32,
}

/// `struct erspan_metadata` (`linux/erspan.h`), by version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erspan {
    /// Version 1, ERSPAN type II.
    V1 {
        index: u32,
    },
    /// Version 2, ERSPAN type III: the direction (1 bit) and the hardware ID (6 bits).
    V2 {
        dir: u8,
        hwid: u8,
    },
    Unknown {
        version: u32,
    },
}

/// `struct gtpu_metadata` (`lib/packets.h` of Open vSwitch).
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Gtpu {
    pub flags: u8,
    pub msgtype: u8,
}

/// `struct erspan_metadata`: a host-order `int` and a union by it.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ErspanMetadata {
    pub version: [u8; 4],
    md: [u8; 8],
}

/// One Geneve option (RFC 8926, section 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneveOption<'a> {
    pub class: u16,
    pub kind: u8,
    /// At most 124 bytes, a multiple of 4.
    pub data: &'a [u8],
}

/// The first Geneve option of a run is longer than the rest of the run. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneveOverrun {
    /// The option's length; 4, its header's, if not even that is there.
    pub len: usize,
    pub left: usize,
}

impl<'a> GeneveOption<'a> {
    /// Length of an option's header in bytes.
    pub const HEADER_LEN: usize = 4;

    /// Splits the first option from a run of them.
    ///
    /// # Errors
    ///
    /// If the run ends before the option does.
    pub fn split(options: &'a [u8]) -> Result<(Self, &'a [u8]), GeneveOverrun> {
        let left = options.len();
        let Some(([class0, class1, kind, length], rest)) = options.split_first_chunk::<4>() else {
            return Err(GeneveOverrun {
                len: Self::HEADER_LEN,
                left,
            });
        };
        let data_len = usize::from(length & 0x1f) * 4;
        let Some((data, rest)) = rest.split_at_checked(data_len) else {
            return Err(GeneveOverrun {
                len: Self::HEADER_LEN + data_len,
                left,
            });
        };
        let class = u16::from_be_bytes([*class0, *class1]);
        Ok((
            GeneveOption {
                class,
                kind: *kind,
                data,
            },
            rest,
        ))
    }
}

impl<'a> Attribute<'a> {
    /// The payload as a `T`, turned into `K` by `wrap`; if its length is not that of a `T`, what
    /// `bad_length` makes of the length it should have.
    fn fixed<T, K>(&self, wrap: impl FnOnce(&'a T) -> K, bad_length: impl FnOnce(usize) -> K) -> K
    where
        T: FromBytes + Immutable + KnownLayout + Unaligned + 'a,
    {
        match T::ref_from_bytes(self.payload) {
            Ok(value) => wrap(value),
            Err(_) => bad_length(size_of::<T>()),
        }
    }

    /// Decodes an attribute of a flow key.
    pub fn key(&self) -> Key<'a> {
        let bad = |expected| Key::BadLength { expected };
        match self.kind {
            OVS_KEY_ATTR_ENCAP => return Key::Encap(self.nested()),
            OVS_KEY_ATTR_TUNNEL => return Key::Tunnel(self.nested()),
            OVS_KEY_ATTR_NSH => return Key::Nsh(self.nested()),
            _ if !self.is_complete() => return Key::Cut,
            _ => {}
        }
        let host32 = |wrap: fn(u32) -> Key<'a>| self.fixed(|v| wrap(u32::from_ne_bytes(*v)), bad);
        let net16 = |wrap: fn(u16) -> Key<'a>| self.fixed(|v| wrap(u16::from_be_bytes(*v)), bad);
        match self.kind {
            OVS_KEY_ATTR_PRIORITY => host32(Key::Priority),
            OVS_KEY_ATTR_IN_PORT => host32(Key::InPort),
            OVS_KEY_ATTR_ETHERNET => self.fixed(Key::Ethernet, bad),
            OVS_KEY_ATTR_VLAN => net16(Key::Vlan),
            OVS_KEY_ATTR_ETHERTYPE => net16(Key::EtherType),
            OVS_KEY_ATTR_IPV4 => self.fixed(Key::Ipv4, bad),
            OVS_KEY_ATTR_IPV6 => self.fixed(Key::Ipv6, bad),
            OVS_KEY_ATTR_TCP => self.fixed(Key::Tcp, bad),
            OVS_KEY_ATTR_UDP => self.fixed(Key::Udp, bad),
            OVS_KEY_ATTR_ICMP => self.fixed(Key::Icmp, bad),
            OVS_KEY_ATTR_ICMPV6 => self.fixed(Key::Icmpv6, bad),
            OVS_KEY_ATTR_ARP => self.fixed(Key::Arp, bad),
            OVS_KEY_ATTR_ND => self.fixed(Key::Nd, bad),
            OVS_KEY_ATTR_SKB_MARK => host32(Key::SkbMark),
            OVS_KEY_ATTR_SCTP => self.fixed(Key::Sctp, bad),
            OVS_KEY_ATTR_TCP_FLAGS => net16(Key::TcpFlags),
            OVS_KEY_ATTR_DP_HASH => host32(Key::DpHash),
            OVS_KEY_ATTR_RECIRC_ID => host32(Key::RecircId),
            OVS_KEY_ATTR_MPLS => match <[U32]>::ref_from_bytes(self.payload) {
                Ok(entries) if !entries.is_empty() => Key::Mpls(entries),
                _ => bad(self.payload.len().next_multiple_of(4).max(4)),
            },
            OVS_KEY_ATTR_CT_STATE => host32(Key::CtState),
            OVS_KEY_ATTR_CT_ZONE => self.fixed(|v| Key::CtZone(u16::from_ne_bytes(*v)), bad),
            OVS_KEY_ATTR_CT_MARK => host32(Key::CtMark),
            OVS_KEY_ATTR_CT_LABELS => self.fixed(|v| Key::CtLabels(u128::from_ne_bytes(*v)), bad),
            OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4 => self.fixed(Key::CtTuple4, bad),
            OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6 => self.fixed(Key::CtTuple6, bad),
            OVS_KEY_ATTR_PACKET_TYPE => {
                self.fixed(|v| Key::PacketType(u32::from_be_bytes(*v)), bad)
            }
            OVS_KEY_ATTR_ND_EXTENSIONS => self.fixed(Key::NdExtensions, bad),
            _ => Key::Unknown,
        }
    }

    /// Decodes an attribute inside [`Key::Tunnel`].
    pub fn tunnel_key(&self) -> TunnelKey<'a> {
        let bad = |expected| TunnelKey::BadLength { expected };
        if self.kind == OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS {
            return TunnelKey::Vxlan(self.nested());
        }
        if !self.is_complete() {
            return TunnelKey::Cut;
        }
        let flag = |key: TunnelKey<'a>| if self.payload.is_empty() { key } else { bad(0) };
        match self.kind {
            OVS_TUNNEL_KEY_ATTR_ID => self.fixed(|v| TunnelKey::Id(u64::from_be_bytes(*v)), bad),
            OVS_TUNNEL_KEY_ATTR_IPV4_SRC => self.fixed(|v| TunnelKey::Ipv4Src(*v), bad),
            OVS_TUNNEL_KEY_ATTR_IPV4_DST => self.fixed(|v| TunnelKey::Ipv4Dst(*v), bad),
            OVS_TUNNEL_KEY_ATTR_TOS => self.fixed(|v| TunnelKey::Tos(*v), bad),
            OVS_TUNNEL_KEY_ATTR_TTL => self.fixed(|v| TunnelKey::Ttl(*v), bad),
            OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT => flag(TunnelKey::DontFragment),
            OVS_TUNNEL_KEY_ATTR_CSUM => flag(TunnelKey::Csum),
            OVS_TUNNEL_KEY_ATTR_OAM => flag(TunnelKey::Oam),
            OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS => TunnelKey::Geneve(self.payload),
            OVS_TUNNEL_KEY_ATTR_TP_SRC => {
                self.fixed(|v| TunnelKey::TpSrc(u16::from_be_bytes(*v)), bad)
            }
            OVS_TUNNEL_KEY_ATTR_TP_DST => {
                self.fixed(|v| TunnelKey::TpDst(u16::from_be_bytes(*v)), bad)
            }
            OVS_TUNNEL_KEY_ATTR_IPV6_SRC => self.fixed(|v| TunnelKey::Ipv6Src(*v), bad),
            OVS_TUNNEL_KEY_ATTR_IPV6_DST => self.fixed(|v| TunnelKey::Ipv6Dst(*v), bad),
            OVS_TUNNEL_KEY_ATTR_PAD => flag(TunnelKey::Pad),
            OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS => {
                self.fixed(|v: &ErspanMetadata| TunnelKey::Erspan(v.decode()), bad)
            }
            OVS_TUNNEL_KEY_ATTR_GTPU_OPTS if !self.payload.is_empty() => {
                self.fixed(TunnelKey::Gtpu, bad)
            }
            _ => TunnelKey::Unknown,
        }
    }

    /// Decodes an attribute inside [`Key::Nsh`].
    pub fn nsh_key(&self) -> NshKey<'a> {
        let bad = |expected| NshKey::BadLength { expected };
        match self.kind {
            _ if !self.is_complete() => NshKey::Cut,
            OVS_NSH_KEY_ATTR_BASE => self.fixed(NshKey::Base, bad),
            OVS_NSH_KEY_ATTR_MD1 => self.fixed(NshKey::Md1, bad),
            _ => NshKey::Unknown,
        }
    }

    /// Decodes an attribute inside [`TunnelKey::Vxlan`], if it is a whole `OVS_VXLAN_EXT_GBP`: the
    /// policy's group in the lower 16 bits, its flags in the 8 above.
    pub fn vxlan_gbp(&self) -> Option<u32> {
        let gbp = <[u8; 4]>::try_from(self.payload).ok();
        gbp.filter(|_| self.kind == OVS_VXLAN_EXT_GBP && self.is_complete())
            .map(u32::from_ne_bytes)
    }
}

impl ErspanMetadata {
    fn decode(&self) -> Erspan {
        match u32::from_ne_bytes(self.version) {
            1 => Erspan::V1 {
                index: self.index(),
            },
            2 => {
                let (dir, hwid) = self.dir_hwid();
                Erspan::V2 { dir, hwid }
            }
            version => Erspan::Unknown { version },
        }
    }

    /// What version 1 has.
    pub fn index(&self) -> u32 {
        let [a, b, c, d, ..] = self.md;
        u32::from_be_bytes([a, b, c, d])
    }

    /// What version 2 has: the direction and the hardware ID.
    pub fn dir_hwid(&self) -> (u8, u8) {
        let [.., upper, lower] = self.md;
        (lower >> 3 & 1, (upper & 3) << 4 | lower >> 4)
    }
}
