//! LLC, SNAP and the spanning tree protocols.

use super::names;
use super::{Decoder, Halt, Span, Value, Visitor};

// Service access points (IEEE 802.2).
const LLC_SAP_BSPAN: u64 = 0x42;
const LLC_SAP_SNAP: u64 = 0xaa;
/// Unnumbered information.
const LLC_PDU_UI: u64 = 3;

const OUI_CISCO: u32 = 0x00_000c;
/// Cisco's spanning tree for each VLAN (PVST+).
const CODE_PVST: u16 = 0x010b;

// Types of BPDUs (IEEE 802.1Q, 14).
const BPDU_CONFIGURATION: u64 = 0;
const BPDU_RAPID: u64 = 2;
const BPDU_TOPOLOGY_CHANGE: u64 = 0x80;

impl<'a, V: Visitor> Decoder<'_, V> {
    /// IEEE 802.2, with the short control field of unnumbered frames.
    pub(super) fn llc(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("LLC");
        let dsap = self.read_hex("dsap", 1, span)?;
        let ssap = self.read_hex("ssap", 1, span)?;
        let ctrl = self.read_int("ctrl", 1, span)?;
        match (dsap, ssap, ctrl) {
            (LLC_SAP_BSPAN, LLC_SAP_BSPAN, LLC_PDU_UI) => {
                self.run(*span, |this, span| this.stp(false, span));
            }
            (LLC_SAP_SNAP, LLC_SAP_SNAP, LLC_PDU_UI) => self.run(*span, Self::snap),
            (_, _, LLC_PDU_UI) => self.undecoded("dsap", Value::Hex(dsap), None, *span),
            _ => self.undecoded("ctrl", Value::Int(ctrl), None, *span),
        }
        Ok(())
    }

    /// RFC 1042. `code` is an Ethernet type if `OUI` is 0.
    fn snap(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("SNAP");
        let oui = span.u24()?;
        self.hex("OUI", oui);
        let code = span.u16()?;
        let name = names::ether_type(code).filter(|_| oui == 0);
        self.named_hex("code", code, name);
        match (oui, code) {
            (0, _) => self.by_ether_type("code", code, *span),
            (OUI_CISCO, CODE_PVST) => self.run(*span, |this, span| this.stp(true, span)),
            (OUI_CISCO, _) => self.undecoded("code", Value::Hex(code.into()), None, *span),
            _ => self.undecoded("OUI", Value::Hex(oui.into()), None, *span),
        }
        Ok(())
    }

    /// IEEE 802.1D, 9.3, and for RSTP and MSTP 802.1Q, 14. PVST+ adds the VLAN.
    fn stp(&mut self, pvst: bool, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("Spanning Tree Protocol");
        let proto = self.read_int("proto", 2, span)?;
        let version = self.read_int("version", 1, span)?;
        let kind = self.read_int("bpdutype", 1, span)?;
        if proto != 0 {
            return Err(Halt::Undecoded {
                field: "proto",
                value: proto,
            });
        }
        match kind {
            BPDU_CONFIGURATION | BPDU_RAPID => {}
            BPDU_TOPOLOGY_CHANGE => {
                self.padding(*span);
                return Ok(());
            }
            _ => {
                return Err(Halt::Undecoded {
                    field: "bpdutype",
                    value: kind,
                });
            }
        }
        self.read_int("bpduflags", 1, span)?;
        self.stp_bridge("rootid", "rootmac", span)?;
        self.read_int("pathcost", 4, span)?;
        self.stp_bridge("bridgeid", "bridgemac", span)?;
        for name in ["portid", "age", "maxage", "hellotime", "fwddelay"] {
            self.read_int(name, 2, span)?;
        }
        let mut len = 0;
        if kind == BPDU_RAPID {
            self.read_int("v1len", 1, span)?;
            if version >= 3 {
                len = self.read_int("v3len", 2, span)?;
            }
        }
        if pvst && !span.is_empty() {
            if kind == BPDU_CONFIGURATION {
                self.read_int("pad", 1, span)?;
            }
            for name in ["tlv_type", "tlv_length", "vlan"] {
                self.read_int(name, 2, span)?;
            }
        }
        self.bounded(len as usize, span, |this, span| match len {
            0 => Ok(()),
            _ => this.mstp(span),
        });
        Ok(())
    }

    fn stp_bridge(
        &mut self,
        id: &'static str,
        address: &'static str,
        span: &mut Span<'a>,
    ) -> Result<(), Halt> {
        self.read_int(id, 2, span)?;
        self.read_mac(address, span)
    }

    /// The part of a BPDU that only MSTP has.
    fn mstp(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.read_int("mst_format", 1, span)?;
        self.read_bytes("mst_name", 32, span)?;
        self.read_int("mst_revision", 2, span)?;
        self.read_bytes("mst_digest", 16, span)?;
        self.read_int("internal_pathcost", 4, span)?;
        self.stp_bridge("cist_bridgeid", "cist_bridgemac", span)?;
        self.read_int("remaining_hops", 1, span)?;
        let instances = Span {
            bytes: span.rest(),
            cut: span.cut,
        };
        self.list("msti", instances, |this, span| {
            this.layer("MSTI");
            this.read_int("flags", 1, span)?;
            this.stp_bridge("rootid", "rootmac", span)?;
            this.read_int("internal_pathcost", 4, span)?;
            this.read_int("bridge_priority", 1, span)?;
            this.read_int("port_priority", 1, span)?;
            this.read_int("remaining_hops", 1, span)?;
            Ok(())
        });
        Ok(())
    }
}
