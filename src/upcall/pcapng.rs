//! Upcalls as a pcapng capture, for Wireshark, tshark and whatever else reads one.
//!
//! The format is draft-ietf-opsawg-pcapng. One section, little-endian on every machine:
//!
//! * an interface description for each port at its first upcall, named as the PORT_NAME column
//!   names it (`eth0 (system@ovs-system)`), Ethernet, times in nanoseconds; and one more for each
//!   other link type of its packets, see below;
//! * an enhanced packet for each upcall, with the wall-clock time, both lengths, the direction
//!   (inbound) and a comment: `cpu=2 comm=handler4 pid=1381158 upcall_type=0 result=0`, then the
//!   decoded flow key if there is one. `pid` is the thread's id, as upcall_monitor.py has it. An
//!   upcall without packet bytes is a packet too, of captured length 0; if they could not be read,
//!   a line of the comment says so;
//! * at the end, an interface statistics block for each interface.
//!
//! # Link types
//!
//! An interface has one link type, so a port has an interface for each that its packets have:
//!
//! | [`Link`] | link type | behind the name of the port |
//! |---|---|---|
//! | `Ethernet` | `LINKTYPE_ETHERNET` | |
//! | `Network`, IPv4 or IPv6 | `LINKTYPE_RAW` | `, raw IP` |
//! | `Network`, any other | `LINKTYPE_LINUX_SLL` | `, cooked` |
//! | `Unknown` | `LINKTYPE_USER0` | `, unknown link type` |
//!
//! All but the first have a description (`if_description`). There is no link type for packets that
//! begin with NSH, for example, and tshark 4.0 decodes nothing of `LINKTYPE_MPLS`. So these get the
//! 16 bytes of a cooked header, which has the EtherType and nothing else that is known; the lengths
//! of such a packet include them. What a packet of the last
//! kind begins with is left to the reader, who can tell Wireshark (preferences, DLT_USER).
//!
//! Wireshark reads a capture with several link types; tcpdump reads none.
//!
//! # Where lost upcalls are counted
//!
//! What is lost before it could be read has no known port, so no port may claim it. In `isb_ifrecv`
//! and `isb_ifdrop`, the pair that dumpcap writes and Wireshark shows as "dropped packets":
//!
//! * nothing lost: each port has its upcalls received and 0 dropped;
//! * N lost: each port has its upcalls received and no drop count (it is unknown), and one more
//!   interface, [`LOST`], described at the end of the file, has N received and N dropped. capinfos
//!   shows no drop counts, so its description has the number too.
//!
//! So the drops of all interfaces add up to the number lost, and received less dropped to the
//! number of packets. There is no `epb_dropcount` for the same reason: it counts by interface.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::mem;

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, Endianness, PcapError};

use crate::ovs::packet::Link;
use crate::ovs::packet::names::{ETH_P_IP, ETH_P_IPV6};
use crate::show::columns::decimal;
use crate::show::escape::plain;
use crate::show::number::number;
use crate::upcall::event::Upcall;

/// Name of the interface that carries the count of lost upcalls. A capture has it only if upcalls were
/// lost, or if none were received.
pub const LOST: &str = "lost upcalls";

/// `if_tsresol`: times in units of 10^-9 s. Without it a reader takes them for microseconds.
const TSRESOL_NANOSECONDS: u8 = 9;

/// `epb_flags`, bits 0 and 1: 1 is inbound. The port of an upcall is the one that it came in by.
const EPB_FLAGS_INBOUND: u32 = 1;

/// The longest value that an option can have: its length is 16 bits wide.
const OPTION_MAX: usize = u16::MAX as usize;

/// The link types that an interface may have: [`LinkType::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkType {
    Ethernet,
    RawIp,
    Cooked,
    Unknown,
}

const LINK_TYPES: usize = 4;

/// The header of `LINKTYPE_LINUX_SLL`.
const SLL_HEADER: usize = 16;

impl LinkType {
    fn of(link: Link) -> Self {
        match link {
            Link::Ethernet => Self::Ethernet,
            Link::Network(ETH_P_IP | ETH_P_IPV6) => Self::RawIp,
            Link::Network(_) => Self::Cooked,
            Link::Unknown => Self::Unknown,
        }
    }

    fn number(self) -> DataLink {
        match self {
            Self::Ethernet => DataLink::ETHERNET,
            Self::RawIp => DataLink::RAW,
            Self::Cooked => DataLink::LINUX_SLL,
            Self::Unknown => DataLink::USER0,
        }
    }

    /// What follows the name of the port, and the description.
    fn words(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Ethernet => None,
            Self::RawIp => Some((
                ", raw IP",
                "packets without an Ethernet header, which begin with IPv4 or IPv6",
            )),
            Self::Cooked => Some((
                ", cooked",
                "packets without an Ethernet header; the 16 bytes before each are not of the packet, but say its EtherType",
            )),
            Self::Unknown => Some((
                ", unknown link type",
                "packets of which it is not known whether they begin with an Ethernet header, because their flow keys were cut or could not be read",
            )),
        }
    }
}

/// The header of `LINKTYPE_LINUX_SLL`: sent to this host, by a device without link-layer addresses (`ARPHRD_NONE`).
fn cooked_header(ether_type: u16) -> [u8; SLL_HEADER] {
    let mut header = [0; SLL_HEADER];
    header[2..4].copy_from_slice(&0xfffe_u16.to_be_bytes());
    header[14..].copy_from_slice(&ether_type.to_be_bytes());
    header
}

/// What made the capture, for the section header. Empty fields are not written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Section<'a> {
    /// The machine, for example `x86_64`.
    pub hardware: &'a str,
    /// The operating system, for example `Linux 6.12.9`.
    pub os: &'a str,
    /// Name and version of the program, for example `upcall-monitor 0.1.0`.
    pub application: &'a str,
    pub comment: &'a str,
}

/// What is known at the end of a capture.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Wall-clock time at which the capture began, in nanoseconds since 1970.
    pub start: u64,
    /// Wall-clock time at which it ended.
    pub end: u64,
    /// Upcalls that never reached the writer, for whatever reason.
    pub lost: u64,
}

/// Writes upcalls to `out` as pcapng.
///
/// Each block goes to `out` in one piece, so behind a `BufWriter` an output that ends early (a full
/// disk, a killed process) is valid up to its last whole block.
///
/// The first error of `out` is returned as it is. Nothing is written after it, because the output
/// may end within a block: later calls fail too.
pub struct Writer<W> {
    out: W,
    /// Encodes one block, which is then moved to `out`.
    encoder: PcapNgWriter<Vec<u8>>,
    snaplen: u32,
    /// By PORT_NAME text and link type.
    ids: HashMap<Box<str>, [Option<u32>; LINK_TYPES]>,
    /// Upcalls written, by interface.
    written: Vec<u64>,
    /// Bytes written.
    size: u64,
    /// The port and the link type of the last upcall, and the interface: upcalls come in runs.
    last: (String, LinkType, u32),
    /// Room for a packet with a cooked header.
    cooked: Vec<u8>,
    comment: String,
    options: Vec<EnhancedPacketOption<'static>>,
    failed: bool,
}

impl<W: Write> Writer<W> {
    /// Writes the section header, and flushes it.
    ///
    /// `snaplen` is the most bytes of a packet to keep, 0 for all.
    pub fn new(out: W, snaplen: u32, section: &Section<'_>) -> io::Result<Self> {
        let options = [
            (
                section.comment,
                SectionHeaderOption::Comment as fn(Cow<'static, str>) -> _,
            ),
            (section.hardware, SectionHeaderOption::Hardware),
            (section.os, SectionHeaderOption::OS),
            (section.application, SectionHeaderOption::UserApplication),
        ]
        .into_iter()
        .filter(|(text, _)| !text.is_empty())
        .map(|(text, option)| option(Cow::Owned(option_text(text).into_owned())))
        .collect();
        let header = SectionHeaderBlock {
            endianness: Endianness::Little,
            options,
            ..Default::default()
        };
        let mut writer = Self {
            out,
            encoder: PcapNgWriter::with_section_header(Vec::new(), header).map_err(io_error)?,
            snaplen,
            ids: HashMap::new(),
            written: Vec::new(),
            size: 0,
            last: (String::new(), LinkType::Ethernet, 0),
            cooked: Vec::new(),
            comment: String::new(),
            options: Vec::new(),
            failed: false,
        };
        writer.emit()?;
        // So that it is a capture, with nothing in it, if this process is killed before a packet comes.
        writer.flush()?;
        Ok(writer)
    }

    /// Writes one upcall as a packet, and before it the description of its interface if that is new.
    ///
    /// `link` is what its packet begins with. `port` is the PORT_NAME text, which says port and
    /// datapath. `time` is in nanoseconds since 1970. `key` is the decoded flow key, of any number of lines.
    pub fn write(
        &mut self,
        upcall: &Upcall<'_>,
        link: Link,
        port: &str,
        time: u64,
        key: Option<&str>,
    ) -> io::Result<()> {
        let interface_id = self.interface(port, LinkType::of(link))?;

        let mut comment = mem::take(&mut self.comment);
        comment.clear();
        describe(&mut comment, upcall, key);

        let packet = &upcall.packet;
        let captured = match self.snaplen {
            0 => packet.bytes.len(),
            snaplen => packet.bytes.len().min(snaplen as usize),
        };
        let (mut data, mut len) = (&packet.bytes[..captured], packet.len);
        let mut cooked = mem::take(&mut self.cooked);
        if let (LinkType::Cooked, Link::Network(ether_type)) = (LinkType::of(link), link) {
            cooked.clear();
            cooked.extend_from_slice(&cooked_header(ether_type));
            cooked.extend_from_slice(data);
            data = &cooked;
            len = len.saturating_add(SLL_HEADER as u32);
        }
        // The list of options lives as long as the comment that it borrows, its memory as long as
        // `self`.
        let mut options: Vec<EnhancedPacketOption<'_>> = mem::take(&mut self.options);
        options.push(EnhancedPacketOption::Comment(option_text(&comment)));
        options.push(EnhancedPacketOption::Flags(EPB_FLAGS_INBOUND));
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: std::time::Duration::from_nanos(time),
            // The format wants no packet longer than its original.
            original_len: len.max(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            data: Cow::Borrowed(data),
            options,
        }
        .into_block();
        let encoded = self.encoder.write_block(&block);
        if let Some(EnhancedPacketBlock { options, .. }) = block.into_enhanced_packet() {
            self.options = recycle(options);
        }
        self.comment = comment;
        self.cooked = cooked;
        encoded.map_err(io_error)?;
        self.emit()?;
        if let Some(written) = self.written.get_mut(interface_id as usize) {
            *written += 1;
        }
        Ok(())
    }

    /// How many bytes were written to `out`.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Flushes `out`.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes the interface statistics, flushes, and gives `out` back.
    pub fn finish(mut self, stats: &Stats) -> io::Result<W> {
        for id in 0..self.written.len() {
            let dropped = (stats.lost == 0).then_some(0);
            self.statistics(id as u32, stats, self.written[id], dropped)?;
        }
        // Some readers refuse a file without any interface, so a capture of nothing has this one.
        if stats.lost != 0 || self.written.is_empty() {
            // capinfos shows no statistics, but it does show this.
            let lost = number(stats.lost, "upcalls");
            let description = format!("{lost} lost by upcall-monitor: their ports are not known");
            let id = self.describe_interface(LOST, LinkType::Ethernet, Some(&description))?;
            self.statistics(id, stats, stats.lost, Some(stats.lost))?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    /// The number of the interface of a port's packets of this link type, which is described first if it is new.
    fn interface(&mut self, port: &str, link: LinkType) -> io::Result<u32> {
        let (last, last_link, id) = &self.last;
        if last == port && *last_link == link && !self.written.is_empty() {
            return Ok(*id);
        }
        let known = self.ids.get(port).and_then(|ids| ids[link as usize]);
        let id = match known {
            Some(id) => id,
            None => {
                let id = self.describe_interface(port, link, None)?;
                self.ids.entry(port.into()).or_default()[link as usize] = Some(id);
                id
            }
        };
        self.last.0.clear();
        self.last.0.push_str(port);
        (self.last.1, self.last.2) = (link, id);
        Ok(id)
    }

    fn describe_interface(
        &mut self,
        name: &str,
        link: LinkType,
        description: Option<&str>,
    ) -> io::Result<u32> {
        let id = self.written.len() as u32;
        let mut escaped = String::new();
        push_escaped(&mut escaped, name.as_bytes());
        let words = link.words();
        escaped.extend(words.map(|(suffix, _)| suffix));
        let description = description.or(words.map(|(_, description)| description));
        let snaplen = match (self.snaplen, link) {
            (1.., LinkType::Cooked) => self.snaplen.saturating_add(SLL_HEADER as u32),
            (snaplen, _) => snaplen,
        };
        let mut options = vec![InterfaceDescriptionOption::IfName(option_text(&escaped))];
        options.extend(
            description.map(|text| InterfaceDescriptionOption::IfDescription(Cow::Borrowed(text))),
        );
        options.push(InterfaceDescriptionOption::IfTsResol(TSRESOL_NANOSECONDS));
        let block = InterfaceDescriptionBlock {
            linktype: link.number(),
            snaplen,
            options,
        };
        self.encoder
            .write_block(&block.into_block())
            .map_err(io_error)?;
        self.emit()?;
        self.written.push(0);
        Ok(id)
    }

    fn statistics(
        &mut self,
        interface_id: u32,
        stats: &Stats,
        received: u64,
        dropped: Option<u64>,
    ) -> io::Result<()> {
        let mut options = vec![
            InterfaceStatisticsOption::IsbStartTime(high_word_first(stats.start)),
            InterfaceStatisticsOption::IsbEndTime(high_word_first(stats.end)),
            InterfaceStatisticsOption::IsbIfRecv(received),
        ];
        options.extend(dropped.map(InterfaceStatisticsOption::IsbIfDrop));
        let timestamp = high_word_first(stats.end);
        let block = InterfaceStatisticsBlock {
            interface_id,
            timestamp,
            options,
        };
        self.encoder
            .write_block(&block.into_block())
            .map_err(io_error)?;
        self.emit()
    }

    /// Moves the encoded block to `out`.
    fn emit(&mut self) -> io::Result<()> {
        if self.failed {
            self.encoder.get_mut().clear();
            return Err(io::Error::other("the capture ended at an earlier error"));
        }
        let result = self.out.write_all(self.encoder.get_ref());
        self.size += self.encoder.get_ref().len() as u64;
        self.encoder.get_mut().clear();
        self.failed = result.is_err();
        result
    }
}

/// pcap-file writes the times of a statistics block as one 64-bit number. The format has two 32-bit
/// words, the high one first, in either byte order; in little-endian that is the number with its
/// halves swapped.
fn high_word_first(time: u64) -> u64 {
    time.rotate_left(32)
}

/// An empty list in the memory of this one, without its borrows.
fn recycle(mut options: Vec<EnhancedPacketOption<'_>>) -> Vec<EnhancedPacketOption<'static>> {
    options.clear();
    options
        .into_iter()
        .map(|_| unreachable!("the list is empty"))
        .collect()
}

fn io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        error => io::Error::other(error),
    }
}

/// The comment of a packet: upcall_monitor.py's line, then what else there is to say, a line each.
fn describe(comment: &mut String, upcall: &Upcall<'_>, key: Option<&str>) {
    comment.push_str("cpu=");
    decimal(comment, upcall.cpu);
    comment.push_str(" comm=");
    push_escaped(comment, upcall.comm);
    comment.push_str(" pid=");
    decimal(comment, upcall.tid);
    comment.push_str(" upcall_type=");
    decimal(comment, upcall.kind);
    comment.push_str(" result=");
    decimal(comment, upcall.result);
    if let Some(errno) = upcall.packet.error {
        // Writing to a String cannot fail.
        let _ = write!(comment, "\npacket unreadable: errno {errno}");
    }
    if let Some(key) = key {
        comment.push('\n');
        comment.push_str(key);
    }
}

/// Another process chose these bytes: each byte that is no UTF-8 or belongs to a control character
/// becomes `\xNN`, and a backslash `\\`.
fn push_escaped(text: &mut String, bytes: &[u8]) {
    if let Some(plain) = plain(bytes).filter(|plain| !plain.contains('\\')) {
        return text.push_str(plain);
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str(r"\\"),
                c if c.is_control() => push_hex(text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        push_hex(text, chunk.invalid());
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, r"\x{byte:02x}");
    }
}

/// `text` as the value of an option: its beginning and `...` if it is too long for one.
fn option_text(text: &str) -> Cow<'_, str> {
    if text.len() <= OPTION_MAX {
        return Cow::Borrowed(text);
    }
    const MORE: &str = "...";
    let mut end = OPTION_MAX - MORE.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}{MORE}", &text[..end]))
}
