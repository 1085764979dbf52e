//! The sections of the manual page that clap knows nothing of.

use ovs_tracers::cli::manual::{self, Section};

pub fn sections() -> Vec<Section> {
    vec![
        Section::new("THE TABLE", TABLE),
        Section::new("SITES", SITES),
        Section::new("CHECK", CHECK),
        manual::json("usdt-probes", JSON),
        Section::new(
            "PRIVILEGE",
            "\
None for a readable file. CAP_SYS_PTRACE for a process of another user, CAP_SYS_ADMIN to ask who has a site attached.",
        ),
        Section::new(
            "EXIT STATUS",
            "\
0 if something was listed or, with --check, if every tracer can run; 1 otherwise; 2 if the command line makes no
sense.",
        ),
        Section::new("EXAMPLES", EXAMPLES),
        Section::new(
            "SEE ALSO",
            "upcall-monitor(8), upcall-cost(8), dpif-ops(8), bridge-loop(8), ovs-vswitchd(8), readelf(1), bpftool(8)",
        ),
    ]
}

const TABLE: &str = "\
A line for each probe of each file.

    PROBE   provider and name
    SITES   places in the code that fire it: a compiler may copy a
            function, and its probe with it
    ARMED   of a process: how many of these places are not as in the
            file; ? if its memory cannot be read, - if nothing can be
            attached to any of them
    ARGS    how many arguments it has
    OBJECT  the program or library; of a process, its path as the
            process saw it; of an archive, the member in parentheses

Warnings on standard error report notes that are damaged, or that belong to code which the linker dropped, and sites to
which nothing can be attached:

    in a debug file  what objcopy --only-keep-debug leaves has notes and
                     no code
    in a .o or .a    the linker decides where the code comes to be; the
                     addresses are those in its section
    in code that a   the process runs a copy: a program can move its own
    process has not  code, to huge pages for example. A uprobe is in
    mapped from its  what is mapped from a file, and nowhere else. The
    file             tracers take the kernel as their source then";

const SITES: &str = "\
With -v each site is shown:

    address      as linked, what objdump shows; corrected for a
                 prelinked file
    file offset  what a uprobe is attached to
    in memory    its address in the process; several if the process has
                 loaded the library several times (dlmopen(3)). What is
                 attached to the file is attached to each of them, but
                 of their semaphores the kernel counts only in the first
    code         the instruction there, and whether it is armed
    semaphore    the counter of the probe's armed sites: while it is 0,
                 the program skips the probe
    arg N        the argument in words, and as the compiler wrote it
    attached     who has it attached

The code shown is that in the memory of a process, or that in the file. An armed site has an instruction of the kernel
in place of the nop that the compiler left: int3 on x86, brk on aarch64. Where the nop has five bytes, Linux 6.18 and
later replace the int3 by a call, which is much cheaper, once it was hit. A debugger's breakpoint is an int3 as well.

The kernel lists BPF links (perf event: Linux 6.6 and later; uprobe-multi: 6.8 and later), perf events with a BPF
program, and the events of tracefs. It lists neither perf events without a program, such as those of perf record, nor
the processes in which a perf event is attached. A warning on standard error says what it refuses to list. The name of a
BPF program has 15 characters at most.";

const CHECK: &str = "\
--check says of each of the tracers whether it can run on the process and on this kernel with the privilege that
usdt-probes itself has, and what it lacks. A tracer that can take its events from the kernel as well as from probes needs
one of the two; the answer says from which it can, and what the other lacks.

    built without probes    Open vSwitch was configured without
                            --enable-usdt-probes
    no main:run_start ...   it is older than the probe
    code not mapped ...     the process runs a copy of it, see above
    no openvswitch module   the tracer would run, but there is nothing
                            that it could show
    no privilege            the capabilities that are missing are named
    bpf(2) is not permitted a sandbox forbids the system call, or
                            perf_event_open(2)
    kernel without ...      and the release that brought it";

const JSON: &str = "\
The records are

    start  the tool, its version and machine; of a process its pid, and
           the kernel
    probe  a probe of one file
    check  with --check, a tracer: tool, can_run, and lacks and without,
           arrays of text: what it lacks, and what it cannot show;
           sources, an array with the same for each source (usdt,
           kernel) that it can have

A value that is not known, or does not apply, is null. Addresses are text, in hexadecimal with 0x. A probe has

    provider, name  of the probe
    object          path of the file
    machine         x86-64, aarch64, or e_machine and its number
    pid             of the process
    sites           an array, in the order of the file

and each site

    address, offset  as linked, in the file
    mapped           in the memory of the process
    semaphore        offset in the file, value in the process
    bytes            of the instruction, in hexadecimal
    instruction      nop1, nop5, int3, call (x86); nop, brk (aarch64)
    armed            whether the process has something else there than
                     the file
    copies           of a library that the process has loaded several
                     times, of each copy after the first: mapped,
                     semaphore_value, bytes, instruction, armed
    arguments        of each: text (as written), words, size in bytes,
                     signed
    cannot_attach    why nothing can be attached to it: not_mapped (not
                     mapped from the file), debug_file, relocatable
    attached         of each: by (uprobe_multi, perf_event, tracefs),
                     link (its id), program (name of the BPF program or
                     of the event), pid (the only process that it is
                     attached in), holders (of each: pid, comm)";

const EXAMPLES: &str = "\
Was this ovs-vswitchd built with probes?

    usdt-probes -l /usr/sbin/ovs-vswitchd

Where does the probe of upcall-monitor fire, and who has it attached?

    usdt-probes -v dpif_recv:recv_upcall

The file offsets of all sites of one provider:

    usdt-probes -l FILE --format json 'main:*' | jq -r '.sites[]?.offset'

Why does a tracer not run here?

    usdt-probes --check";
