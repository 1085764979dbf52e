//! A request as text and as JSON.

use std::fmt::{self, Display, Write as _};

use super::actions;
use super::flow_key::{nlraw, odp_masked};
use super::flow_request::{Operation, Request, TooShort};
use super::packet::Link;
use crate::show::decode::Decode;
use crate::show::escape::Escaped;
use crate::show::hexdump;
use crate::show::json::{Line, Text};
use crate::trace::captured::Captured;

/// Appends a message in the form that is asked for, line by line, as far as it is a request: [`Request::lines`].
///
/// # Errors
///
/// Only those of `out`.
pub fn lines<N: Display>(
    message: &Captured<'_>,
    request: &Result<Request<'_>, TooShort>,
    decode: Decode,
    port_name: impl Fn(u32) -> Option<N>,
    out: &mut String,
) -> fmt::Result {
    match (request, decode) {
        (Ok(request), _) => request.lines(message.bytes, decode, port_name, out),
        // Whoever shows the message says so.
        (Err(_), _) if message.error.is_some() => Ok(()),
        (Err(_), Decode::None) => Ok(()),
        (Err(_), Decode::Hex) => hexdump::write(out, message.bytes, 4),
        (Err(error), _) => writeln!(out, "    warning: {error}"),
    }
}

/// Writes the fields of a message, as far as it is a request: [`Request::json`].
pub fn json<N: Display>(
    message: &Captured<'_>,
    request: &Result<Request<'_>, TooShort>,
    port_name: impl Fn(u32) -> Option<N>,
    line: &mut Line,
) {
    line.captured("request", message);
    line.end(b'}');
    match request {
        Ok(request) => request.json(port_name, line),
        Err(_) if message.error.is_some() => {}
        Err(error) => line.field("problems", [error.to_string()]),
    }
}

impl Request<'_> {
    /// `put create`, `put modify probe`, `del`, `vport new`: the operation; of a put, what is done to the flow, and whether
    /// ovs-vswitchd only tries what the datapath can do; of what is about no flow and no packet, the command.
    ///
    /// # Errors
    ///
    /// Only those of `out`.
    pub fn title(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str(self.operation.name())?;
        use Operation::{Del, Dump, Execute, Get};
        let says_all = matches!(self.operation, Del | Get | Execute | Dump);
        if let Some(command) = self.command().filter(|_| !says_all) {
            write!(out, " {}", command.name())?;
        }
        if self.is_probe() {
            out.write_str(" probe")?;
        }
        Ok(())
    }

    /// Writes `ufid:..., in_port(p0),..., actions:p1`: what `ovs-dpctl dump-flows -m` shows of a flow, without the
    /// statistics that it has in between. `port_name` is that of [`odp_masked`].
    ///
    /// # Errors
    ///
    /// Only those of `out`.
    pub fn odp<N: Display>(
        &self,
        port_name: impl Fn(u32) -> Option<N>,
        out: &mut impl fmt::Write,
    ) -> fmt::Result {
        let mut separator = "";
        if let Some(ufid) = self.ufid() {
            write!(out, "ufid:{ufid}")?;
            separator = ", ";
        }
        if let Some(key) = self.key() {
            out.write_str(separator)?;
            odp_masked(&key, self.mask().as_ref(), true, &port_name, out)?;
            separator = ", ";
        }
        if let Some(packet) = self.packet() {
            write!(out, "{separator}packet of {} bytes", packet.payload_len())?;
            match self.packet_link() {
                Link::Ethernet => {}
                Link::Network(ether_type) => {
                    write!(
                        out,
                        " (EtherType {ether_type:#06x} without Ethernet header)"
                    )?;
                }
                Link::Unknown => out.write_str(" (of unknown link type)")?,
            }
            separator = ", ";
        }
        if let Some(list) = self.actions() {
            write!(out, "{separator}actions:")?;
            actions::odp(&list, &port_name, out)?;
        }
        // A request about these has nothing of the above.
        if let Some(name) = self.object_name() {
            write!(out, "name:{}", Escaped(name))?;
        } else if let Some(port) = self.port_number() {
            write!(out, "port_no:{port}")?;
            if let Some(name) = port_name(port) {
                write!(out, "({name})")?;
            }
        }
        Ok(())
    }

    /// Whether [`odp`](Self::odp) writes what it says.
    fn is_known_to_odp(&self) -> bool {
        match self.operation {
            Operation::Put | Operation::Del | Operation::Get | Operation::Execute => true,
            _ => self.object_name().is_some() || self.port_number().is_some(),
        }
    }

    /// Appends the request in the form that is asked for, line by line: `bytes` are all of it. What is wrong with it
    /// follows. `port_name` is that of [`odp_masked`].
    ///
    /// # Errors
    ///
    /// Only those of `out`.
    pub fn lines<N: Display>(
        &self,
        bytes: &[u8],
        decode: Decode,
        port_name: impl Fn(u32) -> Option<N>,
        out: &mut String,
    ) -> fmt::Result {
        match decode {
            Decode::None => return Ok(()),
            Decode::Hex => return hexdump::write(out, bytes, 4),
            Decode::Nlraw => self.nlraw(out)?,
            // It has no flow, so there is no syntax for what it says.
            Decode::Odp if !self.is_known_to_odp() => self.nlraw(out)?,
            Decode::Odp => {
                out.push_str("    ");
                self.odp(port_name, out)?;
                out.push('\n');
            }
        }
        let mut problems = self.problems();
        problems.try_for_each(|problem| writeln!(out, "    warning: {problem}"))
    }

    /// Writes one line for each attribute, as [`nlraw`] does for keys, with the attributes of keys and masks below
    /// theirs.
    ///
    /// # Errors
    ///
    /// Only those of `out`.
    pub fn nlraw(&self, out: &mut impl fmt::Write) -> fmt::Result {
        for attribute in self.attributes() {
            let name = self.name(attribute.kind).unwrap_or("<UNKNOWN>");
            let (len, kind) = (attribute.len, attribute.kind);
            write!(out, "    nla_len {len}, nla_type {name}[{kind}], data:")?;
            for byte in attribute.payload {
                write!(out, " {byte:02x}")?;
            }
            out.write_char('\n')?;
            if self.keys().contains(&kind) {
                let mut lines = String::new();
                nlraw(attribute.payload, &mut lines)?;
                for line in lines.lines() {
                    writeln!(out, "    {line}")?;
                }
            }
        }
        Ok(())
    }

    /// Writes its fields. `port_name` is that of [`odp_masked`].
    pub fn json<N: Display>(&self, port_name: impl Fn(u32) -> Option<N>, line: &mut Line) {
        line.field("dp_ifindex", self.headers.dp_ifindex.get());
        line.field("command", self.command().map(|command| command.name()));
        line.field("nlmsg_flags", self.headers.nlmsg_flags.get());
        line.field("probe", self.is_probe());
        line.field("ufid", self.ufid().map(|ufid| ufid.to_string()));
        if let Some(key) = self.key() {
            let mask = self.mask();
            line.text("flow", |out| {
                odp_masked(&key, mask.as_ref(), true, &port_name, out)
            });
        }
        if let Some(list) = self.actions() {
            line.text("actions", |out| actions::odp(&list, &port_name, out));
        }
        let packet = self.packet();
        line.field("packet_length", packet.map(|packet| packet.payload_len()));
        if packet.is_some() {
            line.link("packet_", self.packet_link());
        }
        if let Some(name) = self.object_name() {
            line.field("name", Text(name));
        }
        if let Some(port) = self.port_number() {
            line.field("port_no", port);
        }
        let problems = self.problems().map(|problem| problem.to_string());
        line.field("problems", problems.collect::<Vec<_>>());
    }
}
