//! A flow key as fields, and as the text of `ovs-dpctl dump-flows`.

use crate::ovs::flow_key::*;
use crate::ovs::packet::Value;
use crate::show::json::Line;

/// Writes `odp`, `fields`, and `undecoded` if something is in neither.
///
/// `fields` has the names and, by and large, the shape of the text. Each has one type: an attribute that is cut, of a
/// wrong length, unknown, or there a second time is listed in `undecoded` instead.
pub(crate) fn write(line: &mut Line, key: &[u8]) {
    line.name("odp");
    // Its characters are letters, digits and brackets.
    line.quoted(|text| {
        let _ = odp(key, &mut Ascii(text));
    });

    let mut undecoded = Vec::new();
    line.begin("fields", b'{');
    run(line, attributes(key), None, 0, &mut undecoded);
    line.end(b'}');
    if undecoded.is_empty() {
        return;
    }
    line.begin("undecoded", b'[');
    for item in undecoded {
        line.begin_item(b'{');
        item.write(line);
        line.end(b'}');
    }
    line.end(b']');
}

/// Text that goes into a string as it is.
struct Ascii<'l>(&'l mut Vec<u8>);

impl std::fmt::Write for Ascii<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// What is in a key and not in its fields.
struct Undecoded<'a> {
    /// The attribute around it.
    within: Option<&'static str>,
    what: What<'a>,
}

enum What<'a> {
    /// An attribute, why it is not decoded, and those of its bytes that are not.
    Attribute(Attribute<'a>, &'static str, &'a [u8]),
    /// The end of a run of attributes that goes on with nonsense.
    Stop(Stop),
}

impl Undecoded<'_> {
    fn write(&self, line: &mut Line) {
        let (at, why) = match self.what {
            What::Attribute(attribute, why, _) => (attribute.at, why),
            What::Stop(Stop::Header { at, .. }) => (at, "header"),
            What::Stop(Stop::Short { at, .. }) => (at, "nla_len"),
            What::Stop(Stop::Cut { at, .. }) => (at, "cut"),
        };
        line.field("at", at);
        line.field("why", why);
        if let Some(within) = self.within {
            line.field("within", within);
        }
        match self.what {
            What::Attribute(attribute, _, bytes) => {
                line.field("type", attribute.kind);
                if let Some(name) = name(attribute.kind).filter(|_| self.is_top()) {
                    line.field("type_name", name);
                }
                line.field("length", attribute.payload_len());
                line.field("captured", attribute.payload.len());
                if !bytes.is_empty() {
                    line.base64("bytes", bytes);
                }
            }
            What::Stop(Stop::Short { len, .. }) => line.field("nla_len", len),
            What::Stop(Stop::Header { left, .. } | Stop::Cut { left, .. }) => {
                line.field("captured", left);
            }
        }
    }

    /// Whether the types are `OVS_KEY_ATTR_*`.
    fn is_top(&self) -> bool {
        matches!(self.within, None | Some("encap"))
    }
}

/// The part of a run of attributes that is not decoded.
struct Rest<'r, 'a> {
    undecoded: &'r mut Vec<Undecoded<'a>>,
    within: Option<&'static str>,
    /// A bit for each type that was there. No known type is greater than 63.
    seen: u64,
}

impl<'r, 'a> Rest<'r, 'a> {
    fn new(undecoded: &'r mut Vec<Undecoded<'a>>, within: Option<&'static str>) -> Self {
        Rest {
            undecoded,
            within,
            seen: 0,
        }
    }

    fn push(&mut self, attribute: Attribute<'a>, why: &'static str, bytes: &'a [u8]) {
        self.undecoded.push(Undecoded {
            within: self.within,
            what: What::Attribute(attribute, why, bytes),
        });
    }

    /// Whether a name for it is taken: it is listed then.
    fn repeated(&mut self, attribute: Attribute<'a>) -> bool {
        let bit = 1u64.checked_shl(attribute.kind.into()).unwrap_or_default();
        let repeated = self.seen & bit != 0;
        self.seen |= bit;
        if repeated {
            self.push(attribute, "repeated", attribute.payload);
        }
        repeated
    }

    /// Lists an attribute that has no fields, with the reason.
    fn opaque(&mut self, attribute: Attribute<'a>, wrong_length: bool) {
        let why = match attribute {
            _ if !attribute.is_complete() => "cut",
            _ if wrong_length => "length",
            _ => "unknown",
        };
        self.push(attribute, why, attribute.payload);
    }

    /// Lists an attribute that has the fields of those in it, as far as they go.
    fn nested(&mut self, attribute: Attribute<'a>) {
        if !attribute.is_complete() {
            self.push(attribute, "cut", &[]);
        }
    }

    /// Lists what a run of attributes ends in, unless its last attribute is listed for it.
    fn end(&mut self, attributes: &Attributes<'a>) {
        if let Some(stop @ (Stop::Header { .. } | Stop::Short { .. })) = attributes.stopped() {
            self.undecoded.push(Undecoded {
                within: self.within,
                what: What::Stop(stop),
            });
        }
    }
}

/// Writes the attributes of a key or of an encapsulated one.
fn run<'a>(
    line: &mut Line,
    mut attributes: Attributes<'a>,
    within: Option<&'static str>,
    depth: u32,
    undecoded: &mut Vec<Undecoded<'a>>,
) {
    let mut rest = Rest::new(undecoded, within);
    for attribute in attributes.by_ref() {
        if rest.repeated(attribute) {
            continue;
        }
        let name = key_name(attribute.kind).unwrap_or_default();
        match attribute.key() {
            Key::Encap(_) if depth == MAX_NESTED => {
                rest.push(attribute, "too_deep", attribute.payload);
            }
            Key::Encap(nested) => {
                line.begin(name, b'{');
                run(line, nested, Some("encap"), depth + 1, rest.undecoded);
                line.end(b'}');
                rest.nested(attribute);
            }
            Key::Tunnel(nested) => {
                line.begin(name, b'{');
                tunnel(line, nested, attribute.is_complete(), rest.undecoded);
                line.end(b'}');
                rest.nested(attribute);
            }
            Key::Nsh(nested) => {
                line.begin(name, b'{');
                nsh(line, nested, rest.undecoded);
                line.end(b'}');
                rest.nested(attribute);
            }
            Key::Priority(value)
            | Key::InPort(value)
            | Key::SkbMark(value)
            | Key::DpHash(value)
            | Key::RecircId(value)
            | Key::CtMark(value) => line.field(name, value),
            Key::EtherType(value) | Key::CtZone(value) => line.field(name, value),
            Key::CtLabels(labels) => line.plain(name, format_args!("{labels:#x}")),
            Key::CtState(state) => flags(line, name, state, &CT_STATE),
            Key::TcpFlags(set) => flags(line, name, set.into(), &TCP_FLAGS),
            Key::Mpls(entries) => {
                line.begin(name, b'[');
                for entry in entries {
                    let entry = entry.get();
                    line.begin_item(b'{');
                    line.field("label", entry >> 12);
                    line.field("tc", entry >> 9 & 7);
                    line.field("ttl", entry & 0xff);
                    line.field("bos", entry >> 8 & 1);
                    line.end(b'}');
                }
                line.end(b']');
            }
            Key::Unknown => match exthdrs(&attribute) {
                Some(headers) => line.field("ipv6_exthdrs", headers),
                None => rest.opaque(attribute, false),
            },
            Key::Cut => rest.opaque(attribute, false),
            Key::BadLength { .. } => rest.opaque(attribute, true),
            object => {
                line.begin(name, b'{');
                headers(line, object);
                line.end(b'}');
            }
        }
    }
    rest.end(&attributes);
}

/// Writes the fields of an attribute that is a structure.
fn headers(line: &mut Line, key: Key<'_>) {
    match key {
        Key::Ethernet(eth) => {
            line.address("src", Value::Mac(eth.src));
            line.address("dst", Value::Mac(eth.dst));
        }
        Key::Vlan(tci) => {
            line.field("vid", tci & 0xfff);
            line.field("pcp", tci >> 13);
            line.field("cfi", tci >> 12 & 1);
        }
        Key::Ipv4(ip) => {
            line.address("src", Value::Ipv4(ip.src));
            line.address("dst", Value::Ipv4(ip.dst));
            line.field("proto", ip.proto);
            line.field("tos", ip.tos);
            line.field("ttl", ip.ttl);
            frag(line, ip.frag);
        }
        Key::Ipv6(ip) => {
            line.address("src", Value::Ipv6(ip.src));
            line.address("dst", Value::Ipv6(ip.dst));
            line.field("label", ip.label.get());
            line.field("proto", ip.proto);
            line.field("tclass", ip.tclass);
            line.field("hlimit", ip.hlimit);
            frag(line, ip.frag);
        }
        Key::Tcp(ports) | Key::Udp(ports) | Key::Sctp(ports) => {
            line.field("src", ports.src.get());
            line.field("dst", ports.dst.get());
        }
        Key::Icmp(icmp) | Key::Icmpv6(icmp) => {
            line.field("type", icmp.kind);
            line.field("code", icmp.code);
        }
        Key::Arp(arp) => {
            line.address("sip", Value::Ipv4(arp.sip));
            line.address("tip", Value::Ipv4(arp.tip));
            line.field("op", arp.op.get());
            line.address("sha", Value::Mac(arp.sha));
            line.address("tha", Value::Mac(arp.tha));
        }
        Key::Nd(nd) => {
            line.address("target", Value::Ipv6(nd.target));
            line.address("sll", Value::Mac(nd.sll));
            line.address("tll", Value::Mac(nd.tll));
        }
        Key::NdExtensions(nd) => {
            line.field("nd_reserved", nd.reserved.get());
            line.field("nd_options_type", nd.options_type);
        }
        Key::CtTuple4(tuple) => {
            line.address("src", Value::Ipv4(tuple.src));
            line.address("dst", Value::Ipv4(tuple.dst));
            line.field("proto", tuple.proto);
            line.field("tp_src", tuple.src_port.get());
            line.field("tp_dst", tuple.dst_port.get());
        }
        Key::CtTuple6(tuple) => {
            line.address("src", Value::Ipv6(tuple.src));
            line.address("dst", Value::Ipv6(tuple.dst));
            line.field("proto", tuple.proto);
            line.field("tp_src", tuple.src_port.get());
            line.field("tp_dst", tuple.dst_port.get());
        }
        Key::PacketType(value) => {
            line.field("ns", value >> 16);
            line.field("id", value & 0xffff);
        }
        // The others are not structures.
        _ => {}
    }
}

fn tunnel<'a>(
    line: &mut Line,
    mut attributes: Attributes<'a>,
    complete: bool,
    undecoded: &mut Vec<Undecoded<'a>>,
) {
    const FLAGS: [(u16, &str); 4] = [
        (OVS_TUNNEL_KEY_ATTR_OAM, "oam"),
        (OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT, "df"),
        (OVS_TUNNEL_KEY_ATTR_CSUM, "csum"),
        (OVS_TUNNEL_KEY_ATTR_ID, "key"),
    ];
    let mut rest = Rest::new(undecoded, Some("tunnel"));
    let mut set = 0u64;
    for attribute in attributes.by_ref() {
        let key = attribute.tunnel_key();
        if matches!(key, TunnelKey::Pad) || rest.repeated(attribute) {
            continue;
        }
        match key {
            TunnelKey::Id(id) => {
                set |= 1 << attribute.kind;
                line.plain("tun_id", format_args!("{id:#x}"));
            }
            TunnelKey::Oam | TunnelKey::DontFragment | TunnelKey::Csum => {
                set |= 1 << attribute.kind;
            }
            TunnelKey::Ipv4Src(address) => line.address("src", Value::Ipv4(address)),
            TunnelKey::Ipv4Dst(address) => line.address("dst", Value::Ipv4(address)),
            TunnelKey::Ipv6Src(address) => line.address("ipv6_src", Value::Ipv6(address)),
            TunnelKey::Ipv6Dst(address) => line.address("ipv6_dst", Value::Ipv6(address)),
            TunnelKey::Tos(tos) => line.field("tos", tos),
            TunnelKey::Ttl(ttl) => line.field("ttl", ttl),
            TunnelKey::TpSrc(port) => line.field("tp_src", port),
            TunnelKey::TpDst(port) => line.field("tp_dst", port),
            TunnelKey::Geneve(options) => {
                line.begin("geneve", b'[');
                let left = geneve(line, options);
                line.end(b']');
                if !left.is_empty() {
                    rest.push(attribute, "length", left);
                }
            }
            TunnelKey::Vxlan(nested) => {
                line.begin("vxlan", b'{');
                vxlan(line, nested, rest.undecoded);
                line.end(b'}');
                rest.nested(attribute);
            }
            TunnelKey::Erspan(erspan) => {
                line.begin("erspan", b'{');
                match erspan {
                    Erspan::V1 { index } => {
                        line.field("ver", 1);
                        line.field("idx", index);
                    }
                    Erspan::V2 { dir, hwid } => {
                        line.field("ver", 2);
                        line.field("dir", dir);
                        line.field("hwid", hwid);
                    }
                    Erspan::Unknown { version } => line.field("ver", version),
                }
                line.end(b'}');
                if let Erspan::Unknown { .. } = erspan {
                    rest.push(attribute, "unknown", attribute.payload);
                }
            }
            TunnelKey::Gtpu(gtpu) => {
                line.begin("gtpu", b'{');
                line.field("flags", gtpu.flags);
                line.field("msgtype", gtpu.msgtype);
                line.end(b'}');
            }
            TunnelKey::Pad => {}
            TunnelKey::Unknown | TunnelKey::Cut => rest.opaque(attribute, false),
            TunnelKey::BadLength { .. } => rest.opaque(attribute, true),
        }
    }
    // If a tunnel's attributes are cut, a flag that is missing may have been set.
    if complete || set != 0 {
        line.name("flags");
        line.bits(set, FLAGS.iter().map(|(kind, name)| (1 << kind, *name)));
    }
    rest.end(&attributes);
}

/// Writes Geneve options, and returns those bytes that make none.
fn geneve<'a>(line: &mut Line, mut options: &'a [u8]) -> &'a [u8] {
    while let Ok((option, left)) = GeneveOption::split(options) {
        line.begin_item(b'{');
        line.field("class", option.class);
        line.field("type", option.kind);
        line.base64("data", option.data);
        line.end(b'}');
        options = left;
    }
    options
}

fn vxlan<'a>(line: &mut Line, mut attributes: Attributes<'a>, undecoded: &mut Vec<Undecoded<'a>>) {
    let mut rest = Rest::new(undecoded, Some("vxlan"));
    for attribute in attributes.by_ref() {
        if rest.repeated(attribute) {
            continue;
        }
        match attribute.vxlan_gbp() {
            Some(gbp) => {
                line.begin("gbp", b'{');
                line.field("id", gbp & 0xffff);
                line.field("flags", gbp >> 16 & 0xff);
                line.end(b'}');
            }
            None => rest.opaque(attribute, attribute.kind == OVS_VXLAN_EXT_GBP),
        }
    }
    rest.end(&attributes);
}

fn nsh<'a>(line: &mut Line, mut attributes: Attributes<'a>, undecoded: &mut Vec<Undecoded<'a>>) {
    let mut rest = Rest::new(undecoded, Some("nsh"));
    for attribute in attributes.by_ref() {
        if rest.repeated(attribute) {
            continue;
        }
        match attribute.nsh_key() {
            NshKey::Base(base) => {
                line.field("flags", base.flags);
                line.field("ttl", base.ttl);
                line.field("mdtype", base.mdtype);
                line.field("np", base.np);
                line.field("spi", base.path_hdr.get() >> 8);
                line.field("si", base.path_hdr.get() & 0xff);
            }
            NshKey::Md1(context) => {
                for (name, word) in ["c1", "c2", "c3", "c4"].iter().zip(context) {
                    line.field(name, word.get());
                }
            }
            NshKey::Unknown | NshKey::Cut => rest.opaque(attribute, false),
            NshKey::BadLength { .. } => rest.opaque(attribute, true),
        }
    }
    rest.end(&attributes);
}

fn flags(line: &mut Line, name: &str, set: u32, names: &'static [Flag]) {
    line.field(name, set);
    line.name_of(name, "_names");
    line.bits(
        set.into(),
        names.iter().map(|(bit, name)| (u64::from(*bit), *name)),
    );
}

/// `OVS_FRAG_TYPE_*`.
fn frag(line: &mut Line, kind: u8) {
    line.field("frag", kind);
    match kind {
        0 => line.field("frag_name", "no"),
        1 => line.field("frag_name", "first"),
        2 => line.field("frag_name", "later"),
        _ => {}
    }
}
