//! The declarations of what each tool attaches to, against the programs that there are.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use ovs_tracers::trace::probes::{Group, Point, Tool};
use ovs_tracers::{bpf, bridge_loop, cost, dpif_ops, upcall};

/// The names of the programs of a BPF object, with their sections.
fn programs<'obj>(builder: impl SkelBuilder<'obj>) -> Vec<(String, String)> {
    let storage = Box::leak(Box::new(MaybeUninit::uninit()));
    let open = builder.open(storage).unwrap();
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    open.open_object()
        .progs()
        .map(|program| (text(program.name()), text(program.section())))
        .collect()
}

/// Check that each point which `tool` declares, and each of the groups in `more`, has its program with a section of the
/// right kind, and that the only other programs are `others`.
#[track_caller]
fn check<'obj>(
    tool: &Tool,
    more: &[&'static Group],
    builder: impl SkelBuilder<'obj>,
    others: &[&str],
) {
    let programs = programs(builder);
    let mut expected: BTreeSet<String> = others.iter().map(|name| name.to_string()).collect();
    let groups = tool.usdt.iter().chain(tool.kernel).chain(more);
    for point in groups
        .flat_map(|group| group.ways)
        .flat_map(|way| way.points)
    {
        for multi in [false, true] {
            let name = point.program(multi);
            let (_, section) = programs
                .iter()
                .find(|(program, _)| *program == name)
                .unwrap_or_else(|| panic!("{}: no program {name}", tool.name));
            match point {
                Point::Usdt { .. } => {
                    assert_eq!(
                        section,
                        if multi { "uprobe.multi" } else { "uprobe" },
                        "{name}"
                    );
                }
                Point::Kernel { function, .. } => {
                    // A tracepoint goes by another name than the function that has it.
                    let known = section.ends_with(&format!("/{function}"))
                        || section.starts_with("tp")
                        || section.starts_with("raw_tp");
                    assert!(known, "{name}: {section}");
                }
            }
            expected.insert(name);
        }
    }
    let all: BTreeSet<String> = programs.into_iter().map(|(name, _)| name).collect();
    assert_eq!(all, expected, "{}", tool.name);
}

/// Check that what the tools declare and what their BPF programs are called is the same.
#[test]
fn declared_programs() {
    use upcall::probes::{FAILED_TOO_FILTERED, RECEIVED_FILTERED, RECEIVED_KERNEL_FILTERED};

    check(
        &upcall::probes::TOOL,
        &[
            &FAILED_TOO_FILTERED,
            &RECEIVED_FILTERED,
            &RECEIVED_KERNEL_FILTERED,
        ],
        bpf::upcall_monitor::UpcallMonitorSkelBuilder::default(),
        &["run_packet_filter"],
    );
    check(
        &cost::probes::TOOL,
        &[],
        bpf::upcall_cost::UpcallCostSkelBuilder::default(),
        &[],
    );
    check(
        &bridge_loop::probes::TOOL,
        &[],
        bpf::bridge_loop::BridgeLoopSkelBuilder::default(),
        &["take_stack"],
    );
    check(
        &dpif_ops::probes::TOOL,
        &[],
        bpf::dpif_ops::DpifOpsSkelBuilder::default(),
        &[],
    );
}

/// Check that the arguments which are fetched, and those which must be pointers, are among those that a probe has.
#[test]
fn declared_arguments() {
    for tool in [
        &upcall::probes::TOOL,
        &cost::probes::TOOL,
        &bridge_loop::probes::TOOL,
        &dpif_ops::probes::TOOL,
    ] {
        let ways = tool.usdt.iter().flat_map(|group| group.ways);
        for probe in ways.flat_map(|way| way.probes()) {
            let in_range = |i: &usize| *i < probe.args;
            assert!(probe.fetched.iter().all(in_range), "{probe}");
            assert!(probe.pointers.iter().all(in_range), "{probe}");
        }
    }
}
