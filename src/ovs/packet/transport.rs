//! TCP and UDP.

use super::tunnel::STT_VERSION;
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
const GTP_U_PORT: u16 = 2152;
const LISP_PORT: u16 = 4341;
const ESP_PORT: u16 = 4500;
const MPLS_PORT: u16 = 6635;
/// One hop, several hops, a link of an aggregate, seamless (RFC 5881, 5883, 7130, 7881).
const BFD_PORTS: [u16; 4] = [3784, 4784, 6784, 7784];

/// TCP destination port of STT.
const STT_PORT: u16 = 7471;

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
        self.flags("flags", flags, TCP_FLAGS, "");
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
        // The sequence number of STT has the length of the frame and the place of the segment in it.
        let stt = dport == STT_PORT && seq & 0xffff == 0 && flags & 0x17 == 0x10;
        if stt && span.bytes.first() == Some(&STT_VERSION) {
            self.run(*span, Self::stt);
        } else {
            self.raw(*span);
        }
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
            GTP_U_PORT => self.run(payload, Self::gtp_u),
            LISP_PORT => self.run(payload, Self::lisp),
            MPLS_PORT => self.run(payload, Self::mpls),
            // What begins with four zeros is IKE, one byte keeps a mapping alive (RFC 3948).
            ESP_PORT
                if payload
                    .bytes
                    .first_chunk()
                    .is_some_and(|spi| *spi != [0; 4]) =>
            {
                self.run(payload, Self::esp);
            }
            _ if BFD_PORTS.contains(&dport) => self.run(payload, Self::bfd),
            _ => self.raw(payload),
        }
        self.padding(*span);
        Ok(())
    }
}
