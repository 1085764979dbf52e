//! SCTP.

use super::{Decoder, Halt, Span, Visitor};

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_COMPLETE: u8 = 14;

impl<'a, V: Visitor> Decoder<'_, V> {
    /// RFC 9260. Of parameters and causes of errors the bytes are shown.
    pub(super) fn sctp(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer(if self.quoted { "SCTP in ICMP" } else { "SCTP" });
        let sport = span.u16()?;
        self.int("sport", sport);
        let dport = span.u16()?;
        self.int("dport", dport);
        let tag = span.u32()?;
        self.hex("tag", tag);
        let chksum = span.u32()?;
        self.hex("chksum", chksum);
        if !span.is_empty() {
            self.list("chunks", *span, Self::sctp_chunk);
        }
        Ok(())
    }

    fn sctp_chunk(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        /// Length of type, flags and length, in bytes.
        const HEAD_LEN: usize = 4;
        let (layer, name) = match span.bytes.first() {
            Some(&DATA) => ("SCTPChunkData", Some("data")),
            Some(&INIT) => ("SCTPChunkInit", Some("init")),
            Some(&INIT_ACK) => ("SCTPChunkInitAck", Some("init-ack")),
            Some(&SACK) => ("SCTPChunkSACK", Some("sack")),
            Some(4) => ("SCTPChunkHeartbeatReq", Some("heartbeat-req")),
            Some(5) => ("SCTPChunkHeartbeatAck", Some("heartbeat-ack")),
            Some(&ABORT) => ("SCTPChunkAbort", Some("abort")),
            Some(&SHUTDOWN) => ("SCTPChunkShutdown", Some("shutdown")),
            Some(8) => ("SCTPChunkShutdownAck", Some("shutdown-ack")),
            Some(9) => ("SCTPChunkError", Some("error")),
            Some(10) => ("SCTPChunkCookieEcho", Some("cookie-echo")),
            Some(11) => ("SCTPChunkCookieAck", Some("cookie-ack")),
            Some(&SHUTDOWN_COMPLETE) => ("SCTPChunkShutdownComplete", Some("shutdown-complete")),
            Some(15) => ("SCTPChunkAuthentication", Some("authentication")),
            Some(128) => ("SCTPChunkAddressConfAck", Some("address-configuration-ack")),
            Some(193) => ("SCTPChunkAddressConf", Some("address-configuration")),
            _ => ("SCTPChunk", None),
        };
        self.layer(layer);
        let kind = span.u8()?;
        self.named("type", kind, name);
        let flags = span.u8()?;
        match kind {
            DATA => {
                self.int("reserved", flags >> 4);
                self.int("delay_sack", flags >> 3 & 1);
                self.int("unordered", flags >> 2 & 1);
                self.int("beginning", flags >> 1 & 1);
                self.int("ending", flags & 1);
            }
            ABORT | SHUTDOWN_COMPLETE => {
                self.int("reserved", flags >> 1);
                self.int("TCB", flags & 1);
            }
            _ => self.hex("flags", flags),
        }
        let len = usize::from(span.u16()?);
        self.int("len", len as u64);
        let Some(value_len) = len.checked_sub(HEAD_LEN) else {
            return Err(Halt::Invalid {
                field: "len",
                value: len as u64,
            });
        };
        let rest = match kind {
            INIT | INIT_ACK | 4 | 5 => "params",
            ABORT | 9 => "error_causes",
            10 => "cookie",
            _ => "data",
        };
        self.option_value(value_len, rest, span, |this, value| {
            match kind {
                DATA => {
                    this.read_hex("tsn", 4, value)?;
                    this.read_hex("stream_id", 2, value)?;
                    this.read_hex("stream_seq", 2, value)?;
                    this.read_int("proto_id", 4, value)?;
                }
                INIT | INIT_ACK => {
                    this.read_hex("init_tag", 4, value)?;
                    this.read_int("a_rwnd", 4, value)?;
                    this.read_int("n_out_streams", 2, value)?;
                    this.read_int("n_in_streams", 2, value)?;
                    this.read_hex("init_tsn", 4, value)?;
                }
                SACK => {
                    this.read_hex("cumul_tsn_ack", 4, value)?;
                    this.read_int("a_rwnd", 4, value)?;
                    this.read_int("n_gap_ack", 2, value)?;
                    this.read_int("n_dup_tsn", 2, value)?;
                }
                SHUTDOWN => {
                    this.read_hex("cumul_tsn_ack", 4, value)?;
                }
                _ => {}
            }
            Ok(())
        })?;
        // Chunks are padded to words of 4 bytes.
        span.split(len.next_multiple_of(4) - len);
        Ok(())
    }
}
