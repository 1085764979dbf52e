//! IGMP.

use super::{Decoder, Halt, Span, Value, Visitor};

const QUERY: u8 = 0x11;
const REPORT_1: u8 = 0x12;
const REPORT_2: u8 = 0x16;
const LEAVE: u8 = 0x17;
const REPORT_3: u8 = 0x22;
// RFC 4286.
const ADVERTISEMENT: u8 = 0x30;
const SOLICITATION: u8 = 0x31;
const TERMINATION: u8 = 0x32;

/// Length of a query of version 1 or 2, in bytes; what is longer is one of version 3 (RFC 3376, 7.1).
const QUERY_LEN: usize = 8;

impl<'a, V: Visitor> Decoder<'_, V> {
    /// RFC 1112, 2236, 3376 and 4286.
    pub(super) fn igmp(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        let len = span.bytes.len();
        let kind = span.bytes.first().copied().unwrap_or_default();
        let version_3 = match kind {
            QUERY => len > QUERY_LEN || span.cut && len == QUERY_LEN,
            REPORT_3 | ADVERTISEMENT..=TERMINATION => true,
            _ => false,
        };
        self.layer(if version_3 { "IGMPv3" } else { "IGMP" });
        let kind = span.u8()?;
        let name = match kind {
            QUERY => Some("Membership Query"),
            REPORT_1 => Some("Version 1 - Membership Report"),
            REPORT_2 => Some("Version 2 - Membership Report"),
            LEAVE => Some("Leave Group"),
            REPORT_3 => Some("Version 3 Membership Report"),
            ADVERTISEMENT => Some("Multicast Router Advertisement"),
            SOLICITATION => Some("Multicast Router Solicitation"),
            TERMINATION => Some("Multicast Router Termination"),
            _ => None,
        };
        self.named("type", kind, name);
        self.read_int("mrcode", 1, span)?;
        self.read_hex("chksum", 2, span)?;
        match kind {
            QUERY if version_3 => self.run(*span, Self::igmp3_query),
            QUERY | REPORT_1 | REPORT_2 | LEAVE => {
                self.read_ipv4("gaddr", span)?;
                self.raw(*span);
            }
            REPORT_3 => self.run(*span, Self::igmp3_report),
            ADVERTISEMENT => self.run(*span, |this, span| {
                this.layer("IGMPv3mra");
                this.read_int("qryIntvl", 2, span)?;
                this.read_int("robust", 2, span)?;
                this.raw(*span);
                Ok(())
            }),
            SOLICITATION | TERMINATION => self.raw(*span),
            _ => self.undecoded("type", Value::Hex(kind.into()), None, *span),
        }
        Ok(())
    }

    fn igmp3_query(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("IGMPv3mq");
        self.read_ipv4("gaddr", span)?;
        let byte = span.u8()?;
        self.int("resv", byte >> 4);
        self.int("s", byte >> 3 & 1);
        self.int("qrv", byte & 7);
        self.read_int("qqic", 1, span)?;
        let number = self.read_int("numsrc", 2, span)?;
        self.ipv4_list("srcaddrs", number as usize, span)?;
        self.raw(*span);
        Ok(())
    }

    fn igmp3_report(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("IGMPv3mr");
        self.read_hex("res2", 2, span)?;
        let number = self.read_int("numgrp", 2, span)?;
        self.counted_list("records", number as usize, span, |this, span| {
            this.layer("IGMPv3gr");
            let kind = span.u8()?;
            let name = match kind {
                1 => Some("Mode Is Include"),
                2 => Some("Mode Is Exclude"),
                3 => Some("Change To Include Mode"),
                4 => Some("Change To Exclude Mode"),
                5 => Some("Allow New Sources"),
                6 => Some("Block Old Sources"),
                _ => None,
            };
            this.named("rtype", kind, name);
            let data_len = this.read_int("auxdlen", 1, span)?;
            let number = this.read_int("numsrc", 2, span)?;
            this.read_ipv4("maddr", span)?;
            this.ipv4_list("srcaddrs", number as usize, span)?;
            if data_len > 0 {
                this.read_bytes("auxdata", data_len as usize * 4, span)?;
            }
            Ok(())
        })?;
        self.raw(*span);
        Ok(())
    }

    /// `number` addresses, or those of them which are there.
    fn ipv4_list(
        &mut self,
        name: &'static str,
        number: usize,
        span: &mut Span<'a>,
    ) -> Result<(), Halt> {
        let found = number.min(span.bytes.len() / 4);
        let (addresses, _) = span.bytes(found * 4)?.as_chunks();
        self.field(name, Value::Ipv4List(addresses));
        if found == number {
            Ok(())
        } else {
            Err(span.end())
        }
    }
}
