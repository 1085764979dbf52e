//! VXLAN, Geneve, STT, LISP and Ethernet in IP. What other tunnels are made of is in `gre`, `gtp`, `mpls` and `nsh`.

use super::names;
use super::{Decoder, Halt, Span, Value, Visitor};

/// Lowest bit first. RFC 7348 has only `Instance`; the others are of drafts (GPE, group policy).
const VXLAN_FLAGS: &[&str] = &["OAM", "R", "NextProtocol", "Instance", "V1", "V2", "R", "G"];
const VXLAN_NEXT_PROTOCOL: u8 = 0x04;
const VXLAN_GROUP_POLICY: u8 = 0x80;
const VXLAN_POLICY_FLAGS: &[&str] = &["R", "R", "R", "A", "R", "R", "D", "R"];

/// Lowest bit first.
const STT_FLAGS: &[&str] = &["verified", "partial", "IPv4", "TCP"];
/// The only version of STT that there is.
pub(super) const STT_VERSION: u8 = 0;

/// Lowest bit first (RFC 6830).
const LISP_FLAGS: &[&str] = &["K0", "K1", "R", "I", "V", "E", "L", "N"];

impl<'a, V: Visitor> Decoder<'_, V> {
    /// RFC 7348; draft-smith-vxlan-group-policy and draft-ietf-nvo3-vxlan-gpe where their flags are
    /// set.
    pub(super) fn vxlan(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("VXLAN");
        let flags = span.u8()?;
        self.flags("flags", flags, VXLAN_FLAGS, "+");
        let mut next = None;
        if flags & VXLAN_NEXT_PROTOCOL != 0 {
            let reserved = span.u16()?;
            self.int("reserved0", reserved);
            let protocol = span.u8()?;
            let name = match protocol {
                0 => Some("NotDefined"),
                1 => Some("IPv4"),
                2 => Some("IPv6"),
                3 => Some("Ethernet"),
                4 => Some("NSH"),
                _ => None,
            };
            self.named("NextProtocol", protocol, name);
            next = Some(protocol);
        } else if flags & VXLAN_GROUP_POLICY != 0 {
            let flags = span.u8()?;
            self.flags("gpflags", flags, VXLAN_POLICY_FLAGS, "+");
            let id = span.u16()?;
            self.int("gpid", id);
        } else {
            let reserved = span.u24()?;
            self.int("reserved1", reserved);
        }
        let vni = span.u24()?;
        self.hex("vni", vni);
        let reserved = span.u8()?;
        self.hex("reserved2", reserved);
        match next {
            None | Some(0 | 3) => self.run(*span, Self::ethernet),
            Some(1) => self.run(*span, Self::ipv4),
            Some(2) => self.run(*span, Self::ipv6),
            Some(4) => self.run(*span, Self::nsh),
            Some(5) => self.run(*span, Self::mpls),
            Some(next) => self.undecoded("NextProtocol", Value::Int(next.into()), None, *span),
        }
        Ok(())
    }

    /// RFC 8926.
    pub(super) fn geneve(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("GENEVE");
        let byte = span.u8()?;
        let (version, optionlen) = (byte >> 6, byte & 63);
        self.int("version", version);
        self.int("optionlen", optionlen);
        let byte = span.u8()?;
        self.int("oam", byte >> 7);
        self.int("critical", byte >> 6 & 1);
        self.int("reserved", byte & 63);
        let proto = span.u16()?;
        self.named_hex("proto", proto, names::ether_type(proto));
        let vni = span.u24()?;
        self.hex("vni", vni);
        let reserved = span.u8()?;
        self.hex("reserved2", reserved);
        if version != 0 {
            return Err(Halt::Undecoded {
                field: "version",
                value: version.into(),
            });
        }
        let options_len = usize::from(optionlen) * 4;
        let options = span.split(options_len);
        self.list("options", options, Self::geneve_option);
        if options.bytes.len() < options_len {
            return Err(options.end());
        }
        self.by_ether_type("proto", proto, *span);
        Ok(())
    }

    fn geneve_option(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("Geneve Options");
        let class = span.u16()?;
        self.named_hex("classid", class, names::geneve_class(class));
        let kind = span.u8()?;
        self.hex("type", kind);
        let byte = span.u8()?;
        let length = byte & 31;
        self.int("reserved", byte >> 5);
        self.int("length", length);
        let data = span.bytes(usize::from(length) * 4)?;
        self.field("data", Value::Bytes(data));
        Ok(())
    }

    /// draft-davie-stt, which looks like TCP; Open vSwitch up to 3.5 has such ports. Only the first segment of a frame
    /// has this header.
    pub(super) fn stt(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("STT");
        self.read_int("version", 1, span)?;
        let flags = span.u8()?;
        self.flags("flags", flags, STT_FLAGS, "+");
        self.read_int("l4_offset", 1, span)?;
        self.read_int("reserved", 1, span)?;
        self.read_int("mss", 2, span)?;
        let tci = span.u16()?;
        self.int("pcp", tci >> 13);
        self.int("v", tci >> 12 & 1);
        self.int("vlan", tci & 0xfff);
        self.read_hex("context_id", 8, span)?;
        self.read_int("padding", 2, span)?;
        self.run(*span, Self::ethernet);
        Ok(())
    }

    /// RFC 6830, data packets; Open vSwitch up to 3.5 has such ports.
    pub(super) fn lisp(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("LISP");
        let flags = span.u8()?;
        self.flags("flags", flags, LISP_FLAGS, "+");
        self.read_hex("nonce", 3, span)?;
        if flags & 0x08 == 0 {
            self.read_hex("locator_status", 4, span)?;
        } else {
            self.read_hex("instance_id", 3, span)?;
            self.read_hex("locator_status", 1, span)?;
        }
        self.either_ip("flags", Value::Hex(flags.into()), None, *span);
        Ok(())
    }

    /// RFC 3378.
    pub(super) fn etherip(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("EtherIP / RFC 3378");
        let word = span.u16()?;
        let version = word >> 12;
        self.int("version", version);
        self.int("reserved", word & 0xfff);
        if version != 3 {
            return Err(Halt::Undecoded {
                field: "version",
                value: version.into(),
            });
        }
        self.run(*span, Self::ethernet);
        Ok(())
    }
}
