//! Manual pages, and the sections that the pages of several tools have.

use std::borrow::Cow;
use std::io::{self, Write};

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// A section of a manual page that clap knows nothing of.
#[derive(Clone, Debug)]
pub struct Section {
    title: &'static str,
    /// A blank line separates paragraphs. A paragraph whose lines begin with four blanks is shown as it is.
    text: Cow<'static, str>,
}

impl Section {
    pub fn new(title: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            title,
            text: text.into(),
        }
    }
}

/// The values of options that take a time.
pub fn times() -> Section {
    Section::new(
        "TIMES",
        "\
A TIME is a number of seconds, such as 60 or 1.5, or a number and its unit: 7ns, 200us, 10ms, 1.5s, 5m (minutes) or 2h.
It is at most ten years.",
    )
}

/// What `--format json` writes. `records` describes the records and their fields.
pub fn json(tool: &str, records: &str) -> Section {
    Section::new(
        "JSON",
        format!(
            "\
--format json writes JSON Lines: an object on each line, whose record says what it is. The first line is the start
record.

{records}

Bytes are base64. Text that another process chose, the name of a thread for example, is not escaped as it is on a
terminal; what is not UTF-8 in it becomes U+FFFD.

docs/{tool}.schema.json of the source is the schema (JSON Schema, draft 2020-12). Its version is in the start record. It
changes when a field is removed or changes its meaning, not when one is added: pass over those that you do not know."
        ),
    )
}

/// Where a tracer takes its `events` from. `probes` are those of ovs-vswitchd that it attaches to, "the probe
/// main:run_start" for example, `functions` what it attaches to in the kernel, `needs` says what that takes, and
/// `differences` what each source shows and costs that the other does not.
pub fn sources(
    events: &str,
    probes: &str,
    functions: &str,
    needs: &str,
    differences: &str,
) -> Section {
    Section::new(
        "SOURCES",
        format!(
            "\
--source says where {events} are taken from. Columns, JSON and recordings are the same with both sources; what a source
does not know is absent.

usdt: {probes} of ovs-vswitchd. It has USDT probes if it is Open vSwitch 2.17 or later and was built with
--enable-usdt-probes, as Fedora's package is, and as those of Debian and Ubuntu are not; usdt-probes --check says
whether it was. The kernel must have uprobes (CONFIG_UPROBE_EVENTS). The code must be mapped from its file: a program
that has moved it to huge pages runs a copy, in which no uprobe can be.

kernel: {functions}, whatever ovs-vswitchd was built with. {needs}

auto, which is the default, is usdt if each traced process has the probes, since a probe costs no other process
anything, and kernel if one has not. The line \"attached to\" then says why it is the kernel. The start record of JSON
has the source.

{differences}"
        ),
    )
}

/// How recordings are made and shown again. `record` and `replay` are the options, `more` is what else there is to say.
pub fn recordings(record: &str, replay: &str, more: &str) -> Section {
    Section::new(
        "RECORDINGS",
        format!(
            "\
{record} keeps what the kernel delivers, together with the names of the ports; {replay} shows it again, on any machine
and without privilege. What a filter keeps out of the trace is not in the recording either. If a recording was cut off
or is damaged, what comes before is shown, and the exit status is 1.{more}"
        ),
    )
}

/// What becomes of `things` (events, lines) that do not fit into the ring. `more` is what follows from it.
pub fn lost(title: &'static str, tool: &str, things: &str, more: &str) -> Section {
    Section::new(
        title,
        format!(
            "\
The kernel delivers {things} through a ring buffer. {tool} loses those that do not fit because it does not keep up;
ovs-vswitchd loses nothing. What {tool} lost is counted, and a warning says at most once a second how much it was.{more}"
        ),
    )
}

/// What privilege a tracer needs. `more` continues the list of capabilities, `after` says what is kept once it is
/// attached.
pub fn privilege(more: &str, after: &str) -> Section {
    Section::new(
        "PRIVILEGE",
        format!(
            "\
Tracing takes root, or CAP_BPF and CAP_PERFMON to load and attach, CAP_SYS_PTRACE to look for probes in the daemon's
memory map, and CAP_CHECKPOINT_RESTORE for a daemon whose binary was replaced since it started{more}. A container's root
has them only if the container is privileged.

{after}"
        ),
    )
}

/// When a tracer ends, and with which status. `ends` are the options that end it, `things` what may be lost.
pub fn exit_status(ends: &str, things: &str) -> Section {
    Section::new(
        "EXIT STATUS",
        format!(
            "\
0 if it was ended by a signal, {ends}, the exit of the daemon or a reader that went away; 1 after an error; 2 if the
command line makes no sense. Lost {things} do not change it."
        ),
    )
}

/// On what a tracer runs. `before` are the other limits, `releases` what needs a later kernel.
pub fn limits(before: &str, releases: &str) -> Section {
    Section::new(
        "LIMITS",
        format!("{before}\n\nx86-64 or aarch64, and Linux 5.8 or later{releases}."),
    )
}

/// Writes the manual page of a tool.
pub fn write(command: &Command, sections: &[Section], out: &mut dyn Write) -> io::Result<()> {
    // The examples, which --help has at its end, are a section of their own in a manual page.
    let page = Man::new(command.clone().after_help("").after_long_help(""))
        .section("8")
        .manual("Open vSwitch tracers");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    for Section { title, text } in sections {
        section(title, text).to_writer(out)?;
    }
    Ok(())
}

fn section(title: &str, text: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for paragraph in text.trim_matches('\n').split("\n\n") {
        let literal = paragraph.starts_with("    ");
        roff.control("PP", []);
        if literal {
            roff.control("nf", []);
        }
        for line in paragraph.lines() {
            roff.text([roman(line)]);
        }
        if literal {
            roff.control("fi", []);
        }
    }
    roff
}
