//! What the tools say where a sandbox or an old kernel refuses what they ask for.
//!
//! The kernel of this machine is made to refuse it by a seccomp filter, and to seem old by its personality. What other
//! kernels refuse is provoked in the lab. These tests need root. Without it each is listed as ignored: this is why they
//! have a harness of their own.

mod common;

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use common::{
    BRIDGE_LOOP, DPIF_OPS, StandIn, UPCALL_COST, UPCALL_MONITOR, is_installed, is_root, trial,
};
use libtest_mimic::Arguments;
use ovs_tracers::trace::kernel::{has_kernel_btf, kernel_version};

const USDT_PROBES: &str = env!("CARGO_BIN_EXE_usdt-probes");
const TOOLS: [&str; 4] = [UPCALL_MONITOR, UPCALL_COST, BRIDGE_LOOP, DPIF_OPS];

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let root = ("root", is_root());
    let trials = vec![
        trial("bpf_forbidden", bpf_forbidden, &[root]),
        trial("perf_events_forbidden", perf_events_forbidden, &[root]),
        trial(
            "tracepoints_forbidden",
            tracepoints_forbidden,
            &[root, ("BTF", has_kernel_btf())],
        ),
        trial(
            "uprobes_without_sys_admin",
            uprobes_without_sys_admin,
            &[
                root,
                ("setpriv", is_installed("setpriv")),
                ("Linux 6.16", uprobes_take_sys_admin()),
            ],
        ),
        trial("no_ring_buffers", no_ring_buffers, &[root]),
    ];
    libtest_mimic::run(&args, trials).exit_code()
}

/// A system call, if its first argument is this one, and what it fails with.
type Refusal = (libc::c_long, Option<u32>, i32);

/// Has the program run under a seccomp filter (`linux/seccomp.h`).
fn refuse(command: &mut Command, (call, first, errno): Refusal) {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    // Goes on if equal, else to the last instruction.
    let only = |k: u32, left: u8| libc::sock_filter {
        jf: left,
        ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k)
    };
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let give = |verdict| statement(libc::BPF_RET | libc::BPF_K, verdict);
    // Offsets in `struct seccomp_data`: the number of the call, and the lower half of its first argument.
    let (number, argument) = (0, 16);
    let call = u32::try_from(call).expect("a system call's number");
    let mut filter = match first {
        None => vec![load(number), only(call, 1)],
        Some(first) => vec![load(number), only(call, 3), load(argument), only(first, 1)],
    };
    filter.push(give(libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()));
    filter.push(give(libc::SECCOMP_RET_ALLOW));
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel reads `program` and the instructions that it points to, which live as long as the closure.
        match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec it makes one system call and allocates nothing.
    unsafe { command.pre_exec(install) };
}

/// Has the program run on a kernel that says it is Linux 2.6: the personality UNAME26 of `linux/personality.h`.
fn seem_old(command: &mut Command) {
    let set = || {
        // SAFETY: it takes and returns a number.
        match unsafe { libc::personality(libc::UNAME26 as libc::c_ulong) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: between fork and exec it makes one system call and allocates nothing.
    unsafe { command.pre_exec(set) };
}

/// The tool on this process.
fn tool(tool: &str, target: &StandIn, args: &[&str]) -> Command {
    let mut command = Command::new(tool);
    command.args(["-p", &target.pid.to_string()]).args(args);
    command
}

/// What the tool says, which fails without showing anything.
#[track_caller]
fn refused(mut command: Command) -> String {
    let output = command.output().expect("the tool starts");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(output.stdout.is_empty(), "{stderr}");
    stderr
}

/// What usdt-probes --check says of each tool, by a name of its own.
#[track_caller]
fn check(target: &StandIn, prepare: impl Fn(&mut Command)) -> Vec<String> {
    let mut command = tool(USDT_PROBES, target, &["--check"]);
    prepare(&mut command);
    let output = command.output().expect("usdt-probes starts");
    assert_eq!(output.stderr, b"");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<String> = text.lines().skip(2).map(str::to_string).collect();
    assert_eq!(lines.len(), TOOLS.len(), "{text}");
    lines
}

fn forbidden(call: &str) -> String {
    format!("{call} is not permitted here, although no capability is missing")
}

const ALLOW: &str = "  a seccomp filter or a security module forbids it, a container's for example; allow it there, or run on the host\n";

/// Check that where bpf() is forbidden to root, as in a container, each tool says so, and usdt-probes --check of each.
fn bpf_forbidden() {
    let target = StandIn::start("standin", &[]);
    for errno in [libc::EPERM, libc::EACCES] {
        let bpf = (libc::SYS_bpf, None, errno);
        for name in TOOLS {
            let mut command = tool(name, &target, &[]);
            refuse(&mut command, bpf);
            let forbidden = forbidden("bpf(2)");
            assert_eq!(refused(command), format!("error: {forbidden}\n{ALLOW}"));
        }
        for line in check(&target, |command| refuse(command, bpf)) {
            assert!(line.contains(" cannot: "), "{line}");
            assert!(line.contains(&forbidden("bpf(2)")), "{line}");
        }
    }
}

/// Check that where perf events are forbidden and each uprobe is one, as before Linux 6.10, the tools say so.
fn perf_events_forbidden() {
    let prepare = |command: &mut Command| {
        seem_old(command);
        refuse(command, (libc::SYS_perf_event_open, None, libc::EPERM));
    };
    let forbidden = forbidden("perf_event_open(2)");
    for (name, standin) in [(UPCALL_MONITOR, "standin"), (BRIDGE_LOOP, "standin-loop")] {
        let target = StandIn::start(standin, &[]);
        let mut command = tool(name, &target, &["--source", "usdt"]);
        prepare(&mut command);
        let said = refused(command);
        assert!(
            said.ends_with(&format!("error: {forbidden}\n{ALLOW}")),
            "{said}"
        );
        for line in check(&target, prepare) {
            assert!(line.contains(&forbidden), "{line}");
        }
    }
}

/// Check that it is said of tracepoints, too, which are perf events on all kernels.
fn tracepoints_forbidden() {
    let target = StandIn::start("standin-loop", &[]);
    let mut command = tool(
        BRIDGE_LOOP,
        &target,
        &[
            "--source",
            "kernel",
            "--kernel-side",
            "tracepoints of system calls",
        ],
    );
    refuse(
        &mut command,
        (libc::SYS_perf_event_open, None, libc::EACCES),
    );
    let said = refused(command);
    let forbidden = forbidden("perf_event_open(2)");
    assert!(
        said.starts_with("error: calls of poll() cannot be seen: "),
        "{said}"
    );
    assert!(said.contains(&forbidden), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
}

/// Check that where uprobes are perf events, which take CAP_SYS_ADMIN, this is said to who lacks that alone.
fn uprobes_without_sys_admin() {
    let target = StandIn::start("standin", &[]);
    let without = |program: &str, args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-sys_admin", "--inh-caps=-all", program]);
        command.args(["-p", &target.pid.to_string()]).args(args);
        seem_old(&mut command);
        command
    };
    let said = refused(without(UPCALL_MONITOR, &["--source", "usdt"]));
    let error = said.lines().rev().take(2).collect::<Vec<_>>();
    assert!(
        error[1].starts_with("error: on this kernel (2.6."),
        "{said}"
    );
    assert!(error[1].ends_with(") uprobes take CAP_SYS_ADMIN"), "{said}");
    assert_eq!(
        error[0],
        "  run it as root, or give it that, too; from Linux 6.10 on CAP_BPF and CAP_PERFMON are enough"
    );
    let output = without(USDT_PROBES, &["--check"])
        .output()
        .expect("it starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(
        text.matches(") uprobes take CAP_SYS_ADMIN").count(),
        TOOLS.len(),
        "{text}"
    );
}

/// Whether this kernel lets nobody without CAP_SYS_ADMIN make such uprobes: since Linux 6.16.
fn uprobes_take_sys_admin() -> bool {
    kernel_version() >= (6, 16)
}

/// Check that a kernel without ring buffers is named, with the version that has them, by each tool and of each.
fn no_ring_buffers() {
    const BPF_MAP_CREATE: u32 = 0;
    let prepare = |command: &mut Command| {
        seem_old(command);
        refuse(command, (libc::SYS_bpf, Some(BPF_MAP_CREATE), libc::EINVAL));
    };
    for (name, standin) in [(UPCALL_MONITOR, "standin"), (BRIDGE_LOOP, "standin-loop")] {
        let target = StandIn::start(standin, &[]);
        let mut command = tool(name, &target, &["--source", "usdt"]);
        prepare(&mut command);
        let said = refused(command);
        let (fact, way_out) = said.split_once('\n').expect("two lines");
        assert!(fact.starts_with("error: this kernel (2.6."), "{said}");
        assert!(fact.ends_with(") has no BPF ring buffers"), "{said}");
        assert_eq!(
            way_out,
            "  Linux 5.8 or later is needed; usdt-probes --check says more\n"
        );
    }
    let target = StandIn::start("standin", &[]);
    for line in check(&target, prepare) {
        assert!(
            line.contains(" cannot: kernel without BPF ring buffers (Linux 5.8)"),
            "{line}"
        );
    }
}
