//! TCP, UDP, SCTP and the tunnels: GRE, VXLAN, Geneve.

use super::names;
use super::{Decoder, Halt, Span, Value, Visitor};

const TCP_FLAGS: &[&str] = &["F", "S", "R", "P", "A", "U", "E", "C", "N"];
/// Length of a TCP header without options, in bytes.
const TCP_HEADER_LEN: usize = 20;

const UDP_HEADER_LEN: usize = 8;

// UDP destination ports (IANA; 8472 is Linux's for VXLAN before there was one).
const VXLAN_PORT: u16 = 4789;
const VXLAN_GPE_PORT: u16 = 4790;
const VXLAN_LINUX_PORT: u16 = 8472;
const GENEVE_PORT: u16 = 6081;

/// Lowest bit first. RFC 7348 has only `Instance`; the others are of drafts (GPE, group policy).
const VXLAN_FLAGS: &[&str] = &["OAM", "R", "NextProtocol", "Instance", "V1", "V2", "R", "G"];
const VXLAN_NEXT_PROTOCOL: u8 = 0x04;
const VXLAN_GROUP_POLICY: u8 = 0x80;
const VXLAN_POLICY_FLAGS: &[&str] = &["R", "R", "R", "A", "R", "R", "D", "R"];

// Kinds of TCP options (IANA "TCP Parameters").
const TCPOPT_EOL: u8 = 0;
const TCPOPT_NOP: u8 = 1;

/// Whole TCP options, from the first byte behind the fixed header on: an iterator over them which
/// ends behind the end of the list (kind 0) or with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOptions<'a>(&'a [u8]);

/// One TCP option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOption<'a> {
    pub kind: u8,
    /// Scapy's name of the kind.
    pub name: Option<&'static str>,
    /// What follows kind and length. `None` if the kind has not even a length.
    pub value: Option<&'a [u8]>,
}

impl<'a> TcpOption<'a> {
    /// The value as numbers, in order, if its kind has numbers and its length is the one they need:
    /// MSS, window scale, selective acknowledgements, timestamps, user timeout, alternate checksum
    /// request.
    pub fn numbers(&self) -> Option<impl Iterator<Item = u32> + use<'a>> {
        let value = self.value?;
        let size = match (self.kind, value.len()) {
            (3 | 14, 1) => 1,
            (2 | 28, 2) => 2,
            (8, 8) => 4,
            (5, len) if len > 0 && len % 4 == 0 => 4,
            _ => return None,
        };
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
        };
        Some(value.chunks_exact(size).map(number))
    }
}

impl<'a> Iterator for TcpOptions<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<TcpOption<'a>> {
        let (&kind, rest) = self.0.split_first()?;
        let value = match kind {
            TCPOPT_EOL => {
                self.0 = &[];
                None
            }
            TCPOPT_NOP => {
                self.0 = rest;
                None
            }
            _ => {
                let (option, rest) = self.0.split_at_checked(usize::from(*rest.first()?))?;
                self.0 = rest;
                Some(option.get(2..)?)
            }
        };
        let name = match kind {
            TCPOPT_EOL => Some("EOL"),
            TCPOPT_NOP => Some("NOP"),
            2 => Some("MSS"),
            3 => Some("WScale"),
            4 => Some("SAckOK"),
            5 => Some("SAck"),
            8 => Some("Timestamp"),
            14 => Some("AltChkSum"),
            15 => Some("AltChkSumOpt"),
            19 => Some("MD5"),
            28 => Some("UTO"),
            29 => Some("AO"),
            34 => Some("TFO"),
            _ => None,
        };
        Some(TcpOption { kind, name, value })
    }
}

impl<'a> TcpOptions<'a> {
    /// Takes the whole options at the start of `span`, and what is behind the end of their list. An
    /// option which is not whole, or whose length is impossible, stays in `span`.
    fn take(span: &mut Span<'a>) -> (Self, Result<(), Halt>) {
        let all = span.bytes;
        let mut result = Ok(());
        while let Some((&kind, rest)) = span.bytes.split_first() {
            let len = match (kind, rest.first()) {
                (TCPOPT_EOL, _) => span.bytes.len(),
                (TCPOPT_NOP, _) => 1,
                (_, Some(&len)) if len < 2 => {
                    result = Err(Halt::Invalid {
                        field: "option length",
                        value: len.into(),
                    });
                    break;
                }
                (_, Some(&len)) => len.into(),
                (_, None) => 2,
            };
            if let Err(halt) = span.bytes(len) {
                result = Err(halt);
                break;
            }
        }
        (TcpOptions(&all[..all.len() - span.bytes.len()]), result)
    }
}

impl<'a, V: Visitor> Decoder<'_, V> {
    /// RFC 9293; `N` of the flags is RFC 3540's.
    pub(super) fn tcp(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer(if self.quoted { "TCP in ICMP" } else { "TCP" });
        let sport = span.u16()?;
        self.int("sport", sport);
        let dport = span.u16()?;
        self.int("dport", dport);
        let seq = span.u32()?;
        self.int("seq", seq);
        let ack = span.u32()?;
        self.int("ack", ack);
        let word = span.u16()?;
        let (dataofs, flags) = (word >> 12, word & 0x1ff);
        self.int("dataofs", dataofs);
        self.int("reserved", word >> 9 & 7);
        self.field(
            "flags",
            Value::Flags {
                value: flags.into(),
                names: TCP_FLAGS,
                separator: "",
            },
        );
        let window = span.u16()?;
        self.int("window", window);
        let chksum = span.u16()?;
        self.hex("chksum", chksum);
        let urgptr = span.u16()?;
        self.int("urgptr", urgptr);
        let Some(options_len) = (usize::from(dataofs) * 4).checked_sub(TCP_HEADER_LEN) else {
            return Err(Halt::Invalid {
                field: "dataofs",
                value: dataofs.into(),
            });
        };
        let mut rest = span.split(options_len);
        let whole = rest.bytes.len() == options_len;
        let (options, result) = TcpOptions::take(&mut rest);
        self.field("options", Value::TcpOptions(options));
        if let Err(halt) = result {
            self.halt(halt);
            self.leftover(rest.bytes);
        }
        if !whole {
            return Err(Halt::End { cut: rest.cut });
        }
        self.raw(*span);
        Ok(())
    }

    /// RFC 768.
    pub(super) fn udp(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer(if self.quoted { "UDP in ICMP" } else { "UDP" });
        let sport = span.u16()?;
        self.int("sport", sport);
        let dport = span.u16()?;
        self.int("dport", dport);
        let len = span.u16()?;
        self.int("len", len);
        let chksum = span.u16()?;
        self.hex("chksum", chksum);
        let payload_len = match usize::from(len).checked_sub(UDP_HEADER_LEN) {
            Some(len) => len,
            // A jumbogram (RFC 2675).
            None if len == 0 => usize::MAX,
            None => {
                return Err(Halt::Invalid {
                    field: "len",
                    value: len.into(),
                });
            }
        };
        let payload = span.split(payload_len);
        match dport {
            VXLAN_PORT | VXLAN_GPE_PORT | VXLAN_LINUX_PORT => self.run(payload, Self::vxlan),
            GENEVE_PORT => self.run(payload, Self::geneve),
            _ => self.raw(payload),
        }
        self.padding(*span);
        Ok(())
    }

    /// RFC 9260; the chunks are not decoded.
    pub(super) fn sctp(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("SCTP");
        let sport = span.u16()?;
        self.int("sport", sport);
        let dport = span.u16()?;
        self.int("dport", dport);
        let tag = span.u32()?;
        self.hex("tag", tag);
        let chksum = span.u32()?;
        self.hex("chksum", chksum);
        self.raw(*span);
        Ok(())
    }

    /// RFC 2784 and 2890, with the flags of RFC 1701. Source routes and version 1 (PPTP) are not
    /// decoded.
    pub(super) fn gre(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("GRE");
        let word = span.u16()?;
        let [chksum, routing, key, seqnum] = [15, 14, 13, 12].map(|bit| word >> bit & 1);
        let version = word & 7;
        self.int("chksum_present", chksum);
        self.int("routing_present", routing);
        self.int("key_present", key);
        self.int("seqnum_present", seqnum);
        self.int("strict_route_source", word >> 11 & 1);
        self.int("recursion_control", word >> 8 & 7);
        self.int("flags", word >> 3 & 31);
        self.int("version", version);
        let proto = span.u16()?;
        self.named_hex("proto", proto, names::ether_type(proto));
        if version != 0 {
            return Err(Halt::Invalid {
                field: "version",
                value: version.into(),
            });
        }
        if chksum | routing == 1 {
            let chksum = span.u16()?;
            self.hex("chksum", chksum);
            let offset = span.u16()?;
            self.hex("offset", offset);
        }
        if key == 1 {
            let key = span.u32()?;
            self.hex("key", key);
        }
        if seqnum == 1 {
            let number = span.u32()?;
            self.hex("sequence_number", number);
        }
        if routing == 1 {
            self.raw(*span);
        } else {
            self.tunnel_payload(proto, *span);
        }
        Ok(())
    }

    /// What a tunnel carries, by its Ethernet type. A number too small to be one is not a length
    /// here.
    fn tunnel_payload(&mut self, proto: u16, mut payload: Span<'a>) {
        match proto {
            0..0x600 => self.raw(payload),
            _ => self.ether_payload(proto, &mut payload),
        }
    }

    /// RFC 7348; draft-smith-vxlan-group-policy and draft-ietf-nvo3-vxlan-gpe where their flags are
    /// set.
    fn vxlan(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("VXLAN");
        let flags = span.u8()?;
        let value = Value::Flags {
            value: flags.into(),
            names: VXLAN_FLAGS,
            separator: "+",
        };
        self.field("flags", value);
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
            let names = VXLAN_POLICY_FLAGS;
            self.field(
                "gpflags",
                Value::Flags {
                    value: flags.into(),
                    names,
                    separator: "+",
                },
            );
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
            Some(_) => self.raw(*span),
        }
        Ok(())
    }

    /// RFC 8926.
    fn geneve(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
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
            return Err(Halt::Invalid {
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
        self.tunnel_payload(proto, *span);
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
}
