//! A key in the syntax of `ovs-dpctl dump-flows`.

use std::fmt;
use std::net::Ipv6Addr;

use super::text::{alt_hex, dec, hex, hex_byte, hex_bytes};
use super::*;

/// Writes a key in the syntax of `ovs-dpctl dump-flows`, which `ovs-appctl ofproto/trace` reads:
///
/// ```text
/// recirc_id(0),in_port(2),eth(src=04:f4:bc:28:57:01,dst=3c:fd:fe:9e:7f:68),eth_type(0x0806),...
/// ```
///
/// The key of an upcall has no mask, so the text is what `odp_flow_key_format()` (`lib/odp-util.c`
/// of Open vSwitch 3.1) makes of it: every attribute in its order, those that are zero too, ports
/// by number. An attribute that it does not know is `keyN(00 01)`: N is its type. An empty key is
/// `<empty>`. It differs where that function is of no use here:
///
/// * `ct_state` has the names that `dump-flows` shows, `ct_state(new|trk)`, not `ct_state(0x21)`.
/// * `ct_tuple6` has `tp_src=` and `tp_dst=`, which `ofproto/trace` reads, not `src_port=` and
///   `dst_port=`.
/// * `erspan(...,hwid=)` has all six bits of the hardware ID, not the lower four.
/// * `OVS_KEY_ATTR_IPV6_EXTHDRS`, which Linux 5.18 and later put into every IPv6 key, is left out:
///   Open vSwitch prints it as `key32(...)`, which `ofproto/trace` does not take.
///   [`super::ipv6_exthdrs`] has it.
/// * Attributes of `nsh` that have no place in its text follow it as `keyN(...)`.
/// * A payload of a wrong length follows the attribute's name: `eth(bad key length 2, expected
///   12)(00 01)`. An attribute that should have none, `unspec`, shows it as an unknown one does.
/// * A cut attribute ends in `<cut at byte N: HAVE of LEN bytes>`, with the bytes that are there
///   unless they are decoded: `eth(<cut at byte 88: 3 of 12 bytes: 04 f4 bc>)`. N counts from the
///   start of the key to the attribute's header, HAVE and LEN count payload.
/// * A run of attributes that goes on with less than a header ends in `<cut at byte N: HAVE of 4
///   header bytes>`, one that goes on with nonsense in `<nla_len L < 4 at byte N>`.
///
/// `ofproto/trace` takes neither the last three nor `keyN(...)`: delete them before you paste. Nor
/// does it take `nsh(...)`.
///
/// # Errors
///
/// Only those of `out`.
pub fn odp(key: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    if key.is_empty() {
        return out.write_str("<empty>");
    }
    run(attributes(key), 0, out)?;
    Ok(())
}

/// Writes the attributes of a key or of an encapsulated one. Tells whether it wrote anything.
fn run(mut attributes: Attributes<'_>, depth: u32, out: &mut impl fmt::Write) -> Wrote {
    let mut list = List::new(out);
    for attribute in attributes.by_ref() {
        if exthdrs(&attribute).is_none() {
            key_attribute(&attribute, depth, list.item()?)?;
        }
    }
    list.end(&attributes)
}

/// Whether a list has a first item, to which a next one needs a separator.
type Wrote = Result<bool, fmt::Error>;

/// Items joined by commas.
struct List<'w, W> {
    out: &'w mut W,
    wrote: bool,
}

impl<'w, W: fmt::Write> List<'w, W> {
    fn new(out: &'w mut W) -> Self {
        List { out, wrote: false }
    }

    /// Where to write the next item.
    fn item(&mut self) -> Result<&mut W, fmt::Error> {
        if self.wrote {
            self.out.write_str(",")?;
        }
        self.wrote = true;
        Ok(self.out)
    }

    /// Says why the run of attributes behind the list ended early, if its last item does not.
    fn end(mut self, attributes: &Attributes<'_>) -> Wrote {
        match attributes.stopped() {
            None | Some(Stop::Cut { .. }) => {}
            Some(Stop::Header { at, left }) => {
                write!(self.item()?, "<cut at byte {at}: {left} of 4 header bytes>")?;
            }
            Some(Stop::Short { at, len }) => {
                write!(self.item()?, "<nla_len {len} < 4 at byte {at}>")?;
            }
        }
        Ok(self.wrote)
    }
}

fn key_attribute(attribute: &Attribute<'_>, depth: u32, out: &mut impl fmt::Write) -> fmt::Result {
    match key_name(attribute.kind) {
        Some(name) => out.write_str(name)?,
        None => unknown_name(attribute, out)?,
    }
    out.write_str("(")?;
    match attribute.key() {
        Key::Encap(_) if depth == MAX_NESTED => {
            out.write_str("<nested too deep: ")?;
            hex_bytes(out, attribute.payload, " ")?;
            out.write_str(">")
        }
        Key::Encap(nested) => {
            let wrote = run(nested, depth + 1, out)?;
            nested_end(attribute, wrote, out)
        }
        Key::Priority(value)
        | Key::SkbMark(value)
        | Key::DpHash(value)
        | Key::RecircId(value)
        | Key::CtMark(value) => alt_hex(out, value.into()),
        Key::InPort(port) => dec(out, port),
        Key::Ethernet(eth) => {
            mac(out, "src=", &eth.src)?;
            mac(out, ",dst=", &eth.dst)
        }
        Key::Vlan(tci) => {
            number(out, "vid=", tci & 0xfff)?;
            number(out, ",pcp=", tci >> 13)?;
            out.write_str(if tci & 0x1000 == 0 { ",cfi=0" } else { "" })
        }
        Key::EtherType(value) => {
            let [high, low] = value.to_be_bytes();
            out.write_str("0x")?;
            hex_byte(out, high)?;
            hex_byte(out, low)
        }
        Key::Ipv4(ip) => {
            ipv4(out, "src=", &ip.src)?;
            ipv4(out, ",dst=", &ip.dst)?;
            number(out, ",proto=", ip.proto)?;
            hex_number(out, ",tos=", ip.tos)?;
            number(out, ",ttl=", ip.ttl)?;
            frag(out, ip.frag)
        }
        Key::Ipv6(ip) => {
            ipv6(out, "src=", &ip.src)?;
            ipv6(out, ",dst=", &ip.dst)?;
            hex_number(out, ",label=", ip.label.get())?;
            number(out, ",proto=", ip.proto)?;
            hex_number(out, ",tclass=", ip.tclass)?;
            number(out, ",hlimit=", ip.hlimit)?;
            frag(out, ip.frag)
        }
        Key::Tcp(ports) | Key::Udp(ports) | Key::Sctp(ports) => {
            number(out, "src=", ports.src.get())?;
            number(out, ",dst=", ports.dst.get())
        }
        Key::Icmp(icmp) | Key::Icmpv6(icmp) => {
            number(out, "type=", icmp.kind)?;
            number(out, ",code=", icmp.code)
        }
        Key::Arp(arp) => {
            ipv4(out, "sip=", &arp.sip)?;
            ipv4(out, ",tip=", &arp.tip)?;
            number(out, ",op=", arp.op.get())?;
            mac(out, ",sha=", &arp.sha)?;
            mac(out, ",tha=", &arp.tha)
        }
        Key::Nd(nd) => {
            ipv6(out, "target=", &nd.target)?;
            mac(out, ",sll=", &nd.sll)?;
            mac(out, ",tll=", &nd.tll)
        }
        Key::NdExtensions(nd) => {
            out.write_str("nd_reserved=")?;
            hex(out, nd.reserved.get().into())?;
            number(out, ",nd_options_type=", nd.options_type)
        }
        Key::Tunnel(nested) => {
            let wrote = tunnel(nested, attribute.is_complete(), out)?;
            nested_end(attribute, wrote, out)
        }
        Key::TcpFlags(value) => flags(out, value.into(), &TCP_FLAGS),
        Key::Mpls(entries) => {
            let mut list = List::new(out);
            for entry in entries {
                let (entry, out) = (entry.get(), list.item()?);
                number(out, "label=", entry >> 12)?;
                number(out, ",tc=", entry >> 9 & 7)?;
                number(out, ",ttl=", entry & 0xff)?;
                number(out, ",bos=", entry >> 8 & 1)?;
            }
            Ok(())
        }
        Key::CtState(state) => flags(out, state, &CT_STATE),
        Key::CtZone(zone) => alt_hex(out, zone.into()),
        Key::CtLabels(0) => out.write_str("0"),
        Key::CtLabels(labels) => write!(out, "{labels:#x}"),
        Key::CtTuple4(tuple) => {
            ipv4(out, "src=", &tuple.src)?;
            ipv4(out, ",dst=", &tuple.dst)?;
            number(out, ",proto=", tuple.proto)?;
            number(out, ",tp_src=", tuple.src_port.get())?;
            number(out, ",tp_dst=", tuple.dst_port.get())
        }
        Key::CtTuple6(tuple) => {
            ipv6(out, "src=", &tuple.src)?;
            ipv6(out, ",dst=", &tuple.dst)?;
            number(out, ",proto=", tuple.proto)?;
            number(out, ",tp_src=", tuple.src_port.get())?;
            number(out, ",tp_dst=", tuple.dst_port.get())
        }
        Key::Nsh(nested) => {
            let wrote = nsh(nested, out)?;
            nested_end(attribute, wrote, out)
        }
        Key::PacketType(value) => {
            number(out, "ns=", value >> 16)?;
            hex_number(out, ",id=", value & 0xffff)
        }
        Key::Unknown => hex_bytes(out, attribute.payload, " "),
        Key::Cut => cut(attribute, attribute.payload, out),
        Key::BadLength { expected } => bad_length(attribute, expected, out),
    }?;
    out.write_str(")")
}

/// Writes the inside of `tunnel(...)`: its flags come last, wherever their attributes are.
fn tunnel(mut attributes: Attributes<'_>, complete: bool, out: &mut impl fmt::Write) -> Wrote {
    let mut set = 0;
    let mut list = List::new(out);
    for attribute in attributes.by_ref() {
        match attribute.tunnel_key() {
            TunnelKey::Oam => set |= TUNNEL_OAM,
            TunnelKey::DontFragment => set |= TUNNEL_DF,
            TunnelKey::Csum => set |= TUNNEL_CSUM,
            TunnelKey::Pad => {}
            TunnelKey::Id(id) => {
                set |= TUNNEL_KEY;
                let out = list.item()?;
                out.write_str("tun_id=")?;
                hex(out, id)?;
            }
            TunnelKey::Ipv4Src(address) => ipv4(list.item()?, "src=", &address)?,
            TunnelKey::Ipv4Dst(address) => ipv4(list.item()?, "dst=", &address)?,
            TunnelKey::Ipv6Src(address) => ipv6(list.item()?, "ipv6_src=", &address)?,
            TunnelKey::Ipv6Dst(address) => ipv6(list.item()?, "ipv6_dst=", &address)?,
            TunnelKey::Tos(tos) => hex_number(list.item()?, "tos=", tos)?,
            TunnelKey::Ttl(ttl) => number(list.item()?, "ttl=", ttl)?,
            TunnelKey::TpSrc(port) => number(list.item()?, "tp_src=", port)?,
            TunnelKey::TpDst(port) => number(list.item()?, "tp_dst=", port)?,
            other => {
                let out = list.item()?;
                match attribute.kind {
                    OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS => out.write_str("geneve")?,
                    OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS => out.write_str("vxlan")?,
                    OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS => out.write_str("erspan")?,
                    OVS_TUNNEL_KEY_ATTR_GTPU_OPTS if attribute.len != 4 => out.write_str("gtpu")?,
                    _ => unknown_name(&attribute, out)?,
                }
                out.write_str("(")?;
                tunnel_options(&attribute, other, out)?;
                out.write_str(")")?;
            }
        }
    }
    if complete || set != 0 {
        let out = list.item()?;
        out.write_str("flags(")?;
        flags(out, set, &TUNNEL_FLAGS)?;
        out.write_str(")")?;
    }
    list.end(&attributes)
}

/// Writes the inside of those tunnel attributes that have brackets of their own.
fn tunnel_options(
    attribute: &Attribute<'_>,
    key: TunnelKey<'_>,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    match key {
        TunnelKey::Geneve(options) => geneve(options, out),
        TunnelKey::Vxlan(nested) => {
            let wrote = vxlan(nested, out)?;
            nested_end(attribute, wrote, out)
        }
        TunnelKey::Erspan(Erspan::V1 { index }) => hex_number(out, "ver=1,idx=", index),
        TunnelKey::Erspan(Erspan::V2 { dir, hwid }) => {
            number(out, "ver=2,dir=", dir)?;
            hex_number(out, ",hwid=", hwid)
        }
        TunnelKey::Erspan(Erspan::Unknown { version }) => number(out, "ver=", version),
        TunnelKey::Gtpu(gtpu) => {
            hex_number(out, "flags=", gtpu.flags)?;
            number(out, ",msgtype=", gtpu.msgtype)
        }
        TunnelKey::BadLength { expected } => bad_length(attribute, expected, out),
        TunnelKey::Cut => cut(attribute, attribute.payload, out),
        _ => hex_bytes(out, attribute.payload, " "),
    }
}

fn geneve(mut options: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    while !options.is_empty() {
        let option = match GeneveOption::split(options) {
            Ok((option, rest)) => {
                options = rest;
                option
            }
            Err(GeneveOverrun { len, left }) if left < GeneveOption::HEADER_LEN => {
                return write!(out, "opt len {left} less than minimum {len}");
            }
            Err(GeneveOverrun { len, left }) => {
                return write!(out, "opt len {len} greater than remaining {left}");
            }
        };
        hex_number(out, "{class=", option.class)?;
        hex_number(out, ",type=", option.kind)?;
        number(out, ",len=", option.data.len() as u32)?;
        if !option.data.is_empty() {
            out.write_str(",")?;
            long_hex(out, option.data)?;
        }
        out.write_str("}")?;
    }
    Ok(())
}

fn vxlan(mut attributes: Attributes<'_>, out: &mut impl fmt::Write) -> Wrote {
    let mut list = List::new(out);
    for attribute in attributes.by_ref() {
        let out = list.item()?;
        if let Some(gbp) = attribute.vxlan_gbp() {
            number(out, "gbp(id=", gbp & 0xffff)?;
            hex_number(out, ",flags=", gbp >> 16 & 0xff)?;
            out.write_str(")")?;
        } else {
            unknown(&attribute, out)?;
        }
    }
    list.end(&attributes)
}

/// Writes the inside of `nsh(...)`: one list of fields, of which each attribute has some.
fn nsh(mut attributes: Attributes<'_>, out: &mut impl fmt::Write) -> Wrote {
    let (mut base, mut context) = (None, None);
    for attribute in attributes.clone() {
        match attribute.nsh_key() {
            NshKey::Base(value) => base = Some(value),
            NshKey::Md1(value) => context = Some(value),
            _ => {}
        }
    }
    let mut list = List::new(out);
    if let Some(base) = base {
        let out = list.item()?;
        number(out, "flags=", base.flags)?;
        number(out, ",ttl=", base.ttl)?;
        number(out, ",mdtype=", base.mdtype)?;
        number(out, ",np=", base.np)?;
        out.write_str(",spi=")?;
        hex(out, (base.path_hdr.get() >> 8).into())?;
        number(out, ",si=", base.path_hdr.get() & 0xff)?;
    }
    if let Some(context) = context {
        for (name, word) in ["c1=", "c2=", "c3=", "c4="].iter().zip(context) {
            let out = list.item()?;
            out.write_str(name)?;
            hex(out, word.get().into())?;
        }
    }
    for attribute in attributes.by_ref() {
        match attribute.nsh_key() {
            NshKey::Base(_) | NshKey::Md1(_) => {}
            NshKey::Unknown | NshKey::Cut => unknown(&attribute, list.item()?)?,
            NshKey::BadLength { expected } => {
                let out = list.item()?;
                unknown_name(&attribute, out)?;
                out.write_str("(")?;
                bad_length(&attribute, expected, out)?;
                out.write_str(")")?;
            }
        }
    }
    list.end(&attributes)
}

/// Writes a nested attribute that is not decoded.
fn unknown(attribute: &Attribute<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    unknown_name(attribute, out)?;
    out.write_str("(")?;
    if attribute.is_complete() {
        hex_bytes(out, attribute.payload, " ")?;
    } else {
        cut(attribute, attribute.payload, out)?;
    }
    out.write_str(")")
}

fn unknown_name(attribute: &Attribute<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    number(out, "key", attribute.kind)
}

/// Ends the inside of a nested attribute: says so if it is cut.
fn nested_end(attribute: &Attribute<'_>, wrote: bool, out: &mut impl fmt::Write) -> fmt::Result {
    if attribute.is_complete() {
        return Ok(());
    }
    out.write_str(if wrote { "," } else { "" })?;
    cut(attribute, &[], out)
}

/// Writes where a payload is cut, and the `undecoded` bytes of it.
fn cut(attribute: &Attribute<'_>, undecoded: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    let (have, len) = (attribute.payload.len(), attribute.payload_len());
    write!(out, "<cut at byte {}: {have} of {len} bytes", attribute.at)?;
    if !undecoded.is_empty() {
        out.write_str(": ")?;
        hex_bytes(out, undecoded, " ")?;
    }
    out.write_str(">")
}

/// Writes a payload of a wrong length. Closes a bracket and opens another.
fn bad_length(
    attribute: &Attribute<'_>,
    expected: usize,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    write!(
        out,
        "bad key length {}, expected {expected})(",
        attribute.payload.len()
    )?;
    hex_bytes(out, attribute.payload, " ")
}

/// Open vSwitch's name of an attribute of a key.
pub(crate) fn key_name(kind: u16) -> Option<&'static str> {
    Some(match kind {
        OVS_KEY_ATTR_UNSPEC => "unspec",
        OVS_KEY_ATTR_ENCAP => "encap",
        OVS_KEY_ATTR_PRIORITY => "skb_priority",
        OVS_KEY_ATTR_IN_PORT => "in_port",
        OVS_KEY_ATTR_ETHERNET => "eth",
        OVS_KEY_ATTR_VLAN => "vlan",
        OVS_KEY_ATTR_ETHERTYPE => "eth_type",
        OVS_KEY_ATTR_IPV4 => "ipv4",
        OVS_KEY_ATTR_IPV6 => "ipv6",
        OVS_KEY_ATTR_TCP => "tcp",
        OVS_KEY_ATTR_UDP => "udp",
        OVS_KEY_ATTR_ICMP => "icmp",
        OVS_KEY_ATTR_ICMPV6 => "icmpv6",
        OVS_KEY_ATTR_ARP => "arp",
        OVS_KEY_ATTR_ND => "nd",
        OVS_KEY_ATTR_SKB_MARK => "skb_mark",
        OVS_KEY_ATTR_TUNNEL => "tunnel",
        OVS_KEY_ATTR_SCTP => "sctp",
        OVS_KEY_ATTR_TCP_FLAGS => "tcp_flags",
        OVS_KEY_ATTR_DP_HASH => "dp_hash",
        OVS_KEY_ATTR_RECIRC_ID => "recirc_id",
        OVS_KEY_ATTR_MPLS => "mpls",
        OVS_KEY_ATTR_CT_STATE => "ct_state",
        OVS_KEY_ATTR_CT_ZONE => "ct_zone",
        OVS_KEY_ATTR_CT_MARK => "ct_mark",
        OVS_KEY_ATTR_CT_LABELS => "ct_label",
        OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4 => "ct_tuple4",
        OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6 => "ct_tuple6",
        OVS_KEY_ATTR_NSH => "nsh",
        OVS_KEY_ATTR_PACKET_TYPE => "packet_type",
        OVS_KEY_ATTR_ND_EXTENSIONS => "nd_ext",
        OVS_KEY_ATTR_TUNNEL_INFO => "<error: kernel-only tunnel_info>",
        _ => return None,
    })
}

pub(crate) type Flag = (u32, &'static str);

/// `OVS_CS_F_*` of `linux/openvswitch.h`.
pub(crate) const CT_STATE: [Flag; 8] = [
    (0x01, "new"),
    (0x02, "est"),
    (0x04, "rel"),
    (0x08, "rpl"),
    (0x10, "inv"),
    (0x20, "trk"),
    (0x40, "snat"),
    (0x80, "dnat"),
];

/// The TCP header's flags (RFC 9293; `ns` is RFC 3540's), and the reserved bits below the data
/// offset.
pub(crate) const TCP_FLAGS: [Flag; 12] = [
    (0x001, "fin"),
    (0x002, "syn"),
    (0x004, "rst"),
    (0x008, "psh"),
    (0x010, "ack"),
    (0x020, "urg"),
    (0x040, "ece"),
    (0x080, "cwr"),
    (0x100, "ns"),
    (0x200, "[200]"),
    (0x400, "[400]"),
    (0x800, "[800]"),
];

const TUNNEL_OAM: u32 = 1 << 0;
const TUNNEL_DF: u32 = 1 << 1;
const TUNNEL_CSUM: u32 = 1 << 2;
const TUNNEL_KEY: u32 = 1 << 3;

/// Attributes of a tunnel that are flags, in the order in which Open vSwitch shows them
/// (`FLOW_TNL_F_*`).
const TUNNEL_FLAGS: [Flag; 4] = [
    (TUNNEL_OAM, "oam"),
    (TUNNEL_DF, "df"),
    (TUNNEL_CSUM, "csum"),
    (TUNNEL_KEY, "key"),
];

/// Writes the names of the bits that are set, and the bits without a name as one number:
/// `new|trk|0x100`.
fn flags(out: &mut impl fmt::Write, set: u32, names: &[Flag]) -> fmt::Result {
    if set == 0 {
        return out.write_str("0");
    }
    let (mut unnamed, mut separator) = (set, "");
    for (bit, name) in names {
        if set & bit != 0 {
            out.write_str(separator)?;
            out.write_str(name)?;
            separator = "|";
            unnamed &= !bit;
        }
    }
    if unnamed != 0 {
        out.write_str(separator)?;
        hex(out, unnamed.into())?;
    }
    Ok(())
}

/// Writes `OVS_FRAG_TYPE_*`.
fn frag(out: &mut impl fmt::Write, kind: u8) -> fmt::Result {
    out.write_str(match kind {
        0 => ",frag=no",
        1 => ",frag=first",
        2 => ",frag=later",
        _ => ",frag=<error>",
    })
}

fn number(out: &mut impl fmt::Write, name: &str, value: impl Into<u32>) -> fmt::Result {
    out.write_str(name)?;
    dec(out, value.into())
}

/// Writes a number in hexadecimal, and zero as `0`.
fn hex_number(out: &mut impl fmt::Write, name: &str, value: impl Into<u32>) -> fmt::Result {
    out.write_str(name)?;
    alt_hex(out, value.into().into())
}

/// Writes bytes as one number in hexadecimal, and zero as `0`.
fn long_hex(out: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let Some((first, rest)) = bytes[zeros..].split_first() else {
        return out.write_str("0");
    };
    hex(out, (*first).into())?;
    hex_bytes(out, rest, "")
}

fn mac(out: &mut impl fmt::Write, name: &str, address: &[u8; 6]) -> fmt::Result {
    out.write_str(name)?;
    hex_bytes(out, address, ":")
}

fn ipv4(out: &mut impl fmt::Write, name: &str, address: &[u8; 4]) -> fmt::Result {
    let [a, b, c, d] = *address;
    number(out, name, a)?;
    number(out, ".", b)?;
    number(out, ".", c)?;
    number(out, ".", d)
}

/// Writes an address as the C library's `inet_ntop()` does: `::1.2.3.4` for the deprecated
/// IPv4-compatible ones, which `Ipv6Addr` writes as `::102:304`.
fn ipv6(out: &mut impl fmt::Write, name: &str, address: &[u8; 16]) -> fmt::Result {
    match address {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] if (*a, *b) != (0, 0) => {
            out.write_str(name)?;
            ipv4(out, "::", &[*a, *b, *c, *d])
        }
        _ => write!(out, "{name}{}", Ipv6Addr::from(*address)),
    }
}
