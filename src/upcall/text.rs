//! The table: a row for each upcall, and below it the flow key and the packet if they were asked for.
//!
//! Columns, widths and values are those of `upcall_monitor.py` of Open vSwitch 3.6 and later
//! (`utilities/usdt-scripts`), so that scripts which read its output go on working.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use clap::ValueEnum;

use crate::ovs::flow_key;
use crate::ovs::packet::{self, Link};
use crate::show::columns::{column, decimal};
use crate::show::decode::Decode;
use crate::show::escape::escape;
use crate::show::hexdump;
use crate::show::message::cause;
use crate::trace::captured::Captured;
use crate::upcall::event::Upcall;

/// How a packet is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PacketDecode {
    None,
    /// Bytes
    Hex,
    /// Layers and fields
    Decode,
}

const INDENT: usize = 4;

/// Select Graphic Rendition of ECMA-48: red, and as it was.
const RED: &str = "\x1b[31m";
const NORMAL: &str = "\x1b[0m";

/// Writes the table to `out`, an event at a time.
pub struct Table<W: Write> {
    out: W,
    packet_decode: PacketDecode,
    /// Announce each packet, because it is shown or written to a file.
    announce: bool,
    packets: u64,
    /// Upcalls that failed are red.
    color: bool,
    text: String,
}

impl<W: Write> Table<W> {
    /// Begins with the header. `capture` says that packets are written to a file, `color` that `out` is shown in
    /// colours.
    pub fn new(
        mut out: W,
        packet_decode: PacketDecode,
        capture: bool,
        color: bool,
    ) -> io::Result<Self> {
        writeln!(
            out,
            "{:<18} {:<4} {:<16} {:<10} {:<40} {:<4} {:<10} {:<12} {:<8}",
            "TIME", "CPU", "COMM", "PID", "PORT_NAME", "TYPE", "PKT_LEN", "FLOW_KEY_LEN", "RESULT"
        )?;
        Ok(Self {
            out,
            packet_decode,
            announce: capture || packet_decode != PacketDecode::None,
            packets: 0,
            color,
            text: String::new(),
        })
    }

    /// Shows one upcall. `link` is what its packet begins with, which only matters if packets are announced. `port` is
    /// the name of its port, or what stands for it; `key` the lines of [`key_lines`].
    pub fn upcall(
        &mut self,
        upcall: &Upcall<'_>,
        link: Link,
        port: &str,
        key: &str,
    ) -> io::Result<()> {
        self.text.clear();
        let red = self.color && upcall.result != 0;
        if red {
            self.text.push_str(RED);
        }
        row(&mut self.text, upcall, port).map_err(io::Error::other)?;
        if red {
            self.text.pop();
            self.text.push_str(NORMAL);
            self.text.push('\n');
        }
        self.text.push_str(key);
        let packet = &upcall.packet;
        if packet.len > 0 {
            self.packets += 1;
        }
        let shown = self.announce && packet.len > 0;
        if shown {
            self.announce(upcall, link, port)
                .map_err(io::Error::other)?;
        }
        self.out.write_all(self.text.as_bytes())?;
        if shown && packet.error.is_none() && self.packet_decode == PacketDecode::Decode {
            let len = packet.len as usize;
            packet::show(packet.bytes, len, link, &mut self.out, INDENT)?;
        }
        Ok(())
    }

    fn announce(&mut self, upcall: &Upcall<'_>, link: Link, port: &str) -> fmt::Result {
        let (packet, paged) = (&upcall.packet, upcall.paged);
        let text = &mut self.text;
        text.push_str("  ");
        decimal(text, self.packets);
        text.push_str(": Receive dp_port ");
        escape(text, port.as_bytes())?;
        text.push_str(", packet size ");
        decimal(text, packet.len);
        text.push_str(" bytes, ");
        captured(text, packet)?;
        if paged > 0 {
            // Before the end of the line.
            text.truncate(text.len() - ".\n".len());
            writeln!(
                text,
                "; {paged} bytes are in pages, which are not captured."
            )?;
        }
        if let Link::Network(ether_type) = link {
            writeln!(
                text,
                "    It has no Ethernet header; its EtherType is {ether_type:#06x}."
            )?;
        }
        if packet.error.is_none() && self.packet_decode == PacketDecode::Hex {
            hexdump::write(text, packet.bytes, INDENT)?;
        }
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn row(text: &mut String, upcall: &Upcall<'_>, port: &str) -> fmt::Result {
    let seconds = upcall.time / 1_000_000_000;
    let nanoseconds = upcall.time % 1_000_000_000;
    column(text, 18, |c| {
        decimal(c, seconds);
        c.push('.');
        // All nine digits, behind the first of this number.
        let padded = nanoseconds + 1_000_000_000;
        c.push_str(&itoa::Buffer::new().format(padded)[1..]);
        Ok(())
    })?;
    let number = |text: &mut String, width, number: u32| {
        column(text, width, |c| {
            decimal(c, number);
            Ok(())
        })
    };
    number(text, 4, upcall.cpu)?;
    column(text, 16, |c| escape(c, upcall.comm))?;
    number(text, 10, upcall.tid)?;
    column(text, 40, |c| {
        escape(c, port.as_bytes())?;
        c.push_str(" (");
        escape(c, upcall.datapath)?;
        c.push(')');
        Ok(())
    })?;
    number(text, 4, upcall.kind)?;
    number(text, 10, upcall.packet.len)?;
    number(text, 12, upcall.key.len)?;
    column(text, 8, |c| {
        decimal(c, upcall.result);
        Ok(())
    })?;
    text.pop();
    text.push('\n');
    Ok(())
}

/// Appends the lines that show a flow key: one with its sizes, then the key itself.
pub fn key_lines(text: &mut String, key: &Captured<'_>, decode: Decode) -> fmt::Result {
    if decode == Decode::None || (key.bytes.is_empty() && key.error.is_none()) {
        return Ok(());
    }
    text.push_str("  Flow key size ");
    decimal(text, key.len);
    text.push_str(" bytes, ");
    captured(text, key)?;
    if key.error.is_some() {
        return Ok(());
    }
    match decode {
        Decode::None => Ok(()),
        Decode::Hex => hexdump::write(text, key.bytes, INDENT),
        Decode::Nlraw => flow_key::nlraw(key.bytes, text),
        Decode::Odp => {
            write!(text, "{:INDENT$}", "")?;
            flow_key::odp(key.bytes, text)?;
            text.push('\n');
            let beside = flow_key::beside_odp(key.bytes);
            if let Some(headers) = beside.ipv6_exthdrs {
                writeln!(text, "{:INDENT$}and ipv6_exthdrs({headers:#06x})", "")?;
            }
            if let Some(what) = beside.not_for_trace {
                writeln!(text, "{:INDENT$}ofproto/trace does not take {what}", "")?;
            }
            Ok(())
        }
    }
}

/// The end of a line that says how much of something was captured.
fn captured(text: &mut String, captured: &Captured<'_>) -> fmt::Result {
    match captured.error {
        Some(errno) => writeln!(
            text,
            "unreadable ({}).",
            cause(&io::Error::from_raw_os_error(errno))
        ),
        None => {
            text.push_str("size captured ");
            decimal(text, captured.bytes.len());
            text.push_str(" bytes.\n");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(upcalls: &[(Upcall<'_>, &str)], decode: PacketDecode) -> String {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, decode, false, false).unwrap();
        for (upcall, port) in upcalls {
            table.upcall(upcall, upcall.link(), port, "").unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    /// Check that in colours the row of an upcall that failed is red, without its end, and no other is.
    #[test]
    fn failed_is_red() {
        let failed = Upcall {
            result: -105,
            ..upcall()
        };
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, PacketDecode::None, false, true).unwrap();
        for upcall in [upcall(), failed] {
            table
                .upcall(&upcall, Link::Unknown, "eth0", "  key\n")
                .unwrap();
        }
        let colored = String::from_utf8(out).unwrap();
        let plain = rows(&[(upcall(), "eth0"), (failed, "eth0")], PacketDecode::None);
        let plain: Vec<&str> = plain.lines().collect();
        let colored: Vec<&str> = colored.lines().collect();
        assert_eq!(colored[..2], plain[..2]);
        assert_eq!(colored[3], format!("\x1b[31m{}\x1b[0m", plain[2]));
        assert_eq!((colored[2], colored[4]), ("  key", "  key"));
    }

    fn upcall() -> Upcall<'static> {
        Upcall {
            time: 5_953_013_333_214_231,
            cpu: 2,
            pid: 1_381_100,
            tid: 1_381_158,
            comm: b"handler4",
            datapath: b"system@ovs-system",
            packet: Captured {
                len: 98,
                bytes: &[],
                error: None,
            },
            key: Captured {
                len: 132,
                bytes: &[],
                error: None,
            },
            ..Upcall::default()
        }
    }

    /// Check that header and rows are those of upstream's documentation, trailing spaces included.
    #[test]
    fn like_upstream() {
        let drop = Upcall {
            time: 5_953_014_123_456_789,
            cpu: 3,
            tid: 0,
            comm: b"swapper/3",
            datapath: b"ovs-system",
            kind: 1,
            result: -105,
            packet: Captured {
                len: 58,
                ..Default::default()
            },
            key: Captured::default(),
            ..upcall()
        };
        let expected = "\
TIME               CPU  COMM             PID        PORT_NAME                                TYPE PKT_LEN    FLOW_KEY_LEN RESULT  
5953013.333214231  2    handler4         1381158    eth0 (system@ovs-system)                 0    98         132          0       
5953014.123456789  3    swapper/3        0          eth0 (ovs-system)                        1    58         0            -105    
";
        let shown = rows(&[(upcall(), "eth0"), (drop, "eth0")], PacketDecode::None);
        assert_eq!(shown, expected);
    }

    /// Check that a value wider than its column pushes the others away and is not cut.
    #[test]
    fn wide_values() {
        let wide = Upcall {
            time: u64::MAX,
            cpu: 12345,
            ..upcall()
        };
        let shown = rows(
            &[(wide, "a-port-with-a-long-name-indeed")],
            PacketDecode::None,
        );
        let row = shown.lines().nth(1).unwrap();
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            [
                "18446744073.709551615",
                "12345",
                "handler4",
                "1381158",
                "a-port-with-a-long-name-indeed",
                "(system@ovs-system)",
                "0",
                "98",
                "132",
                "0"
            ]
        );
    }

    /// Check that names which other processes chose can neither end a row nor steer a terminal.
    #[test]
    fn escaped_names() {
        let odd = Upcall {
            comm: b"a\nb\x1b[2J\xff\xc3\xa9",
            ..upcall()
        };
        let shown = rows(&[(odd, "p\rq")], PacketDecode::None);
        assert_eq!(shown.lines().count(), 2);
        let row = shown.lines().nth(1).unwrap();
        assert!(row.contains("a\\nb\\u{1b}[2J\\xff\u{e9} "), "{row:?}");
        assert!(row.contains("p\\rq (system@ovs-system)"), "{row:?}");
    }

    /// Check that packets are numbered whether or not each is announced, and that unread bytes are not shown.
    #[test]
    fn unreadable_packet() {
        let unreadable = Upcall {
            packet: Captured {
                len: 98,
                bytes: &[],
                error: Some(14),
            },
            ..upcall()
        };
        let empty = Upcall {
            packet: Captured::default(),
            ..upcall()
        };
        let shown = rows(
            &[(empty, "1"), (unreadable, "eth0"), (unreadable, "eth1")],
            PacketDecode::Hex,
        );
        let last = shown.lines().last().unwrap();
        assert_eq!(
            last,
            "  2: Receive dp_port eth1, packet size 98 bytes, unreadable (Bad address)."
        );
    }
}
