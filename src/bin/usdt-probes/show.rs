//! A table of probes, all that is known of each site, or JSON Lines.

use std::fmt::Write as _;
use std::io::{self, Write};

use ovs_tracers::run::recording::Start;
use ovs_tracers::show::escape::Escaped;
use ovs_tracers::show::json::Line;
use ovs_tracers::show::message::cause;
use ovs_tracers::trace::kernel::kernel_release;
use ovs_tracers::trace::usdt::{self, Arg, Error, Machine, Operand, parse_arg, split_args};
use serde::{Serialize, Serializer};

use crate::attached::{Attachment, Attachments, By, Holder};
use crate::code::{Code, Instruction};
use crate::listing::{Obstacle, Place, Probe, Site};

/// Text before others in a column.
fn name(probe: &Probe<'_>) -> String {
    let usdt::Probe { provider, name, .. } = probe.probe;
    format!("{}:{}", Escaped::text(provider), Escaped::text(name))
}

/// A line for each probe.
pub fn table(out: &mut impl Write, probes: &[Probe<'_>]) -> io::Result<()> {
    let names: Vec<String> = probes.iter().map(name).collect();
    let width = names.iter().map(|name| name.chars().count()).max();
    let width = width.unwrap_or(0).max("PROBE".len());
    let process = probes.iter().any(|probe| probe.pid.is_some());
    let armed = if process { "ARMED  " } else { "" };
    writeln!(out, "{:width$}  SITES  {armed}ARGS  OBJECT", "PROBE")?;
    for (probe, name) in probes.iter().zip(names) {
        write!(out, "{name:width$}  {:5}  ", probe.sites.len())?;
        if process {
            write!(out, "{:>5}  ", armed_sites(&probe.sites))?;
        }
        let args: Vec<usize> = probe
            .sites
            .iter()
            .map(|site| split_args(&site.site.args).count())
            .collect();
        let (least, most) = (args.iter().min(), args.iter().max());
        let args = match (least, most) {
            (Some(least), Some(most)) if least != most => format!("{least}-{most}"),
            _ => most.copied().unwrap_or(0).to_string(),
        };
        writeln!(out, "{args:>4}  {}", Escaped::text(probe.object))?;
    }
    Ok(())
}

/// How many are armed, or `?` if one of them cannot be read, or `-` if nothing can be attached to any of them.
fn armed_sites(sites: &[Site<'_>]) -> String {
    let mut sites = sites
        .iter()
        .filter(|site| site.obstacle.is_none())
        .peekable();
    if sites.peek().is_none() {
        return "-".into();
    }
    let armed: Option<Vec<bool>> = sites.map(armed).collect();
    let count = |armed: Vec<bool>| armed.into_iter().filter(|armed| *armed).count();
    armed.map_or("?".into(), |armed| count(armed).to_string())
}

/// Whether it is armed where it is mapped, at least once.
fn armed(site: &Site<'_>) -> Option<bool> {
    let armed = |place: &Place| place.code.as_ref().ok()?.armed;
    let places: Option<Vec<bool>> = site.places().map(armed).collect();
    Some(places?.contains(&true))
}

/// Every site of each probe.
pub fn sites(
    out: &mut impl Write,
    probes: &[Probe<'_>],
    attachments: &Attachments,
) -> io::Result<()> {
    for (i, probe) in probes.iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        let machine = machine(probe.probe.machine);
        writeln!(
            out,
            "{} in {} ({machine})",
            name(probe),
            Escaped::text(probe.object)
        )?;
        let count = probe.sites.len();
        for (number, site) in (1..).zip(&probe.sites) {
            write!(
                out,
                "  site {number} of {count}: address {:#x}",
                site.site.address
            )?;
            if site.obstacle != Some(Obstacle::DebugFile) {
                write!(out, ", file offset {:#x}", site.site.offset)?;
            }
            if site.obstacle == Some(Obstacle::NotMapped) {
                write!(out, ", not mapped: nothing can be attached to it")?;
            }
            for (number, place) in site.places().enumerate() {
                match place.mapped {
                    Some(address) if number == 0 => writeln!(out, ", in memory at {address:#x}")?,
                    Some(address) => writeln!(out, "    and in memory at {address:#x}")?,
                    None => writeln!(out)?,
                }
                self::place(out, site, place)?;
            }
            let args: Vec<_> = split_args(&site.site.args)
                .map(|text| {
                    (
                        words(text, probe.probe.machine),
                        Escaped::text(text).to_string(),
                    )
                })
                .collect();
            let width = args.iter().map(|(words, _)| words.chars().count()).max();
            let width = width.unwrap_or(0);
            for (number, (words, text)) in (1..).zip(&args) {
                let label = format!("arg {number}");
                writeln!(out, "    {label:<10} {words:width$}  {text}")?;
            }
            for attachment in &site.attached {
                writeln!(out, "    {:<10} {}", "attached", attached(attachment))?;
            }
            let armed = armed(site) == Some(true);
            if site.attached.is_empty() && armed && attachments.unknown.is_empty() {
                writeln!(
                    out,
                    "    {:<10} something that the kernel does not list: perf, or a debugger",
                    "attached"
                )?;
            }
        }
    }
    Ok(())
}

/// The code there, and the semaphore.
fn place(out: &mut impl Write, site: &Site<'_>, place: &Place) -> io::Result<()> {
    if !matches!(
        site.obstacle,
        Some(Obstacle::DebugFile | Obstacle::NotMapped)
    ) {
        writeln!(out, "    {:<10} {}", "code", code(&place.code))?;
    }
    let Some(offset) = site.site.semaphore else {
        return Ok(());
    };
    match (site.obstacle, place.semaphore) {
        (Some(Obstacle::DebugFile | Obstacle::Relocatable), _) => {
            writeln!(out, "    {:<10} it has one", "semaphore")
        }
        (_, Some(value)) => writeln!(
            out,
            "    {:<10} at file offset {offset:#x}, {value} now",
            "semaphore"
        ),
        (_, None) => writeln!(out, "    {:<10} at file offset {offset:#x}", "semaphore"),
    }
}

fn machine(machine: Machine) -> String {
    match machine {
        Machine::X86_64 => "x86-64".into(),
        Machine::Aarch64 => "aarch64".into(),
        Machine::Other(number) => format!("e_machine {number}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (i, byte) in bytes.iter().enumerate() {
        let blank = if i > 0 { " " } else { "" };
        let _ = write!(text, "{blank}{byte:02x}");
    }
    text
}

fn code(code: &io::Result<Code>) -> String {
    let code = match code {
        Ok(code) => code,
        Err(error) => return format!("cannot be read: {}", cause(error)),
    };
    let mut text = hex(&code.bytes);
    if let Some(instruction) = code.instruction {
        let _ = write!(text, ", {}", instruction.name());
    }
    match (code.armed, code.unarmed) {
        (Some(true), Some(unarmed)) => {
            let _ = write!(text, " in place of a {}: armed", unarmed.name());
        }
        (Some(true), None) => text.push_str(", and not that of the file: armed"),
        (Some(false), _) => text.push_str(": not armed"),
        (None, _) => {}
    }
    text
}

/// `4 bytes signed in %edi`.
fn words(text: &str, machine: Machine) -> String {
    let arg = match parse_arg(text, machine) {
        Ok(arg) => arg,
        Err(Error::Argument { reason, .. }) => return format!("cannot be fetched: {reason}"),
        Err(error) => return error.to_string(),
    };
    let mut words = match arg.size {
        1 => "1 byte".to_string(),
        size => format!("{size} bytes"),
    };
    if arg.signed {
        words.push_str(" signed");
    }
    match arg.operand {
        Operand::Constant(_) => {
            let _ = write!(words, ", always {}", constant(&arg));
        }
        Operand::Register(register) => {
            let _ = write!(words, " in {}", register.name);
        }
        Operand::Memory {
            base,
            index,
            scale,
            offset,
        } => {
            words.push_str(" at ");
            if offset != 0 {
                let _ = write!(words, "{offset} + ");
            }
            words.push_str(base.name);
            if let Some(index) = index {
                let _ = write!(words, " + {}", index.name);
                if scale != 1 {
                    let _ = write!(words, " * {scale}");
                }
            }
        }
    }
    words
}

/// The value that a constant has once its bytes are cut out and extended.
fn constant(arg: &Arg) -> i128 {
    let Operand::Constant(value) = arg.operand else {
        return 0;
    };
    let unused = 64 - 8 * u32::from(arg.size.clamp(1, 8));
    if arg.signed {
        i128::from(value << unused >> unused)
    } else {
        i128::from(value.cast_unsigned() << unused >> unused)
    }
}

/// `upcall-monitor (4711): program recv_upcall, uprobe-multi link 7, in process 4242 only`.
fn attached(attachment: &Attachment) -> String {
    let holders: Vec<String> = attachment
        .holders
        .iter()
        .map(|Holder { pid, comm }| format!("{} ({pid})", Escaped::text(comm)))
        .collect();
    let mut text = holders.join(", ");
    let name = attachment.program.as_deref().unwrap_or("of unknown name");
    let name = Escaped::text(name);
    if attachment.by == By::Tracefs {
        let _ = write!(text, "event {name} of tracefs");
        return text;
    }
    if text.is_empty() {
        text.push_str("no process that can be seen");
    }
    let by = match attachment.by {
        By::UprobeMulti => "uprobe-multi",
        _ => "perf event",
    };
    let _ = write!(text, ": program {name}, {by}");
    if let Some(link) = attachment.link {
        let _ = write!(text, " link {link}");
    }
    if let Some(pid) = attachment.pid {
        let _ = write!(text, ", in process {pid} only");
    }
    text
}

// ---- JSON; the manual describes the fields ----

/// An address: text, since 64 bits do not fit the numbers of many readers.
struct Address(u64);

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// Version of the schema, `docs/usdt-probes.schema.json`: changes when a field changes its meaning or goes, not when
/// one is added.
const SCHEMA: u32 = 1;

/// Writes the first line. `pid` is the process that was asked about.
pub fn json_start(out: &mut impl Write, line: &mut Line, pid: Option<u32>) -> io::Result<()> {
    let mut start = Start::of(env!("CARGO_BIN_NAME"));
    if let Some(pid) = pid {
        start.set("kernel", kernel_release());
        start.set("pid", pid);
    }
    line.start(SCHEMA, &start);
    line.write(out)
}

#[derive(Serialize)]
struct JsonSite<'a> {
    address: Address,
    offset: Option<Address>,
    mapped: Option<Address>,
    semaphore: Option<JsonSemaphore>,
    bytes: Option<String>,
    instruction: Option<Instruction>,
    armed: Option<bool>,
    /// Where else the process has loaded it.
    copies: Vec<JsonCopy>,
    arguments: Vec<JsonArgument<'a>>,
    cannot_attach: Option<Obstacle>,
    /// `None` if there may be some that are not known.
    attached: Option<&'a [&'a Attachment]>,
}

#[derive(Serialize)]
struct JsonSemaphore {
    offset: Option<Address>,
    value: Option<u16>,
}

#[derive(Serialize)]
struct JsonCopy {
    mapped: Option<Address>,
    semaphore_value: Option<u16>,
    bytes: Option<String>,
    instruction: Option<Instruction>,
    armed: Option<bool>,
}

#[derive(Serialize)]
struct JsonArgument<'a> {
    text: &'a str,
    words: String,
    size: Option<u8>,
    signed: Option<bool>,
}

/// Writes the start record, and an object for each probe.
pub fn json(
    out: &mut impl Write,
    probes: &[Probe<'_>],
    attachments: &Attachments,
) -> io::Result<()> {
    let mut line = Line::default();
    json_start(out, &mut line, probes.iter().find_map(|probe| probe.pid))?;
    for probe in probes {
        let machine_of_args = probe.probe.machine;
        line.record("probe");
        line.field("provider", &probe.probe.provider);
        line.field("name", &probe.probe.name);
        line.field("object", probe.object);
        line.field("machine", machine(machine_of_args));
        line.field("pid", probe.pid);
        line.begin("sites", b'[');
        for site in &probe.sites {
            line.value(json_site(site, machine_of_args, attachments));
        }
        line.end(b']');
        line.write(out)?;
    }
    Ok(())
}

fn json_site<'a>(
    described: &'a Site<'a>,
    machine: Machine,
    attachments: &Attachments,
) -> JsonSite<'a> {
    let Site {
        site,
        place,
        obstacle,
        ..
    } = described;
    let code = place.code.as_ref().ok();
    let is_linked = matches!(obstacle, None | Some(Obstacle::NotMapped));
    JsonSite {
        address: Address(site.address),
        offset: (*obstacle != Some(Obstacle::DebugFile)).then_some(Address(site.offset)),
        mapped: place.mapped.map(Address),
        semaphore: site.semaphore.map(|offset| JsonSemaphore {
            offset: is_linked.then_some(Address(offset)),
            value: place.semaphore,
        }),
        bytes: code.map(|code| hex(&code.bytes)),
        instruction: code.and_then(|code| code.instruction),
        armed: code.and_then(|code| code.armed),
        copies: described.copies.iter().map(json_copy).collect(),
        cannot_attach: *obstacle,
        arguments: split_args(&site.args)
            .map(|text| {
                let arg = parse_arg(text, machine).ok();
                JsonArgument {
                    text,
                    words: words(text, machine),
                    size: arg.map(|arg| arg.size),
                    signed: arg.map(|arg| arg.signed),
                }
            })
            .collect(),
        attached: (!described.attached.is_empty() || attachments.unknown.is_empty())
            .then_some(&described.attached),
    }
}

fn json_copy(place: &Place) -> JsonCopy {
    let code = place.code.as_ref().ok();
    JsonCopy {
        mapped: place.mapped.map(Address),
        semaphore_value: place.semaphore,
        bytes: code.map(|code| hex(&code.bytes)),
        instruction: code.and_then(|code| code.instruction),
        armed: code.and_then(|code| code.armed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that arguments of both machines are put into words, and that what cannot be fetched is shown as that.
    ///
    /// Those of Open vSwitch 3.7 and of fixtures/elf; the last ones by hand.
    #[test]
    fn in_words() {
        use Machine::{Aarch64, X86_64};
        let of_python = Machine::Other(3);
        for (text, machine, expected) in [
            ("-4@%edi", X86_64, "4 bytes signed in %edi"),
            ("1@%r15b", X86_64, "1 byte in %r15b"),
            ("8@576(%rbx)", X86_64, "8 bytes at 576 + %rbx"),
            ("4@-36(%rsp)", X86_64, "4 bytes at -36 + %rsp"),
            (
                "-8@(%rdi,%rsi,8)",
                X86_64,
                "8 bytes signed at %rdi + %rsi * 8",
            ),
            ("2@8(%rdi,%rsi)", X86_64, "2 bytes at 8 + %rdi + %rsi"),
            ("-4@$-1", X86_64, "4 bytes signed, always -1"),
            ("4@$-1", X86_64, "4 bytes, always 4294967295"),
            (
                "8@$-9223372036854775808",
                X86_64,
                "8 bytes, always 9223372036854775808",
            ),
            ("-1@$255", X86_64, "1 byte signed, always -1"),
            ("4@[sp, 12]", Aarch64, "4 bytes at 12 + sp"),
            ("8@[x1, x2, lsl 3]", Aarch64, "8 bytes at x1 + x2 * 8"),
            ("-8@x0", Aarch64, "8 bytes signed in x0"),
            (
                "8f@%xmm0",
                X86_64,
                "cannot be fetched: it is a floating-point value",
            ),
            (
                "-4@global(%rip)",
                X86_64,
                "cannot be fetched: it is relative to %rip",
            ),
            (
                "4@%eax",
                of_python,
                "cannot be fetched: it is for neither x86-64 nor aarch64",
            ),
        ] {
            assert_eq!(words(text, machine), expected, "{text}");
        }
    }

    /// Check that the bytes of a site are shown with their meaning.
    #[test]
    fn bytes_in_words() {
        let shown = |bytes: &[u8], instruction, armed, unarmed| {
            let bytes = bytes.to_vec();
            code(&Ok(Code {
                bytes,
                instruction,
                armed,
                unarmed,
            }))
        };
        let (nop1, nop5) = (Some(Instruction::Nop1), Some(Instruction::Nop5));
        let (int3, call) = (Some(Instruction::Int3), Some(Instruction::Call));
        assert_eq!(shown(&[0x90], nop1, None, None), "90, 1-byte nop");
        assert_eq!(
            shown(&[0x90], nop1, Some(false), None),
            "90, 1-byte nop: not armed"
        );
        assert_eq!(
            shown(&[0xcc], int3, Some(true), nop1),
            "cc, int3 in place of a 1-byte nop: armed"
        );
        assert_eq!(
            shown(&[0xe8, 1, 2, 3, 4], call, Some(true), nop5),
            "e8 01 02 03 04, call in place of a 5-byte nop: armed"
        );
        assert_eq!(shown(&[7, 7], None, None, None), "07 07");
        assert_eq!(
            shown(&[0xcc], int3, Some(true), None),
            "cc, int3, and not that of the file: armed"
        );
        let unreadable = Err(io::ErrorKind::PermissionDenied.into());
        assert_eq!(code(&unreadable), "cannot be read: permission denied");
    }
}
