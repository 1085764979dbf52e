//! What a tool attaches to, as data: a [`Tool`] declares [`Group`]s of events, each with its [`Way`]s to see them.
//!
//! Attaching, `usdt-probes --check` and the tests read the same declarations.

use super::kernel::Need;

/// A USDT probe of ovs-vswitchd.
#[derive(Clone, Copy, Debug)]
pub struct Usdt {
    pub provider: &'static str,
    pub name: &'static str,
    /// How many arguments it has. This is not checked if none is fetched.
    pub args: usize,
    /// Which of them are pointers, so that they must have 8 bytes.
    pub pointers: &'static [usize],
    /// Which of them the programs fetch, in the order of their own enum.
    pub fetched: &'static [usize],
}

/// A place that a program is attached to. Programs go by their names in the BPF object.
#[derive(Debug)]
pub enum Point {
    /// All sites of a probe. There are two programs, the one named and one with `_multi` at its end: `UPROBE_PROGRAMS`
    /// of `bpf/uprobe.bpf.h`.
    Usdt {
        probe: &'static Usdt,
        program: &'static str,
    },
    /// A function or a tracepoint of the kernel or of its module openvswitch. The program's section says how it is
    /// attached.
    Kernel {
        function: &'static str,
        program: &'static str,
    },
}

/// One way to see the events of a group.
#[derive(Debug)]
pub struct Way {
    pub name: &'static str,
    pub needs: &'static [Need],
    /// In the order in which an event passes them. They are attached from the last to the first and detached from the
    /// first to the last, so that an event which is seen at one of them is seen at all that follow.
    pub points: &'static [Point],
}

/// What is done if there is no way to see the events of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// The tool ends with an error.
    Error,
    /// The tool goes on after a warning, with this as its second line if it is not empty.
    Warning(&'static str),
    /// There is no message, because another group has one.
    Nothing,
}

/// Events that a tool sees in the same way.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The events, as in "failed to see ...".
    pub what: &'static str,
    /// In the order of preference.
    pub ways: &'static [Way],
    pub without: Without,
}

/// The group of events that only USDT probes show: `usdt_group!("puts": OP_FLOW_PUT => "op_flow_put")`, with the probes
/// in the order of [`Way::points`] and the programs for them. Without these probes the tool ends with an error. With
/// `bare` before the colon the programs read no arguments.
#[macro_export]
macro_rules! usdt_group {
    ($what:literal: $($points:tt)+) => {
        $crate::usdt_group!(@ $what, &[$crate::trace::kernel::Need::Memory], $($points)+)
    };
    ($what:literal bare: $($points:tt)+) => {
        $crate::usdt_group!(@ $what, &[], $($points)+)
    };
    (@ $what:literal, $needs:expr, $($probe:ident => $program:literal),+ $(,)?) => {
        $crate::trace::probes::Group {
            what: $what,
            ways: &[$crate::trace::probes::Way {
                name: "usdt",
                needs: $needs,
                points: &[$($crate::trace::probes::Point::Usdt {
                    probe: &$probe,
                    program: $program,
                }),+],
            }],
            without: $crate::trace::probes::Without::Error,
        }
    };
}

/// Where a tool takes its events from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The USDT probes of ovs-vswitchd.
    Usdt,
    /// The kernel's own functions and tracepoints, whatever ovs-vswitchd was built with.
    Kernel,
}

impl Source {
    /// As `--source` and JSON have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usdt => "usdt",
            Self::Kernel => "kernel",
        }
    }
}

/// What a tool declares.
#[derive(Debug)]
pub struct Tool {
    pub name: &'static str,
    /// What it attaches to with the daemon's probes as its source, in the order in which an event passes them, as the
    /// points of a [`Way`].
    pub usdt: &'static [&'static Group],
    /// The same with the kernel as its source.
    pub kernel: &'static [&'static Group],
    /// Whether all of its events come from the kernel's datapath.
    pub datapath: bool,
}

impl Tool {
    pub fn groups(&self, source: Source) -> &'static [&'static Group] {
        match source {
            Source::Usdt => self.usdt,
            Source::Kernel => self.kernel,
        }
    }
}

impl Group {
    /// The probes that any of its ways attaches to.
    pub fn probes(&self) -> impl Iterator<Item = &'static Usdt> {
        self.ways.iter().flat_map(Way::probes)
    }
}

impl Way {
    /// The probes that it attaches to.
    pub fn probes(&self) -> impl Iterator<Item = &'static Usdt> {
        self.points.iter().filter_map(|point| match point {
            Point::Usdt { probe, .. } => Some(*probe),
            Point::Kernel { .. } => None,
        })
    }
}

impl Point {
    /// The name of its program, where uprobe-multi is used or not.
    pub fn program(&self, multi: bool) -> String {
        match self {
            Self::Usdt { program, .. } if multi => format!("{program}_multi"),
            Self::Usdt { program, .. } | Self::Kernel { program, .. } => (*program).to_string(),
        }
    }
}

impl std::fmt::Display for Usdt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.provider, self.name)
    }
}
