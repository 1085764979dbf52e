//! MPLS and what its labels carry.

use super::link::MAX_802_3_LEN;
use super::names::{self, *};
use super::{Decoder, Halt, Span, Value, Visitor};

/// Length of a control word, in bytes.
const CONTROL_WORD_LEN: usize = 4;
/// Where the type is in an Ethernet header, in bytes.
const ETHER_TYPE_AT: usize = 12;
/// Length of an Ethernet header and the LLC header that may follow, in bytes.
const ETHERNET_LEN: usize = 17;

impl<'a, V: Visitor> Decoder<'_, V> {
    /// RFC 3032. What the last label carries is not in the packet, but agreed on: the first nibble distinguishes IPv4,
    /// IPv6, a control word (RFC 4385) and an associated channel (RFC 5586). Ethernet, with a control word or without,
    /// is recognised by an Ethernet type where there must be one.
    pub(super) fn mpls(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("MPLS");
        let entry = span.u32()?;
        let (label, bottom) = (entry >> 12, entry >> 8 & 1);
        self.int("label", label);
        self.int("cos", entry >> 9 & 7);
        self.int("s", bottom);
        self.int("ttl", entry & 0xff);
        let head = span.bytes.first().copied();
        match head.map(|byte| byte >> 4) {
            _ if bottom == 0 => self.run(*span, Self::mpls),
            Some(4) => self.run(*span, Self::ipv4),
            Some(6) => self.run(*span, Self::ipv6),
            // The capture ends before the type: the cut is the reason.
            _ if span.cut && span.bytes.len() < CONTROL_WORD_LEN + ETHERNET_LEN => self.raw(*span),
            Some(0) if is_ethernet(*span, CONTROL_WORD_LEN) => self.run(*span, Self::control_word),
            _ if is_ethernet(*span, 0) => self.run(*span, Self::ethernet),
            _ if head == Some(0x10) => self.run(*span, Self::associated_channel),
            _ => self.undecoded("label", Value::Int(label.into()), None, *span),
        }
        Ok(())
    }

    /// RFC 4448.
    fn control_word(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("EoMCW");
        let word = span.u16()?;
        self.int("zero", word >> 12);
        self.int("reserved", word & 0xfff);
        self.read_int("seq", 2, span)?;
        self.run(*span, Self::ethernet);
        Ok(())
    }

    /// RFC 4385, 5. Types of channels are IANA's "MPLS Generalized Associated Channel (G-ACh) Types".
    fn associated_channel(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("PW Associated Channel");
        let byte = span.u8()?;
        self.int("nibble", byte >> 4);
        self.int("version", byte & 15);
        self.read_int("reserved", 1, span)?;
        let channel = self.read_hex("channel", 2, span)?;
        match channel {
            // BFD for the verification of circuits and for MPLS-TP, without IP around it.
            0x07 | 0x22 => self.run(*span, Self::bfd),
            0x21 => self.run(*span, Self::ipv4),
            0x57 => self.run(*span, Self::ipv6),
            0x7ffa | 0x8902 => self.run(*span, Self::cfm),
            _ => self.undecoded("channel", Value::Hex(channel), None, *span),
        }
        Ok(())
    }
}

/// Whether an Ethernet header which begins `at` bytes behind the start has a type that is known, or a length and a
/// known LLC header.
fn is_ethernet(span: Span<'_>, at: usize) -> bool {
    let Some([high, low, llc @ ..]) = span.bytes.get(at + ETHER_TYPE_AT..) else {
        return false;
    };
    match u16::from_be_bytes([*high, *low]) {
        ETH_P_CFM | ETH_P_NSH => true,
        0..=MAX_802_3_LEN => matches!(llc, [0x42, 0x42, 3, ..] | [0xaa, 0xaa, 3, ..]),
        ether_type => names::ether_type(ether_type).is_some(),
    }
}
