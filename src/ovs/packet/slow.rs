//! The slow protocols: LACP, the marker protocol and OAM of a link.

use super::{Decoder, Halt, Span, Value, Visitor};

impl<'a, V: Visitor> Decoder<'_, V> {
    /// IEEE 802.3, 57A.
    pub(super) fn slow(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("SlowProtocol");
        let subtype = span.u8()?;
        let name = match subtype {
            0 => Some("Unused"),
            1 => Some("LACP"),
            2 => Some("Marker Protocol"),
            3 => Some("OAM"),
            10 => Some("OSSP"),
            _ => None,
        };
        self.named("subtype", subtype, name);
        match subtype {
            1 => self.run(*span, Self::lacp),
            2 => self.run(*span, Self::marker),
            3 => self.run(*span, Self::link_oam),
            _ => self.undecoded("subtype", Value::Int(subtype.into()), name, *span),
        }
        Ok(())
    }

    /// IEEE 802.1AX, 6.4.2. What version 2 adds is `Raw`.
    fn lacp(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        const ACTOR: [&str; 9] = [
            "actor_type",
            "actor_length",
            "actor_system_priority",
            "actor_system",
            "actor_key",
            "actor_port_priority",
            "actor_port_number",
            "actor_state",
            "actor_reserved",
        ];
        const PARTNER: [&str; 9] = [
            "partner_type",
            "partner_length",
            "partner_system_priority",
            "partner_system",
            "partner_key",
            "partner_port_priority",
            "partner_port_number",
            "partner_state",
            "partner_reserved",
        ];
        self.layer("LACP");
        let version = self.read_int("version", 1, span)?;
        for names in [ACTOR, PARTNER] {
            let [
                kind,
                len,
                priority,
                system,
                key,
                port_priority,
                port,
                state,
                reserved,
            ] = names;
            self.read_int(kind, 1, span)?;
            self.read_int(len, 1, span)?;
            self.read_int(priority, 2, span)?;
            self.read_mac(system, span)?;
            for name in [key, port_priority, port] {
                self.read_int(name, 2, span)?;
            }
            self.read_int(state, 1, span)?;
            self.read_bytes(reserved, 3, span)?;
        }
        self.read_int("collector_type", 1, span)?;
        self.read_int("collector_length", 1, span)?;
        self.read_int("collector_max_delay", 2, span)?;
        self.read_bytes("collector_reserved", 12, span)?;
        if version != 1 {
            return Err(Halt::Undecoded {
                field: "version",
                value: version,
            });
        }
        self.terminator(50, span)
    }

    /// IEEE 802.1AX, 6.5.3.
    fn marker(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("MarkerProtocol");
        self.read_int("version", 1, span)?;
        let kind = span.u8()?;
        let name = match kind {
            1 => Some("Marker Request"),
            2 => Some("Marker Response"),
            _ => None,
        };
        self.named("marker_type", kind, name);
        self.read_int("marker_length", 1, span)?;
        self.read_int("requester_port", 2, span)?;
        self.read_mac("requester_system", span)?;
        self.read_int("requester_transaction_id", 4, span)?;
        self.read_bytes("marker_reserved", 2, span)?;
        self.terminator(90, span)
    }

    /// The end of LACP and of the marker protocol, with `reserved` bytes.
    fn terminator(&mut self, reserved: usize, span: &mut Span<'a>) -> Result<(), Halt> {
        self.read_int("terminator_type", 1, span)?;
        self.read_int("terminator_length", 1, span)?;
        self.read_bytes("reserved", reserved, span)?;
        self.padding(*span);
        Ok(())
    }

    /// IEEE 802.3, 57.4: the TLVs of information; those of other codes are not decoded.
    fn link_oam(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        const INFORMATION: u64 = 0;
        self.layer("OAM");
        self.read_hex("flags", 2, span)?;
        let code = span.u8()?.into();
        let name = match code {
            INFORMATION => Some("Information"),
            1 => Some("Event Notification"),
            2 => Some("Variable Request"),
            3 => Some("Variable Response"),
            4 => Some("Loopback Control"),
            0xfe => Some("Organization Specific"),
            _ => None,
        };
        self.named("code", code, name);
        if code != INFORMATION {
            self.undecoded("code", Value::Int(code), name, *span);
            return Ok(());
        }
        self.ended_list("tlvs", *span, |this, span| {
            this.layer("OAM TLV");
            let kind = this.read_int("type", 1, span)?;
            if kind == 0 {
                return Ok(false);
            }
            let len = this.read_int("length", 1, span)?;
            let Some(len) = len.checked_sub(2) else {
                return Err(Halt::Invalid {
                    field: "length",
                    value: len,
                });
            };
            this.read_bytes("data", len as usize, span)?;
            Ok(true)
        });
        Ok(())
    }
}
