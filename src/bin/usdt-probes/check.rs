//! Which tracers can run on a process and on this kernel.

use std::io::{self, Write};
use std::path::Path;

use libbpf_rs::MapType;
use ovs_tracers::ovs::{ports, release};
use ovs_tracers::show::escape::Escaped;
use ovs_tracers::show::json::Line;
use ovs_tracers::trace::attach::check_uprobe_events;
use ovs_tracers::trace::kernel::Need;
use ovs_tracers::trace::probes::{Source, Tool, Usdt, Without};
use ovs_tracers::trace::target::Target;
use ovs_tracers::trace::usdt::{self, parse_args};
use ovs_tracers::trace::{self, kernel, privilege};
use ovs_tracers::{bridge_loop, cost, dpif_ops, upcall};

use crate::show;

/// The declarations of the tools that attach to something. A new tool is added here.
const TOOLS: [&Tool; 4] = [
    &upcall::probes::TOOL,
    &cost::probes::TOOL,
    &bridge_loop::probes::TOOL,
    &dpif_ops::probes::TOOL,
];

/// The answer for one process.
pub struct Report {
    pid: u32,
    /// Its program, and what its probes say of its age.
    process: String,
    kernel: Kernel,
    answers: Vec<Answer>,
}

/// What a tool can do here.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    tool: &'static str,
    /// With each of the sources that the tool has, the probes first.
    sources: Vec<SourceAnswer>,
}

/// What a tool can do with a source.
#[derive(Debug, PartialEq, Eq)]
struct SourceAnswer {
    source: Source,
    lacks: Vec<String>,
    /// What it would run without.
    without: Vec<String>,
}

impl SourceAnswer {
    fn can_run(&self) -> bool {
        self.lacks.is_empty()
    }

    /// What it runs without, as the end of a text.
    fn reservation(&self) -> String {
        match self.without.as_slice() {
            [] => String::new(),
            without => format!(", but without {}", without.join("; without ")),
        }
    }
}

impl Answer {
    /// What the tool can do with the source that it would take: the first that lacks nothing, or else the probes.
    fn best(&self) -> &SourceAnswer {
        let able = self.sources.iter().find(|source| source.can_run());
        able.unwrap_or(&self.sources[0])
    }

    fn text(&self) -> String {
        let best = self.best();
        let [first, others @ ..] = self.sources.as_slice() else {
            return String::new();
        };
        let from = |answer: &SourceAnswer| match answer.source {
            Source::Usdt => "from probes",
            Source::Kernel => "from the kernel",
        };
        let able = |answer: &SourceAnswer| format!("{}{}", from(answer), answer.reservation());
        let unable = |answer: &SourceAnswer, known: &[String]| {
            let own = answer.lacks.iter().filter(|lack| !known.contains(lack));
            let own: Vec<&str> = own.map(String::as_str).collect();
            (!own.is_empty()).then(|| format!("{}: {}", from(answer), own.join(", ")))
        };
        if others.is_empty() {
            return match best.can_run() {
                true => format!("can run{}", best.reservation()),
                false => format!("cannot: {}", best.lacks.join("; ")),
            };
        }
        if self.sources.iter().all(SourceAnswer::can_run) {
            let able: Vec<String> = self.sources.iter().map(able).collect();
            return format!("can run: {}", able.join("; "));
        }
        if best.can_run() {
            let unable = self.sources.iter().filter_map(|one| unable(one, &[]));
            let unable: Vec<String> = unable.collect();
            return format!("can run {}; not {}", able(best), unable.join("; not "));
        }
        // What keeps it from every source is said once.
        let everywhere = |lack: &&String| others.iter().all(|other| other.lacks.contains(lack));
        let common: Vec<String> = first.lacks.iter().filter(everywhere).cloned().collect();
        let own = self.sources.iter().filter_map(|one| unable(one, &common));
        let own: Vec<String> = own.collect();
        format!("cannot: {}", [common, own].concat().join("; "))
    }
}

/// What the kernel has, and what this process may do with it.
struct Kernel {
    release: String,
    uprobes: bool,
    /// Of these three, `None` if the kernel does not say.
    ring_buffer: Option<bool>,
    cookies: Option<bool>,
    datapath: Option<bool>,
    /// What the tools may need of it, and why it is missing.
    missing: Vec<(Need, String)>,
    /// The privilege that is missing.
    privilege: Option<String>,
    /// Why uprobes cannot be made, where each is a perf event.
    perf_events: Option<String>,
}

impl Kernel {
    fn query() -> Self {
        let privilege = privilege::check_privilege();
        // Distributions add to older kernels what came with this version. To ask for it takes privileges.
        let since = |version, ask: fn() -> Option<bool>| match kernel::kernel_version() {
            own if own >= version => Some(true),
            _ if privilege.is_err() => None,
            _ => ask(),
        };
        let ring_buffer = since((5, 8), || MapType::RingBuf.is_supported().ok());
        let cookies = since((5, 15), kernel::knows_cookie);
        let devices = Path::new("/sys/bus/event_source/devices");
        let missing = Need::ALL.into_iter();
        Self {
            release: kernel::kernel_release(),
            uprobes: !devices.exists() || devices.join("uprobe").exists(),
            ring_buffer,
            cookies,
            datapath: ports::has_kernel_datapath().ok(),
            missing: missing
                .filter_map(|need| Some((need, need.missing()?)))
                .collect(),
            perf_events: (privilege.is_ok() && !kernel::has_uprobe_multi())
                .then(check_uprobe_events)
                .and_then(Result::err)
                .map(|error| error.fact()),
            privilege: privilege.err().map(|error| error.fact()),
        }
    }

    /// Why something is missing that a tool needs, if it is.
    fn missing(&self, need: Need) -> Option<&str> {
        let known = self.missing.iter().find(|(missing, _)| *missing == need);
        known.map(|(_, why)| &**why)
    }
}

/// What a probe is to a tool.
enum Found {
    /// Whether its sites differ in their arguments.
    Usable {
        differ: bool,
    },
    /// The process has others.
    Absent,
    Lacks(String),
}

fn find(target: &Target, probe: &Usdt) -> Found {
    let found = match target.find_probe(probe.provider, probe.name) {
        Ok(found) => found,
        Err(error) => return lacking(&error),
    };
    // The tracers take the kernel instead.
    if let Some(error) = target.moved(&found) {
        return lacking(&error);
    }
    let mut strings: Vec<&str> = Vec::new();
    for (_, probe) in &found {
        for site in &probe.sites {
            if let Err(error) = parse_args(&site.args, probe.machine) {
                return Found::Lacks(error.to_string());
            }
            strings.push(&site.args);
        }
    }
    strings.sort_unstable();
    strings.dedup();
    Found::Usable {
        differ: strings.len() > 1,
    }
}

fn lacking(error: &trace::Error) -> Found {
    Found::Lacks(match error {
        trace::Error::NoProbe { .. } => return Found::Absent,
        trace::Error::NoProbes { .. } => {
            "built without probes (./configure --enable-usdt-probes)".into()
        }
        trace::Error::Moved {
            path, moved, of, ..
        } if moved == of => format!(
            "code not mapped from {}, so no uprobe can be there",
            path.display()
        ),
        trace::Error::Moved {
            path,
            probe,
            moved,
            of,
            ..
        } => format!(
            "code of {moved} of the {of} sites of {probe} not mapped from {}",
            path.display()
        ),
        trace::Error::Permission(path) => {
            format!("no privilege to read {} (CAP_SYS_PTRACE)", path.display())
        }
        trace::Error::Replaced { path, .. } => format!(
            "no privilege to read {}, which was replaced since (CAP_CHECKPOINT_RESTORE)",
            path.display()
        ),
        error => error.fact(),
    })
}

/// What a tool can do with each of its sources.
fn answer(tool: &Tool, kernel: &Kernel, find: impl Fn(&Usdt) -> Found) -> Answer {
    let sources = [Source::Usdt, Source::Kernel].into_iter();
    let sources = sources.filter(|source| !tool.groups(*source).is_empty());
    Answer {
        tool: tool.name,
        sources: sources
            .map(|source| answer_for(tool, source, kernel, &find))
            .collect(),
    }
}

/// What a tool with this source lacks of what it cannot do without, and what it would run without.
fn answer_for(
    tool: &Tool,
    source: Source,
    kernel: &Kernel,
    find: impl Fn(&Usdt) -> Found,
) -> SourceAnswer {
    let mut lacks: Vec<String> = Vec::new();
    let mut without: Vec<String> = Vec::new();
    let mut absent = Vec::new();
    let mut differ = false;
    for group in tool.groups(source) {
        // What the best way lacks comes first.
        let mut why: Vec<&str> = Vec::new();
        let mut possible = false;
        for way in group.ways {
            match way.needs.iter().find_map(|need| kernel.missing(*need)) {
                None => possible = true,
                Some(missing) if why.contains(&missing) => {}
                Some(missing) => why.push(missing),
            }
        }
        if !possible {
            let why = why.join("; ");
            match group.without {
                Without::Error if !lacks.contains(&why) => lacks.push(why),
                Without::Error => {}
                Without::Warning(_) => without.push(format!("{}: {why}", group.what)),
                Without::Nothing => {}
            }
        }
        for probe in group.ways.iter().flat_map(|way| way.probes()) {
            match find(probe) {
                Found::Usable { differ: differs } => differ |= differs,
                Found::Absent => absent.push(probe),
                // That there are no probes at all is reported once.
                Found::Lacks(what) if !lacks.contains(&what) => lacks.push(what),
                Found::Lacks(_) => {}
            }
        }
    }
    if !absent.is_empty() {
        let names: Vec<String> = absent.iter().map(|probe| format!("no {probe}")).collect();
        let releases = absent.iter();
        let newest = releases.filter_map(|probe| release::release(&probe.to_string()));
        lacks.push(match newest.max() {
            Some(release) => format!(
                "{} (needs Open vSwitch {release} or later)",
                names.join(", ")
            ),
            None => names.join(", "),
        });
    }
    let mut need = |has: bool, what: &str| {
        if !has {
            lacks.push(what.into());
        }
    };
    need(
        kernel.uprobes || source == Source::Kernel,
        "kernel built without uprobes (CONFIG_UPROBE_EVENTS)",
    );
    if let (Source::Usdt, Some(forbidden)) = (source, &kernel.perf_events) {
        need(false, forbidden);
    }
    need(
        kernel.ring_buffer != Some(false),
        "kernel without BPF ring buffers (Linux 5.8)",
    );
    need(
        kernel.cookies != Some(false) || !differ,
        "kernel without BPF cookies for sites that differ (Linux 5.15)",
    );
    need(
        kernel.datapath != Some(false) || !tool.datapath,
        "no openvswitch module in the kernel, so no datapath (modprobe openvswitch)",
    );
    if let Some(missing) = &kernel.privilege {
        need(false, missing);
    }
    SourceAnswer {
        source,
        lacks,
        without,
    }
}

/// Looks at the process, or at the ovs-vswitchd that runs.
pub fn check(pid: Option<u32>) -> anyhow::Result<Report> {
    let target = Target::find(pid)?;
    let kernel = Kernel::query();
    let answers = TOOLS
        .iter()
        .map(|tool| answer(tool, &kernel, |probe| find(&target, probe)))
        .collect();
    let process = describe(&target);
    match Target::gone(std::slice::from_ref(&target)) {
        Some(gone) => Err(gone.into()),
        None => Ok(Report {
            pid: target.pid(),
            process,
            kernel,
            answers,
        }),
    }
}

/// The program, and how old it is by its probes.
fn describe(target: &Target) -> String {
    let objects = match target.objects() {
        Ok(objects) => objects,
        Err(error) => return error.fact(),
    };
    let path = objects[0].path.display().to_string();
    let mut unread = None;
    let found = objects.iter().filter_map(|object| match object.probes() {
        Ok(found) => Some(found),
        // It is no ELF file.
        Err(trace::Error::Usdt { .. }) => None,
        Err(error) => {
            unread.get_or_insert(error.fact());
            None
        }
    });
    let releases = found.flat_map(|found| found.probes).filter_map(
        |usdt::Probe { provider, name, .. }| release::release(&format!("{provider}:{name}")),
    );
    match (releases.max(), unread) {
        (Some(newest), _) => format!("{path}, with the probes of Open vSwitch {newest} or later"),
        (None, None) => format!("{path}, with no probe of Open vSwitch"),
        (None, Some(why)) => format!("{path}, whose probes are not known: {why}"),
    }
}

impl Report {
    pub fn all_can_run(&self) -> bool {
        self.answers.iter().all(|answer| answer.best().can_run())
    }

    pub fn text(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "process {}: {}",
            self.pid,
            Escaped::text(&self.process)
        )?;
        let kernel = &self.kernel;
        let facts = [
            ("BPF ring buffers", kernel.ring_buffer),
            ("BPF cookies", kernel.cookies),
            ("BTF", Some(kernel.missing(Need::KernelBtf).is_none())),
            ("openvswitch module", kernel.datapath),
        ];
        let facts = facts.map(|(what, has)| match has {
            Some(true) => what.to_string(),
            Some(false) => format!("no {what}"),
            None => format!("{what} unknown"),
        });
        writeln!(out, "kernel {}: {}", kernel.release, facts.join(", "))?;
        let width = self.answers.iter().map(|answer| answer.tool.len()).max();
        let width = width.unwrap_or(0);
        for answer in &self.answers {
            let (tool, answer) = (answer.tool, answer.text());
            writeln!(out, "{tool:width$}  {}", Escaped::text(&answer))?;
        }
        Ok(())
    }

    pub fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let mut line = Line::default();
        show::json_start(out, &mut line, Some(self.pid))?;
        for answer in &self.answers {
            let best = answer.best();
            line.record("check");
            line.field("tool", answer.tool);
            line.field("can_run", best.can_run());
            line.field("lacks", &best.lacks);
            line.field("without", &best.without);
            line.begin("sources", b'[');
            for source in &answer.sources {
                line.begin_item(b'{');
                line.field("source", source.source.name());
                line.field("can_run", source.can_run());
                line.field("lacks", &source.lacks);
                line.field("without", &source.without);
                line.end(b'}');
            }
            line.end(b']');
            line.write(out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ovs_tracers::trace::probes::{Group, Point, Way};

    use super::*;

    fn kernel() -> Kernel {
        Kernel {
            release: "6.18.0".into(),
            uprobes: true,
            ring_buffer: Some(true),
            cookies: Some(true),
            datapath: Some(true),
            missing: Vec::new(),
            privilege: None,
            perf_events: None,
        }
    }

    static FLOW_RESULT: Usdt = Usdt {
        provider: "revalidate",
        name: "flow_result",
        args: 0,
        pointers: &[],
        fetched: &[],
    };

    static PROBED: Group = Group {
        what: "flows",
        ways: &[Way {
            name: "usdt",
            needs: &[],
            points: &[
                Point::Usdt {
                    probe: &bridge_loop::probes::RUN_START,
                    program: "run_start",
                },
                Point::Usdt {
                    probe: &FLOW_RESULT,
                    program: "flow_result",
                },
            ],
        }],
        without: Without::Error,
    };

    static NEEDY: Tool = Tool {
        name: "needy",
        usdt: &[&upcall::probes::FAILED_TOO, &PROBED],
        kernel: &[],
        datapath: true,
    };

    fn usable(_: &Usdt) -> Found {
        Found::Usable { differ: true }
    }

    #[track_caller]
    fn lacks(kernel: &Kernel, find: impl Fn(&Usdt) -> Found) -> String {
        let answer = answer(&NEEDY, kernel, find);
        let [probes] = answer.sources.as_slice() else {
            panic!("one source");
        };
        assert_eq!(probes.can_run(), probes.lacks.is_empty());
        probes.lacks.join("; ")
    }

    /// Check that each thing which a tool needs is reported as missing when it is, and only then.
    #[test]
    fn each_lack() {
        assert_eq!(lacks(&kernel(), usable), "");
        let unknown = Kernel {
            ring_buffer: None,
            cookies: None,
            datapath: None,
            ..kernel()
        };
        assert_eq!(lacks(&unknown, usable), "");
        let no_uprobes = Kernel {
            uprobes: false,
            ..kernel()
        };
        assert!(lacks(&no_uprobes, usable).contains("CONFIG_UPROBE_EVENTS"));
        let old = Kernel {
            ring_buffer: Some(false),
            cookies: Some(false),
            ..kernel()
        };
        assert_eq!(
            lacks(&old, usable),
            "kernel without BPF ring buffers (Linux 5.8); \
             kernel without BPF cookies for sites that differ (Linux 5.15)"
        );
        // Sites that are alike need no cookies.
        assert_eq!(
            lacks(&old, |_| Found::Usable { differ: false }),
            "kernel without BPF ring buffers (Linux 5.8)"
        );
        // A tool that has something to show without it can run.
        let no_btf = Kernel {
            missing: vec![(Need::KernelBtf, "no BTF".into())],
            ..kernel()
        };
        assert_eq!(lacks(&no_btf, usable), "");
        assert_eq!(
            answer(&NEEDY, &no_btf, usable).best().without,
            ["upcalls that fail in the kernel: no BTF"]
        );
        // A second way needs less.
        let no_module_btf = Kernel {
            missing: vec![(Need::DatapathBtf, "no module BTF".into())],
            ..kernel()
        };
        let answer = answer(&NEEDY, &no_module_btf, usable);
        assert!(answer.best().without.is_empty());
        let no_module = Kernel {
            datapath: Some(false),
            ..kernel()
        };
        assert!(lacks(&no_module, usable).contains("modprobe openvswitch"));
        let no_events = Kernel {
            perf_events: Some("perf_event_open(2) is not permitted".into()),
            ..kernel()
        };
        assert_eq!(
            lacks(&no_events, usable),
            "perf_event_open(2) is not permitted"
        );
        let user = Kernel {
            privilege: Some("no privilege to trace: CAP_BPF is missing".into()),
            ..kernel()
        };
        assert_eq!(
            lacks(&user, usable),
            "no privilege to trace: CAP_BPF is missing"
        );
    }

    /// Check that a process without these probes is distinguished from one without any, which is reported once.
    #[test]
    fn each_lack_of_probes() {
        let (pid, path) = (1, "/x".into());
        let none = trace::Error::NoProbes { pid, path };
        assert_eq!(
            lacks(&kernel(), |_| lacking(&none)),
            "built without probes (./configure --enable-usdt-probes)"
        );
        let missing = trace::Error::NoProbe {
            pid,
            probe: String::new(),
            present: vec![],
        };
        let old = |probe: &Usdt| match probe.name {
            "run_start" => usable(probe),
            _ => lacking(&missing),
        };
        assert_eq!(
            lacks(&kernel(), old),
            "no revalidate:flow_result (needs Open vSwitch 3.4 or later)"
        );
        assert_eq!(
            lacks(&kernel(), |_| lacking(&missing)),
            "no main:run_start, no revalidate:flow_result (needs Open vSwitch 3.4 or later)"
        );
        let closed = trace::Error::Permission("/proc/1/maps".into());
        assert_eq!(
            lacks(&kernel(), |_| lacking(&closed)),
            "no privilege to read /proc/1/maps (CAP_SYS_PTRACE)"
        );
        let path = "/x".into();
        let replaced = trace::Error::Replaced { pid, path };
        assert_eq!(
            lacks(&kernel(), |_| lacking(&replaced)),
            "no privilege to read /x, which was replaced since (CAP_CHECKPOINT_RESTORE)"
        );
    }

    static CALLS: Group = Group {
        what: "calls",
        ways: &[Way {
            name: "fentry",
            needs: &[Need::KernelBtf],
            points: &[],
        }],
        without: Without::Error,
    };

    static CAUSES: Group = Group {
        what: "causes",
        ways: &[Way {
            name: "tracepoint",
            needs: &[Need::SkbDynptr],
            points: &[],
        }],
        without: Without::Warning(""),
    };

    static TWOFOLD: Tool = Tool {
        name: "twofold",
        usdt: &[&PROBED],
        kernel: &[&CALLS, &CAUSES],
        datapath: false,
    };

    /// Check that a tool which has the kernel as a second source needs only one of the two, and that the answer says
    /// what each of them lacks.
    #[test]
    fn each_source() {
        let text = |kernel: &Kernel, find: &dyn Fn(&Usdt) -> Found| {
            let answer = answer(&TWOFOLD, kernel, find);
            let best = answer.best();
            (best.source, best.can_run(), answer.text())
        };
        let none = |_: &Usdt| Found::Lacks("no probes".into());
        let all = kernel();
        assert_eq!(
            text(&all, &usable),
            (
                Source::Usdt,
                true,
                "can run: from probes; from the kernel".into()
            )
        );
        assert_eq!(
            text(&all, &none),
            (
                Source::Kernel,
                true,
                "can run from the kernel; not from probes: no probes".into()
            )
        );
        let slow = Kernel {
            missing: vec![(Need::SkbDynptr, "too old".into())],
            uprobes: false,
            ..kernel()
        };
        assert_eq!(
            text(&slow, &usable),
            (
                Source::Kernel,
                true,
                "can run from the kernel, but without causes: too old; \
                 not from probes: kernel built without uprobes (CONFIG_UPROBE_EVENTS)"
                    .into()
            )
        );
        let no_btf = Kernel {
            missing: vec![(Need::KernelBtf, "no BTF".into())],
            ..kernel()
        };
        assert_eq!(
            text(&no_btf, &usable),
            (
                Source::Usdt,
                true,
                "can run from probes; not from the kernel: no BTF".into()
            )
        );
        let nothing = Kernel {
            ring_buffer: Some(false),
            ..no_btf
        };
        assert_eq!(
            text(&nothing, &none),
            (
                Source::Usdt,
                false,
                "cannot: kernel without BPF ring buffers (Linux 5.8); from probes: no probes; \
                 from the kernel: no BTF"
                    .into()
            )
        );
    }

    /// Check that every tool which attaches to probes has its row.
    #[test]
    fn every_tool() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let known = TOOLS.iter().any(|tool| tool.name == name);
            assert!(known || name == "usdt-probes", "{name}");
        }
    }
}
