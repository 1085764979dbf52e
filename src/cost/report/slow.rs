//! The slowest upcalls.

use std::fmt::Write as _;

use super::named;
use crate::cost::analysis::Analysis;
use crate::cost::event::short_datapath;
use crate::cost::histogram::us;
use crate::cost::stats::Slow;
use crate::ovs::flow_key;
use crate::show::escape::escape;
use crate::show::hexdump;

/// How many bytes of a packet are shown, as a rule its headers. JSON has all that were captured.
const SHOWN: usize = 64;

/// Writes the slowest upcalls, what of each took how long, with its flow key and its packet.
pub(super) fn slowest(text: &mut String, analysis: &Analysis) -> std::fmt::Result {
    let slowest = analysis.stats.slowest();
    if slowest.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n=> Slowest upcalls (microseconds):")?;
    for (i, slow) in slowest.into_iter().enumerate() {
        let (seconds, nanoseconds) = (slow.time / 1_000_000_000, slow.time % 1_000_000_000);
        write!(
            text,
            "  {:>3}. {:.3} at {seconds}.{nanoseconds:09}, ",
            i + 1,
            us(slow.duration)
        )?;
        escape(text, &slow.device)?;
        if slow.device.is_empty() {
            match slow.port {
                Some(port) => write!(text, "port {port}")?,
                None => text.push_str("unknown port"),
            }
        }
        text.push_str(" (");
        escape(text, short_datapath(&slow.datapath))?;
        text.push_str("), ");
        escape(text, &slow.comm)?;
        writeln!(text, " [{}], batch of {}", slow.tid, slow.batch)?;
        let names = [
            "to the daemon",
            "lookup",
            "rest of the batch",
            "execute to kernel",
        ];
        let parts: Vec<String> = names
            .into_iter()
            .zip(slow.parts)
            .filter_map(|(name, part)| Some(format!("{name} {:.3}", us(part?))))
            .collect();
        writeln!(text, "       {}", parts.join(", "))?;
        kernel_parts(text, slow)?;
        if !slow.key.is_empty() {
            text.push_str("       ");
            flow_key::odp(&slow.key, text)?;
            text.push('\n');
            if let Some(what) = flow_key::beside_odp(&slow.key).not_for_trace {
                writeln!(text, "       ofproto/trace does not take {what}")?;
            }
        }
        write!(text, "       packet of {} bytes", slow.packet_len)?;
        if slow.packet.len() < slow.packet_len as usize {
            write!(text, ", {} captured", slow.packet.len())?;
        }
        let shown = &slow.packet[..slow.packet.len().min(SHOWN)];
        if shown.len() < slow.packet.len() {
            write!(text, ", {SHOWN} shown")?;
        }
        text.push('\n');
        hexdump::write(text, shown, 9)?;
    }
    Ok(())
}

/// What only the kernel as the source knows of an upcall.
fn kernel_parts(text: &mut String, slow: &Slow) -> std::fmt::Result {
    let names = [
        "in the socket",
        "behind other requests",
        "kernel's put",
        "kernel's execute",
    ];
    let errors = [None, None, slow.put_error, slow.execute_error];
    let parts = names.into_iter().zip(slow.kernel).zip(errors);
    let parts: Vec<String> = parts
        .filter_map(|((name, part), error)| {
            let error = error.map_or(String::new(), |error| format!(" ({})", named(error)));
            Some(format!("{name} {:.3}{error}", us(part?)))
        })
        .collect();
    if parts.is_empty() {
        return Ok(());
    }
    writeln!(text, "       {}", parts.join(", "))
}
