//! Which tracers can run on a process and on this kernel.

use std::io::{self, Write};
use std::path::Path;

use libbpf_rs::MapType;
use ovs_tracers::ovs::ports;
use ovs_tracers::show::escape::Escaped;
use ovs_tracers::show::json::Line;
use ovs_tracers::trace::target::{self, Target};
use ovs_tracers::trace::tracer;
use ovs_tracers::trace::usdt::{self, parse_args};

use crate::show;

/// What a tracer needs, besides the privilege to load a BPF program and a kernel with ring buffers.
struct Tool {
    name: &'static str,
    /// `provider:name`; it attaches to all of them.
    probes: &'static [&'static str],
    /// The datapath of the kernel, whose upcalls and flows it shows.
    datapath: bool,
    /// Type information of the kernel and its modules.
    btf: bool,
}

/// A new tracer gets a row here.
const TOOLS: [Tool; 3] = [
    Tool {
        name: "upcall-monitor",
        probes: &["dpif_recv:recv_upcall"],
        datapath: true,
        btf: false,
    },
    Tool {
        name: "upcall-cost",
        probes: &[
            "dpif_recv:recv_upcall",
            "dpif_netlink_operate__:op_flow_put",
            "dpif_netlink_operate__:op_flow_execute",
        ],
        datapath: true,
        btf: true,
    },
    Tool {
        name: "bridge-loop",
        probes: &["main:run_start", "main:poll_block"],
        datapath: false,
        btf: false,
    },
];

/// The answer for one process.
pub struct Report {
    pid: u32,
    /// Its program, and what its probes say of its age.
    process: String,
    kernel: Kernel,
    answers: Vec<Answer>,
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    tool: &'static str,
    can_run: bool,
    lacks: Vec<String>,
}

/// What the kernel has, and what we may do with it.
struct Kernel {
    release: String,
    uprobes: bool,
    ring_buffer: bool,
    cookies: bool,
    btf: bool,
    /// `None` if the kernel does not say.
    datapath: Option<bool>,
    /// What is missing.
    privilege: Option<String>,
}

impl Kernel {
    fn query() -> Self {
        let privilege = tracer::check_privilege();
        // Distributions add to old kernels; and one that forbids the question, in a sandbox for example, says no.
        let ring_buffer = tracer::kernel_version() >= (5, 8)
            || privilege.is_ok() && MapType::RingBuf.is_supported().unwrap_or(false);
        let devices = Path::new("/sys/bus/event_source/devices");
        Self {
            release: tracer::kernel_release(),
            uprobes: !devices.exists() || devices.join("uprobe").exists(),
            ring_buffer,
            cookies: tracer::has_cookie(),
            btf: tracer::has_kernel_btf(),
            datapath: ports::has_kernel_datapath().ok(),
            privilege: privilege.err().map(|error| first_line(&error)),
        }
    }
}

/// The fact without the way out.
fn first_line(error: &impl ToString) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_string()
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

fn find(target: &Target, probe: &str) -> Found {
    let (provider, name) = probe.split_once(':').unwrap_or((probe, ""));
    let found = match target.find_probe(provider, name) {
        Ok(found) => found,
        Err(error) => return lacking(&error),
    };
    let mut strings: Vec<&str> = Vec::new();
    for (_, probe) in &found {
        for site in &probe.sites {
            if let Err(error) = parse_args(&site.args, probe.machine) {
                return Found::Lacks(first_line(&error));
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

fn lacking(error: &target::Error) -> Found {
    Found::Lacks(match error {
        target::Error::NoProbe { .. } => return Found::Absent,
        target::Error::NoProbes { .. } => {
            "built without probes (./configure --enable-usdt-probes)".into()
        }
        target::Error::Permission(path) => {
            format!("no privilege to read {} (CAP_SYS_PTRACE)", path.display())
        }
        target::Error::Replaced { path, .. } => format!(
            "no privilege to read {}, which was replaced since (CAP_CHECKPOINT_RESTORE)",
            path.display()
        ),
        error => first_line(error),
    })
}

impl Tool {
    fn answer(&self, kernel: &Kernel, mut find: impl FnMut(&str) -> Found) -> Answer {
        let mut lacks: Vec<String> = Vec::new();
        let mut absent = Vec::new();
        let mut differ = false;
        for &probe in self.probes {
            match find(probe) {
                Found::Usable { differ: differs } => differ |= differs,
                Found::Absent => absent.push(probe),
                // That there are no probes at all is said once.
                Found::Lacks(what) if !lacks.contains(&what) => lacks.push(what),
                Found::Lacks(_) => {}
            }
        }
        if !absent.is_empty() {
            let newest = absent.iter().filter_map(|probe| target::release(probe));
            lacks.push(match newest.max() {
                Some(release) => format!(
                    "no {} (needs Open vSwitch {release} or later)",
                    absent.join(", no ")
                ),
                None => format!("no {}", absent.join(", no ")),
            });
        }
        let mut need = |has: bool, what: &str| {
            if !has {
                lacks.push(what.into());
            }
        };
        need(
            kernel.uprobes,
            "kernel built without uprobes (CONFIG_UPROBE_EVENTS)",
        );
        need(
            kernel.ring_buffer,
            "kernel without BPF ring buffers (Linux 5.8)",
        );
        need(
            kernel.cookies || !differ,
            "kernel without BPF cookies for sites that differ (Linux 5.15)",
        );
        need(
            kernel.btf || !self.btf,
            "kernel without BTF (CONFIG_DEBUG_INFO_BTF)",
        );
        need(
            kernel.datapath != Some(false) || !self.datapath,
            "no openvswitch module in the kernel, so no upcalls (modprobe openvswitch)",
        );
        if let Some(missing) = &kernel.privilege {
            need(false, missing);
        }
        Answer {
            tool: self.name,
            can_run: lacks.is_empty(),
            lacks,
        }
    }
}

/// Looks at the process, or at the ovs-vswitchd that runs.
pub fn check(pid: Option<u32>) -> anyhow::Result<Report> {
    let target = Target::find(pid)?;
    let kernel = Kernel::query();
    let answers = TOOLS
        .iter()
        .map(|tool| tool.answer(&kernel, |probe| find(&target, probe)))
        .collect();
    Ok(Report {
        pid: target.pid(),
        process: describe(&target),
        kernel,
        answers,
    })
}

/// The program, and how old it is by its probes.
fn describe(target: &Target) -> String {
    let objects = match target.objects() {
        Ok(objects) => objects,
        Err(error) => return first_line(&error),
    };
    let path = objects[0].path.display().to_string();
    let found = objects.iter().filter_map(|object| object.probes().ok());
    let releases: Vec<&str> = found
        .flat_map(|found| found.probes)
        .filter_map(|usdt::Probe { provider, name, .. }| {
            target::release(&format!("{provider}:{name}"))
        })
        .collect();
    // All of them have two parts, and the major is one digit: 2.17, 3.2, 3.4.
    match releases.iter().max() {
        Some(newest) => format!("{path}, with the probes of Open vSwitch {newest} or later"),
        None => format!("{path}, with no probe of Open vSwitch"),
    }
}

impl Report {
    pub fn all_can_run(&self) -> bool {
        self.answers.iter().all(|answer| answer.can_run)
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
            ("BPF ring buffers", Some(kernel.ring_buffer)),
            ("BPF cookies", Some(kernel.cookies)),
            ("BTF", Some(kernel.btf)),
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
        for Answer { tool, lacks, .. } in &self.answers {
            let answer = match lacks.as_slice() {
                [] => "can run".to_string(),
                lacks => format!("cannot: {}", lacks.join("; ")),
            };
            writeln!(out, "{tool:width$}  {}", Escaped::text(&answer))?;
        }
        Ok(())
    }

    pub fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let mut line = Line::default();
        show::json_start(out, &mut line, Some(self.pid))?;
        for Answer {
            tool,
            can_run,
            lacks,
        } in &self.answers
        {
            line.record("check");
            line.field("tool", tool);
            line.field("can_run", can_run);
            line.field("lacks", lacks);
            line.write(out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> Kernel {
        Kernel {
            release: "6.18.0".into(),
            uprobes: true,
            ring_buffer: true,
            cookies: true,
            btf: true,
            datapath: Some(true),
            privilege: None,
        }
    }

    const NEEDY: Tool = Tool {
        name: "needy",
        probes: &["main:run_start", "revalidate:flow_result"],
        datapath: true,
        btf: true,
    };

    fn usable(_: &str) -> Found {
        Found::Usable { differ: true }
    }

    #[track_caller]
    fn lacks(kernel: &Kernel, find: impl FnMut(&str) -> Found) -> String {
        let answer = NEEDY.answer(kernel, find);
        assert_eq!(answer.can_run, answer.lacks.is_empty());
        answer.lacks.join("; ")
    }

    /// Check that each thing which a tool needs is said to be missing when it is, and only then.
    #[test]
    fn each_lack() {
        assert_eq!(lacks(&kernel(), usable), "");
        let unknown = Kernel {
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
            ring_buffer: false,
            cookies: false,
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
        let no_btf = Kernel {
            btf: false,
            ..kernel()
        };
        assert!(lacks(&no_btf, usable).contains("without BTF"));
        let no_module = Kernel {
            datapath: Some(false),
            ..kernel()
        };
        assert!(lacks(&no_module, usable).contains("modprobe openvswitch"));
        let user = Kernel {
            privilege: Some("no privilege to trace: CAP_BPF is missing".into()),
            ..kernel()
        };
        assert_eq!(
            lacks(&user, usable),
            "no privilege to trace: CAP_BPF is missing"
        );
    }

    /// Check that a process without the probes is told apart from one without probes, which is said once.
    #[test]
    fn each_lack_of_probes() {
        let (pid, path) = (1, "/x".into());
        let none = target::Error::NoProbes { pid, path };
        assert_eq!(
            lacks(&kernel(), |_| lacking(&none)),
            "built without probes (./configure --enable-usdt-probes)"
        );
        let missing = target::Error::NoProbe {
            pid,
            probe: String::new(),
            present: vec![],
        };
        let old = |probe: &str| match probe {
            "main:run_start" => usable(probe),
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
        let closed = target::Error::Permission("/proc/1/maps".into());
        assert_eq!(
            lacks(&kernel(), |_| lacking(&closed)),
            "no privilege to read /proc/1/maps (CAP_SYS_PTRACE)"
        );
        let path = "/x".into();
        let replaced = target::Error::Replaced { pid, path };
        assert_eq!(
            lacks(&kernel(), |_| lacking(&replaced)),
            "no privilege to read /x, which was replaced since (CAP_CHECKPOINT_RESTORE)"
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
