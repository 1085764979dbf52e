//! What watches over links and tunnels: BFD and CFM.

use super::{Decoder, Halt, Span, Value, Visitor};

/// Lowest bit first.
const BFD_FLAGS: &[&str] = &["M", "D", "A", "C", "F", "P"];
const BFD_AUTHENTICATION: u8 = 0x04;
/// Length of a BFD packet without authentication, in bytes.
const BFD_LEN: u64 = 24;

// Opcodes of CFM (IEEE 802.1Q, table 21-4).
const CFM_CCM: u64 = 1;
const CFM_LBR: u64 = 2;
const CFM_LBM: u64 = 3;
const CFM_LTR: u64 = 4;
const CFM_LTM: u64 = 5;

impl<'a, V: Visitor> Decoder<'_, V> {
    /// RFC 5880.
    pub(super) fn bfd(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("BFD");
        let byte = span.u8()?;
        let (version, diagnostic) = (byte >> 5, byte & 31);
        self.int("version", version);
        if version != 1 {
            return Err(Halt::Undecoded {
                field: "version",
                value: version.into(),
            });
        }
        let name = match diagnostic {
            0 => Some("No Diagnostic"),
            1 => Some("Control Detection Time Expired"),
            2 => Some("Echo Function Failed"),
            3 => Some("Neighbor Signaled Session Down"),
            4 => Some("Forwarding Plane Reset"),
            5 => Some("Path Down"),
            6 => Some("Concatenated Path Down"),
            7 => Some("Administratively Down"),
            8 => Some("Reverse Concatenated Path Down"),
            9 => Some("Mis-Connectivity Defect"),
            _ => None,
        };
        self.named("diag", diagnostic, name);
        let byte = span.u8()?;
        let (state, flags) = (byte >> 6, byte & 63);
        let name = ["AdminDown", "Down", "Init", "Up"][usize::from(state)];
        self.named("sta", state, Some(name));
        self.flags("flags", flags, BFD_FLAGS, "");
        self.read_int("detect_mult", 1, span)?;
        let len = self.read_int("len", 1, span)?;
        for name in [
            "my_discriminator",
            "your_discriminator",
            "min_tx_interval",
            "min_rx_interval",
            "echo_rx_interval",
        ] {
            self.read_int(name, 4, span)?;
        }
        let Some(len) = len.checked_sub(BFD_LEN) else {
            return Err(Halt::Invalid {
                field: "len",
                value: len,
            });
        };
        let authenticated = flags & BFD_AUTHENTICATION != 0;
        self.bounded(len as usize, span, |this, span| {
            if authenticated {
                this.read_int("auth_type", 1, span)?;
                this.read_int("auth_len", 1, span)?;
                this.field("auth_data", Value::Bytes(span.rest()));
            } else {
                this.raw(*span);
            }
            Ok(())
        });
        Ok(())
    }

    /// IEEE 802.1Q, 21, and ITU-T G.8013 (Y.1731): the head, continuity checks, loopbacks, link traces; of other
    /// messages the TLVs.
    pub(super) fn cfm(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("CFM");
        let byte = span.u8()?;
        self.int("level", byte >> 5);
        self.int("version", byte & 31);
        let opcode = span.u8()?.into();
        self.named("opcode", opcode, cfm_opcode(opcode));
        self.read_hex("flags", 1, span)?;
        let offset = self.read_int("first_tlv_offset", 1, span)?;
        self.option_value(offset as usize, "data", span, |this, span| match opcode {
            CFM_CCM => {
                this.read_int("sequence_number", 4, span)?;
                this.read_int("mep_id", 2, span)?;
                this.read_bytes("maid", 48, span)?;
                for name in ["TxFCf", "RxFCb", "TxFCb", "reserved"] {
                    this.read_int(name, 4, span)?;
                }
                Ok(())
            }
            CFM_LBR | CFM_LBM => this.read_int("transaction_id", 4, span).map(|_| ()),
            CFM_LTR => {
                this.read_int("transaction_id", 4, span)?;
                this.read_int("ttl", 1, span)?;
                this.read_int("relay_action", 1, span)?;
                Ok(())
            }
            CFM_LTM => {
                this.read_int("transaction_id", 4, span)?;
                this.read_int("ttl", 1, span)?;
                this.read_mac("original_mac", span)?;
                this.read_mac("target_mac", span)
            }
            _ => Ok(()),
        })?;
        self.ended_list("tlvs", *span, |this, span| {
            this.layer("CFM TLV");
            let kind = span.u8()?;
            let name = match kind {
                0 => Some("End"),
                1 => Some("Sender ID"),
                2 => Some("Port Status"),
                3 => Some("Data"),
                4 => Some("Interface Status"),
                5 => Some("Reply Ingress"),
                6 => Some("Reply Egress"),
                7 => Some("LTM Egress Identifier"),
                8 => Some("LTR Egress Identifier"),
                31 => Some("Organization-Specific"),
                32 => Some("Test"),
                _ => None,
            };
            this.named("type", kind, name);
            if kind == 0 {
                return Ok(false);
            }
            let len = this.read_int("length", 2, span)?;
            this.read_bytes("value", len as usize, span)?;
            Ok(true)
        });
        Ok(())
    }
}

fn cfm_opcode(opcode: u64) -> Option<&'static str> {
    Some(match opcode {
        CFM_CCM => "CCM",
        CFM_LBR => "LBR",
        CFM_LBM => "LBM",
        CFM_LTR => "LTR",
        CFM_LTM => "LTM",
        33 => "AIS",
        35 => "LCK",
        37 => "TST",
        39 => "APS",
        40 => "RAPS",
        41 => "MCC",
        42 => "LMR",
        43 => "LMM",
        45 => "1DM",
        46 => "DMR",
        47 => "DMM",
        48 => "EXR",
        49 => "EXM",
        50 => "VSR",
        51 => "VSM",
        52 => "CSF",
        53 => "1SL",
        54 => "SLR",
        55 => "SLM",
        _ => return None,
    })
}
