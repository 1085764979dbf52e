//! LLDP.

use super::{Decoder, Halt, Span, Value, Visitor};

// Types of TLVs (IEEE 802.1AB, 8.4).
const END: u16 = 0;
const CHASSIS_ID: u16 = 1;
const PORT_ID: u16 = 2;
const TIME_TO_LIVE: u16 = 3;
const PORT_DESCRIPTION: u16 = 4;
const SYSTEM_NAME: u16 = 5;
const SYSTEM_DESCRIPTION: u16 = 6;
const SYSTEM_CAPABILITIES: u16 = 7;
const MANAGEMENT_ADDRESS: u16 = 8;
const ORGANISATION_SPECIFIC: u16 = 127;

/// Lowest bit first.
const CAPABILITIES: &[&str] = &[
    "other",
    "repeater",
    "mac_bridge",
    "wlan_access_point",
    "router",
    "telephone",
    "docsis_cable_device",
    "station_only",
    "c_vlan_component",
    "s_vlan_component",
    "two_port_mac_relay",
];

// Address families (IANA "Address Family Numbers").
const IPV4: u8 = 1;
const IPV6: u8 = 2;

impl<'a, V: Visitor> Decoder<'_, V> {
    /// IEEE 802.1AB.
    pub(super) fn lldp(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("LLDPDU");
        self.ended_list("tlvs", *span, Self::lldp_tlv);
        Ok(())
    }

    /// Decodes a TLV. Returns false if it is the last one.
    fn lldp_tlv(&mut self, span: &mut Span<'a>) -> Result<bool, Halt> {
        let kind = span.bytes.first().map_or(0, |byte| u16::from(byte >> 1));
        let (layer, name) = match kind {
            END => ("LLDPDUEndOfLLDPDU", Some("end of LLDPDU")),
            CHASSIS_ID => ("LLDPDUChassisID", Some("chassis id")),
            PORT_ID => ("LLDPDUPortID", Some("port id")),
            TIME_TO_LIVE => ("LLDPDUTimeToLive", Some("time to live")),
            PORT_DESCRIPTION => ("LLDPDUPortDescription", Some("port description")),
            SYSTEM_NAME => ("LLDPDUSystemName", Some("system name")),
            SYSTEM_DESCRIPTION => ("LLDPDUSystemDescription", Some("system description")),
            SYSTEM_CAPABILITIES => ("LLDPDUSystemCapabilities", Some("system capabilities")),
            MANAGEMENT_ADDRESS => ("LLDPDUManagementAddress", Some("management address")),
            ORGANISATION_SPECIFIC => (
                "LLDPDUGenericOrganisationSpecific",
                Some("organisation specific TLV"),
            ),
            _ => ("LLDPDU TLV", None),
        };
        self.layer(layer);
        let len = usize::from(span.u16()? & 0x1ff);
        self.named("_type", kind, name);
        self.int("_length", len as u64);
        let rest = match kind {
            PORT_DESCRIPTION | SYSTEM_DESCRIPTION => "description",
            SYSTEM_NAME => "system_name",
            _ => "data",
        };
        self.option_value(len, rest, span, |this, value| {
            this.lldp_value(kind, len, value)
        })?;
        Ok(kind != END)
    }

    /// `len` is the length of the whole value.
    fn lldp_value(&mut self, kind: u16, len: usize, value: &mut Span<'a>) -> Result<(), Halt> {
        match kind {
            CHASSIS_ID => {
                let subtype = value.u8()?;
                let name = match subtype {
                    1 => Some("chassis component"),
                    2 => Some("interface alias"),
                    3 => Some("port component"),
                    4 => Some("MAC address"),
                    5 => Some("network address"),
                    6 => Some("interface name"),
                    7 => Some("locally assigned"),
                    _ => None,
                };
                self.named("subtype", subtype, name);
                self.lldp_id(subtype == 4, subtype == 5, len, value)?;
            }
            PORT_ID => {
                let subtype = value.u8()?;
                let name = match subtype {
                    1 => Some("interface alias"),
                    2 => Some("port component"),
                    3 => Some("MAC address"),
                    4 => Some("network address"),
                    5 => Some("interface name"),
                    6 => Some("agent circuit ID"),
                    7 => Some("locally assigned"),
                    _ => None,
                };
                self.named("subtype", subtype, name);
                self.lldp_id(subtype == 3, subtype == 4, len, value)?;
            }
            TIME_TO_LIVE => {
                self.read_int("ttl", 2, value)?;
            }
            SYSTEM_CAPABILITIES => {
                for name in ["available", "enabled"] {
                    let bits = value.u16()?;
                    self.flags(name, bits, CAPABILITIES, "+");
                }
            }
            MANAGEMENT_ADDRESS => {
                let len = self.read_int("_management_address_string_length", 1, value)?;
                let family = value.u8()?;
                self.named("management_address_subtype", family, family_name(family));
                let Some(len) = len.checked_sub(1) else {
                    return Err(Halt::Invalid {
                        field: "_management_address_string_length",
                        value: len,
                    });
                };
                self.lldp_address("management_address", family, len as usize, value)?;
                let numbering = value.u8()?;
                let name = match numbering {
                    1 => Some("unknown"),
                    2 => Some("ifIndex"),
                    3 => Some("system port number"),
                    _ => None,
                };
                self.named("interface_numbering_subtype", numbering, name);
                self.read_int("interface_number", 4, value)?;
                let len = self.read_int("_oid_string_length", 1, value)?;
                self.read_bytes("object_id", len as usize, value)?;
            }
            ORGANISATION_SPECIFIC => {
                self.read_hex("org_code", 3, value)?;
                self.read_int("subtype", 1, value)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// What follows the subtype of a chassis or port id. `len` is the length of the whole value.
    fn lldp_id(
        &mut self,
        is_mac: bool,
        is_address: bool,
        len: usize,
        value: &mut Span<'a>,
    ) -> Result<(), Halt> {
        if is_mac && len == 7 {
            return self.read_mac("id", value);
        }
        if is_address {
            let family = value.u8()?;
            self.named("family", family, family_name(family));
            return self.lldp_address("id", family, len.saturating_sub(2), value);
        }
        self.read_bytes("id", len.saturating_sub(1), value)
    }

    fn lldp_address(
        &mut self,
        name: &'static str,
        family: u8,
        len: usize,
        value: &mut Span<'a>,
    ) -> Result<(), Halt> {
        match (family, len) {
            (IPV4, 4) => self.read_ipv4(name, value),
            (IPV6, 16) => {
                let address = value.array()?;
                self.field(name, Value::Ipv6(address));
                Ok(())
            }
            _ => self.read_bytes(name, len, value),
        }
    }
}

fn family_name(family: u8) -> Option<&'static str> {
    Some(match family {
        0 => "other",
        IPV4 => "IPv4",
        IPV6 => "IPv6",
        6 => "802",
        16 => "DNS",
        _ => return None,
    })
}
