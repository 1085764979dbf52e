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
The kernel delivers {things} through a ring buffer of a fixed size, --buffer-page-count. A thread of its own, with the
highest priority if root starts {tool}, empties it, and what cannot be shown at once waits in memory, --queue-size. So an
output that stalls for a moment, or a busy machine, costs no {things}. When the trace ends, by Ctrl-C for example, {tool}
first shows what waits; a second Ctrl-C ends it at once.

{tool} loses those that do not fit, because the thread does not get the CPU or the outputs are too slow for too long;
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
has them only if the container is privileged; its seccomp filter must allow bpf(2) and perf_event_open(2), too.

Before Linux 6.10 probes take CAP_SYS_ADMIN, too: all such kernels that were updated since mid-2025 ask for it. Before
5.11 who may lock only little memory (ulimit -l) needs CAP_SYS_RESOURCE. Where the kernel is locked down for
confidentiality, only bridge-loop runs.

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

/// The day in the footer of the pages: that of the release, as CHANGELOG.md has it.
const DATE: &str = "2026-11-30";

/// Writes the manual page of a tool.
pub fn write(command: &Command, sections: &[Section], out: &mut dyn Write) -> io::Result<()> {
    // The examples, which --help has at its end, are a section of their own in a manual page.
    let page = Man::new(command.clone().after_help("").after_long_help(""))
        .title(command.get_name().to_uppercase())
        .section("8")
        .date(DATE)
        .manual("Open vSwitch tracers");
    let mut rendered = Vec::new();
    page.render_title(&mut rendered)?;
    page.render_name_section(&mut rendered)?;
    page.render_synopsis_section(&mut rendered)?;
    page.render_description_section(&mut rendered)?;
    page.render_options_section(&mut rendered)?;
    for Section { title, text } in sections {
        section(title, text).to_writer(&mut rendered)?;
    }
    let rendered = String::from_utf8(rendered).map_err(io::Error::other)?;
    out.write_all(tidy(&rendered).as_bytes())
}

fn section(title: &str, text: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (number, paragraph) in text.trim_matches('\n').split("\n\n").enumerate() {
        let literal = paragraph.starts_with("    ");
        // A title begins a paragraph of its own.
        if number > 0 {
            roff.control("PP", []);
        }
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

/// Makes of a page what `mandoc -T lint` asks for, where clap_mangen and roff write otherwise: no spaces at the ends of
/// lines, one request for a blank line, and lines of at most 80 bytes where roff fills them.
fn tidy(page: &str) -> String {
    const LINE: usize = 80;
    let page = page.replace(".br\n\n.br\n", ".sp\n");
    let mut tidy = String::with_capacity(page.len());
    let mut literal = false;
    let mut is_tag = false;
    for line in page.lines() {
        literal = (literal || line == ".nf") && line != ".fi";
        let is_filled = !literal && !is_tag && !line.starts_with('.');
        is_tag = line == ".TP";
        if is_filled && line.len() > LINE {
            // With blanks at its beginning, an item of a list: roff begins a line too.
            let indent = line.len() - line.trim_start().len();
            tidy.push_str(&line[..indent]);
            let mut length = 0;
            for word in line.split_whitespace() {
                if length > 0 && indent + length + 1 + word.len() > LINE {
                    tidy.push('\n');
                    length = 0;
                }
                // A period at the beginning of a line would be a request.
                let lead = match length {
                    0 if word.starts_with('.') => "\\&",
                    0 => "",
                    _ => " ",
                };
                tidy.push_str(lead);
                tidy.push_str(word);
                length += lead.len() + word.len();
            }
        } else {
            tidy.push_str(line.trim_end());
        }
        tidy.push('\n');
    }
    tidy
}
