//! A row for each operation, and below it what the request says.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use clap::ValueEnum;

use crate::dpif_ops::event::Op;
use crate::ovs::flow_key::{nlraw, odp_masked};
use crate::ovs::flow_request::{Operation, Request};
use crate::ovs::ports::PortNames;
use crate::ovs::{actions, flow_request};
use crate::show::escape::Escaped;
use crate::show::hexdump;

/// How requests are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Decode {
    /// Not at all
    None,
    /// As ovs-dpctl dump-flows -m shows flows
    Odp,
    /// Netlink attribute by attribute
    Nlraw,
    /// As bytes
    Hex,
}

/// An operation, with what is known of it besides its record.
pub struct Row<'a> {
    pub op: &'a Op<'a>,
    /// None if the request is shorter than its headers.
    pub request: Option<&'a Request<'a>>,
    /// The name of the datapath.
    pub datapath: Option<&'a [u8]>,
    pub ports: Option<&'a PortNames>,
    /// Nanoseconds since 1970.
    pub wall_time: u64,
}

impl Row<'_> {
    /// The name of a port of the datapath.
    pub fn port(&self, number: u32) -> Option<Escaped<'_>> {
        let name = self.ports?.known(self.datapath?, number)?;
        Some(Escaped::text(name))
    }

    /// What the datapath is called, or its number.
    pub fn datapath_text(&self) -> String {
        match (self.datapath, self.request) {
            (Some(name), _) => Escaped(name).to_string(),
            (None, Some(request)) => request.headers.dp_ifindex.get().to_string(),
            (None, None) => "Unknown".to_string(),
        }
    }

    /// `put create`, `put modify probe`, `del`: the operation, of a put what becomes of the flow, and whether ovs-vswitchd
    /// only tries what the datapath can do.
    pub fn title(&self) -> String {
        let operation = self.op.operation;
        let mut title = operation.name().to_string();
        if let Some(request) = self.request {
            match request.command() {
                Some(command) if operation == Operation::Put => {
                    title.push(' ');
                    title.push_str(command.name());
                }
                _ => {}
            }
            if request.is_probe() {
                title.push_str(" probe");
            }
        }
        title
    }
}

/// Writes rows, and what is below them.
pub struct Table<W> {
    out: W,
    decode: Decode,
    text: String,
}

impl<W: Write> Table<W> {
    /// Writes the heading.
    pub fn new(mut out: W, decode: Decode) -> io::Result<Self> {
        writeln!(
            out,
            "{:<18} {:<4} {:<16} {:<10} {:<16} {:<20} REQUEST",
            "TIME", "CPU", "COMM", "TID", "OPERATION", "DATAPATH"
        )?;
        let text = String::new();
        Ok(Self { out, decode, text })
    }

    pub fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.text.clear();
        // Writing to a String cannot fail.
        let _ = write_row(&mut self.text, row, self.decode);
        self.out.write_all(self.text.as_bytes())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn write_row(out: &mut String, row: &Row<'_>, decode: Decode) -> fmt::Result {
    let Op { time, request, .. } = row.op;
    let time = format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000);
    write!(
        out,
        "{time:<18} {:<4} {:<16} {:<10} {:<16} {:<20} {} bytes",
        row.op.cpu,
        Escaped(row.op.comm),
        row.op.tid,
        row.title(),
        row.datapath_text(),
        request.len
    )?;
    match request.error {
        Some(errno) => write!(out, ", which could not be read (errno {errno})")?,
        None if request.bytes.len() < request.len as usize => {
            write!(out, ", {} captured", request.bytes.len())?;
        }
        None => {}
    }
    out.push('\n');
    if request.error.is_some() || decode == Decode::None {
        return Ok(());
    }
    if decode == Decode::Hex {
        return hexdump::write(out, request.bytes, 4);
    }
    let Some(parsed) = row.request else {
        return writeln!(out, "    too short for the headers of a request");
    };
    if decode == Decode::Odp {
        out.push_str("    ");
        write_odp(out, row, parsed)?;
        out.push('\n');
    } else {
        write_nlraw(out, parsed)?;
    }
    for problem in parsed.problems() {
        writeln!(out, "    warning: {problem}")?;
    }
    Ok(())
}

/// `ufid:..., in_port(p0),..., actions:p1`, without the statistics that `ovs-dpctl dump-flows -m` has in between.
fn write_odp(out: &mut String, row: &Row<'_>, request: &Request<'_>) -> fmt::Result {
    let mut separator = "";
    if let Some(ufid) = request.ufid() {
        write!(out, "{ufid}")?;
        separator = ", ";
    }
    if let Some(key) = request.key() {
        out.push_str(separator);
        let port = |number| row.port(number);
        odp_masked(&key, request.mask().as_ref(), true, port, out)?;
        separator = ", ";
    }
    if let Some(packet) = request.packet() {
        write!(out, "{separator}packet of {} bytes", packet.payload_len())?;
        separator = ", ";
    }
    if let Some(list) = request.actions() {
        write!(out, "{separator}actions:")?;
        actions::odp(&list, |number| row.port(number), out)?;
    }
    Ok(())
}

fn write_nlraw(out: &mut String, request: &Request<'_>) -> fmt::Result {
    for attribute in request.attributes() {
        let name = request.name(attribute.kind).unwrap_or("<UNKNOWN>");
        let (len, kind) = (attribute.len, attribute.kind);
        write!(out, "    nla_len {len}, nla_type {name}[{kind}], data:")?;
        for byte in attribute.payload {
            write!(out, " {byte:02x}")?;
        }
        out.push('\n');
        let keys = match request.is_packet() {
            true => &[flow_request::OVS_PACKET_ATTR_KEY][..],
            false => &[
                flow_request::OVS_FLOW_ATTR_KEY,
                flow_request::OVS_FLOW_ATTR_MASK,
            ],
        };
        if keys.contains(&kind) {
            let mut lines = String::new();
            nlraw(attribute.payload, &mut lines)?;
            for line in lines.lines() {
                writeln!(out, "    {line}")?;
            }
        }
    }
    Ok(())
}
