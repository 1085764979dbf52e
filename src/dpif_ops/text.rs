//! A row for each operation, and below it what the request says.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use clap::ValueEnum;

use crate::dpif_ops::event::Op;
use crate::ovs::flow_key::{nlraw, odp_masked};
use crate::ovs::flow_request::{OVS_FLOW_ATTR_KEY, OVS_FLOW_ATTR_MASK, Request};
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

/// What is known of an operation besides its record.
pub struct Context<'a, P> {
    /// The name of the datapath.
    pub datapath: Option<&'a [u8]>,
    /// Gives a port of it its name.
    pub port_name: P,
}

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
            "{:<18} {:<4} {:<16} {:<10} {:<20} {:<18} REQUEST",
            "TIME", "CPU", "COMM", "TID", "OPERATION", "DATAPATH"
        )?;
        Ok(Self {
            out,
            decode,
            text: String::new(),
        })
    }

    pub fn op<'n>(
        &mut self,
        op: &Op<'_>,
        context: &Context<'_, impl Fn(u32) -> Option<&'n str>>,
    ) -> io::Result<()> {
        self.text.clear();
        // Writing to a String cannot fail.
        let _ = write_op(&mut self.text, op, context, self.decode);
        self.out.write_all(self.text.as_bytes())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// `put create`, `put modify probe`, `del`: the operation, of a put what becomes of the flow, and whether ovs-vswitchd only
/// tries what the datapath can do.
pub fn title(op: &Op<'_>, request: Option<&Request<'_>>) -> String {
    let mut title = op.operation.name().to_string();
    if let Some(request) = request {
        if let Some(command) = request.command().and_then(flow_request::Command::of_put) {
            title.push(' ');
            title.push_str(command);
        }
        if request.is_probe() {
            title.push_str(" probe");
        }
    }
    title
}

fn write_op<'n>(
    out: &mut String,
    op: &Op<'_>,
    context: &Context<'_, impl Fn(u32) -> Option<&'n str>>,
    decode: Decode,
) -> fmt::Result {
    let request = Request::parse(op.operation, op.request.bytes);
    let known = request.as_ref().ok();
    let (seconds, nanoseconds) = (op.time / 1_000_000_000, op.time % 1_000_000_000);
    let time = format!("{seconds}.{nanoseconds:09}");
    write!(
        out,
        "{time:<18} {:<4} {:<16} {:<10} {:<20} ",
        op.cpu,
        Escaped(op.comm),
        op.tid,
        title(op, known),
    )?;
    match (context.datapath, known) {
        (Some(name), _) => write!(out, "{:<18} ", Escaped(name))?,
        (None, Some(request)) => write!(out, "{:<18} ", request.headers.dp_ifindex.get())?,
        (None, None) => write!(out, "{:<18} ", "Unknown")?,
    }
    let captured = op.request.bytes.len();
    match op.request.error {
        Some(errno) => writeln!(
            out,
            "{} bytes, could not be read (errno {errno})",
            op.request.len
        )?,
        None if captured < op.request.len as usize => {
            writeln!(out, "{} bytes, {captured} captured", op.request.len)?;
        }
        None => writeln!(out, "{} bytes", op.request.len)?,
    }
    if op.request.error.is_some() || decode == Decode::None {
        return Ok(());
    }
    let request = match &request {
        Ok(request) if decode != Decode::Hex => request,
        Ok(_) => return hexdump::write(out, op.request.bytes, 4),
        Err(error) => return writeln!(out, "    {error}"),
    };
    if decode == Decode::Odp {
        out.push_str("    ");
        write_odp(out, request, &context.port_name)?;
        out.push('\n');
        for problem in request.problems() {
            writeln!(out, "    warning: {problem}")?;
        }
        return Ok(());
    }
    for attribute in request.attributes() {
        let name = request.name(attribute.kind).unwrap_or("<UNKNOWN>");
        let (len, kind) = (attribute.len, attribute.kind);
        write!(out, "    nla_len {len}, nla_type {name}[{kind}], data:")?;
        for byte in attribute.payload {
            write!(out, " {byte:02x}")?;
        }
        out.push('\n');
        let is_key = !request.is_packet() && [OVS_FLOW_ATTR_KEY, OVS_FLOW_ATTR_MASK].contains(&kind);
        if is_key {
            let mut lines = String::new();
            nlraw(attribute.payload, &mut lines)?;
            for line in lines.lines() {
                writeln!(out, "    {line}")?;
            }
        }
    }
    for problem in request.problems() {
        writeln!(out, "    warning: {problem}")?;
    }
    Ok(())
}

/// A flow as `ovs-dpctl dump-flows -m` shows it, as far as the request has it: `ufid:...,in_port(p0),..., actions:p1`.
pub fn write_odp<'n>(
    out: &mut String,
    request: &Request<'_>,
    port_name: &impl Fn(u32) -> Option<&'n str>,
) -> fmt::Result {
    let mut separator = "";
    if let Some(ufid) = request.ufid() {
        write!(out, "{ufid}")?;
        separator = ", ";
    }
    if let Some(key) = request.key() {
        out.push_str(separator);
        odp_masked(&key, request.mask().as_ref(), true, port_name, out)?;
        separator = ", ";
    }
    if let Some(packet) = request.packet() {
        write!(out, "{separator}packet of {} bytes", packet.payload_len())?;
        separator = ", ";
    }
    if let Some(list) = request.actions() {
        out.push_str(separator);
        out.push_str("actions:");
        actions::odp(&list, port_name, out)?;
    }
    Ok(())
}
