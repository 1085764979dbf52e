//! The filters that the programs in the kernel apply, and the names in them.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release},
};

use anyhow::{bail, ensure};
use ovs_tracers::bpf::upcall_monitor::types;
use ovs_tracers::run::session::Daemon;
use ovs_tracers::show::escape::escape;
use ovs_tracers::show::message::note;
use ovs_tracers::trace::libbpf_log;
use ovs_tracers::upcall::packet_filter::{self, Filter, InKernel, NotInKernel};

use crate::args::Filters;
use crate::live::{MAX_PORTS, MAX_TARGETS};

/// The packet filter as the kernel runs it, or why the kernel cannot run it.
pub fn filter_in_kernel(filter: &Filter, verbose: bool) -> Result<InKernel, NotInKernel> {
    let filter = filter.in_kernel()?;
    let loaded = packet_filter::load(&filter, &mut MaybeUninit::uninit()).map(drop);
    let log = libbpf_log::take();
    if loaded.is_err() {
        if verbose {
            eprint!("{log}");
        }
        return Err(NotInKernel::Refused);
    }
    Ok(filter)
}

/// Sets the filters of the programs.
pub fn set_filters(filters: &Filters, rodata: &mut types::rodata) {
    if let Some(kind) = filters.kind {
        rodata.targ_by_type = 1;
        rodata.targ_type = kind.number();
    }
    rodata.targ_min_size = filters.min_size;
    rodata.targ_tid = filters.thread.id().unwrap_or(0);
    (rodata.targ_by_comm, rodata.targ_comm) = filters.thread.comm();
    if let Some(name) = filters.datapath() {
        rodata.targ_by_datapath = 1;
        copy_name(&mut rodata.targ_datapath[..31], &name);
    }
    rodata.targ_by_port = (!filters.port.is_empty()).into();
    rodata.targ_filters =
        (filters.min_size > 0 || filters.dp.is_some() || !filters.port.is_empty()).into();
}

fn copy_name(to: &mut [i8], name: &str) {
    for (to, from) in to.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
}

/// Fails if no port, or no datapath, has the name that was asked for, or if the kernel did not tell which ports there
/// are.
pub fn check_names(filters: &Filters, daemons: &[Daemon]) -> anyhow::Result<()> {
    let known = || daemons.iter().flat_map(|daemon| daemon.ports.snapshot());
    let failure = daemons.iter().find_map(|daemon| daemon.ports.failure());
    if let Some(port) = filters
        .port
        .iter()
        .find(|port| numbers(port, daemons).is_empty())
    {
        if let Some(error) = failure {
            bail!(
                "cannot look up port {port}: {error}\n{}, or use its number",
                error.way_out()
            );
        }
        match list(known().map(|(_, _, name)| name.as_bytes())) {
            None => bail!("no port named {port}\nthe kernel names no port here; use its number"),
            Some(ports) => bail!("no port named {port}\nknown: {ports}"),
        }
    }
    // If the kernel names no datapaths, or not all, there is nothing to compare with.
    if failure.is_none()
        && let Some(wanted) = filters.datapath()
        && let Some(datapaths) = list(known().map(|(datapath, _, _)| datapath))
        && !known().any(|(datapath, _, _)| datapath == wanted.as_bytes())
    {
        bail!("no datapath named {wanted}; a bridge is not a datapath\nknown: {datapaths}");
    }
    Ok(())
}

/// These names, each once, and at most 20 of them; `None` if there is no name.
fn list<'a>(names: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    const SHOWN: usize = 20;
    let names: BTreeSet<&[u8]> = names.collect();
    let mut text = String::new();
    for (i, name) in names.iter().take(SHOWN).enumerate() {
        text.push_str(if i == 0 { "" } else { ", " });
        // Writing to a String cannot fail.
        let _ = escape(&mut text, name);
    }
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} others", names.len() - SHOWN));
    }
    (!text.is_empty()).then_some(text)
}

/// The ports of --port.
pub struct PortFilter<'a> {
    wanted: &'a [String],
    /// Numbers that the program had no room for, when that was last reported.
    reported: usize,
}

impl<'a> PortFilter<'a> {
    pub fn new(wanted: &'a [String]) -> anyhow::Result<Self> {
        ensure!(
            wanted.len() <= MAX_PORTS / MAX_TARGETS,
            "{} ports are too many: at most {} can be asked for",
            wanted.len(),
            MAX_PORTS / MAX_TARGETS
        );
        Ok(Self {
            wanted,
            reported: 0,
        })
    }

    /// What the program looks for: for each port the index of the daemon, above, and the number of the port.
    pub fn numbers(&mut self, daemons: &[Daemon]) -> Vec<u64> {
        let ports = self.wanted.iter();
        let lists: Vec<Vec<u64>> = ports.map(|port| numbers(port, daemons)).collect();
        // A device that came and went has had many numbers under one name. Each port has its newest numbers first.
        let most = lists.iter().map(Vec::len).max().unwrap_or(0);
        let rank = |rank: usize| lists.iter().filter_map(move |list| list.get(rank));
        let mut all: Vec<u64> = (0..most).flat_map(rank).copied().collect();
        let excess = all.len().saturating_sub(MAX_PORTS);
        if excess > self.reported {
            self.reported = excess;
            note(format_args!(
                "warning: the ports of --port have or had {} numbers; upcalls of the {excess} oldest are not shown",
                all.len()
            ));
        }
        all.truncate(MAX_PORTS);
        all
    }

    /// Lets the program know which numbers the ports have now.
    pub fn install(&mut self, daemons: &[Daemon], (count, ports): (&[AtomicU64], &[AtomicU64])) {
        let wanted = self.numbers(daemons);
        for (to, number) in ports.iter().zip(&wanted) {
            to.store(*number, Relaxed);
        }
        count[0].store(wanted.len() as u64, Relaxed);
    }
}

/// The names of the datapaths for the programs, whose messages have numbers: `datapath_number` and `datapath_name_of` of
/// `bpf/upcall_monitor/datapaths.bpf.h`.
pub struct DatapathNames<'a> {
    pub numbers: &'a [AtomicU64],
    /// Four words for each name.
    pub names: &'a [AtomicU64],
}

impl DatapathNames<'_> {
    /// Lets the programs know which numbers the datapaths have now.
    pub fn install(&self, daemons: &[Daemon]) {
        let known = daemons.iter().enumerate().flat_map(|(target, daemon)| {
            let datapaths = daemon.ports.datapaths();
            datapaths.map(move |(ifindex, name)| ((target as u64) << 32 | u64::from(ifindex), name))
        });
        let mut known = known.fuse();
        for (number, words) in self.numbers.iter().zip(self.names.chunks(4)) {
            let (new, name) = known.next().unwrap_or((0, b""));
            let mut bytes = [0; 32];
            // The last byte ends the name.
            for (to, from) in bytes[..31].iter_mut().zip(name) {
                *to = *from;
            }
            let as_words = bytes
                .chunks(8)
                .map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()));
            let same = |(word, new): (&AtomicU64, u64)| word.load(Relaxed) == new;
            if number.load(Relaxed) == new && words.iter().zip(as_words.clone()).all(same) {
                continue;
            }
            // The program takes no name whose number changes while it copies it.
            number.store(0, Release);
            for (word, new) in words.iter().zip(as_words) {
                word.store(new, Release);
            }
            number.store(new, Release);
        }
    }
}

fn numbers(port: &str, daemons: &[Daemon]) -> Vec<u64> {
    let of = |(target, daemon): (usize, &Daemon)| {
        let numbers = match port.parse::<u32>() {
            Ok(number) => vec![number],
            Err(_) => daemon.ports.numbers(port),
        };
        let target = (target as u64) << 32;
        let numbers = numbers.into_iter();
        numbers.map(move |number| target | u64::from(number))
    };
    daemons.iter().enumerate().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use clap::Parser;
    use ovs_tracers::ovs::ports::{self, PortNames};

    use super::*;
    use crate::args::Args;

    /// Check that a name which no port or datapath has is an error that lists the known names, safe for a terminal;
    /// that numbers need no name; and that any datapath is accepted where the kernel names none.
    #[test]
    fn names_are_checked() {
        let mut names = PortNames::default();
        names.insert(b"system@ovs-system", 1, "veth0");
        names.insert(b"system@ovs-system", 2, "a\x1b[31m");
        names.insert(b"system@dp1", 1, "veth0");
        let daemons = [PortNames::default(), names].map(|ports| Daemon { pid: 1, ports });
        let check = |daemons: &[Daemon], args: &[&str]| {
            let args = Args::parse_from([&["upcall-monitor"], args].concat());
            check_names(&args.filters, daemons).map_err(|error| error.to_string())
        };
        for good in [
            &["--port", "veth0"][..],
            &["--port", "77", "--dp", "dp1"],
            &["--dp", "system@ovs-system"],
        ] {
            assert_eq!(check(&daemons, good), Ok(()));
        }
        for (bad, expected) in [
            (
                ["--port", "veth1"],
                "no port named veth1\nknown: a\\u{1b}[31m, veth0",
            ),
            (
                ["--dp", "br0"],
                "no datapath named system@br0; a bridge is not a datapath\nknown: system@dp1, system@ovs-system",
            ),
        ] {
            assert_eq!(check(&daemons, &bad), Err(expected.to_string()));
        }
        assert_eq!(check(&daemons[..1], &["--dp", "br0"]), Ok(()));
        let error = check(&daemons[..1], &["--port", "p"]).unwrap_err();
        assert!(error.ends_with("use its number"), "{error}");

        // What the kernel did not tell may exist.
        let late = io::Error::new(io::ErrorKind::TimedOut, "no whole answer within 5 s");
        let [none, mut some] = daemons;
        let unknown = PortNames::unknown(ports::Error::Ports(late));
        let daemons = [
            none,
            Daemon {
                pid: 2,
                ports: unknown,
            },
        ];
        assert_eq!(
            check(&daemons, &["--port", "veth1"]).unwrap_err(),
            "cannot look up port veth1: the kernel did not tell the names of all ports: no whole answer within 5 s\n\
             try again, or use its number"
        );
        assert_eq!(check(&daemons, &["--dp", "br0"]), Ok(()));
        let [_, unknown] = daemons;
        some.pid = 3;
        let daemons = [some, unknown];
        assert_eq!(check(&daemons, &["--port", "veth0"]), Ok(()));
        assert_eq!(check(&daemons, &["--dp", "br0"]), Ok(()));
        let denied = io::ErrorKind::PermissionDenied.into();
        let namespace = ports::Error::Namespace {
            pid: 7,
            source: denied,
        };
        let ports = PortNames::unknown(namespace);
        let error = check(&[Daemon { pid: 7, ports }], &["--port", "p"]).unwrap_err();
        assert_eq!(
            error,
            "cannot look up port p: cannot enter the network namespace of process 7: permission denied\n\
             run as root, or use its number"
        );

        let many: Vec<String> = (0..30).map(|i| format!("p{i}")).collect();
        let text = list(many.iter().map(String::as_bytes)).unwrap();
        assert!(text.ends_with("p26 and 10 others"), "{text}");
    }

    /// Check that a port which came and went more often than there is room for is looked for by its newest numbers, and
    /// that the other numbers are counted.
    #[test]
    fn newest_numbers() {
        let mut ports = PortNames::default();
        for number in 0..100 {
            ports.insert(b"system@ovs-system", number, "tap0");
        }
        let daemons = [Daemon { pid: 1, ports }];
        let wanted = ["tap0".to_string(), "7".to_string()];
        let mut filter = PortFilter::new(&wanted).unwrap();
        let numbers = filter.numbers(&daemons);
        assert_eq!(numbers.len(), MAX_PORTS);
        assert!(numbers.contains(&7), "{numbers:?}");
        assert_eq!(filter.reported, 101 - MAX_PORTS);
    }
}
