//! The sections of the manual page that clap knows nothing of.

use ovs_tracers::cli::Section;

pub const SECTIONS: &[Section] = &[
    (
        "THE TABLE",
        "\
A line for each probe of each file.

    PROBE   provider and name
    SITES   places in the code that fire it: a compiler may copy a
            function, and its probe with it
    ARMED   of a process: how many of these places are not as in the
            file; ? if its memory cannot be read
    ARGS    how many arguments it has
    OBJECT  the program or library; of a process, its path as the
            process saw it

Notes that are damaged, or of code that the linker left out, are told as warnings on standard error.",
    ),
    (
        "SITES",
        "\
With -v each site is shown:

    address      as linked, what objdump shows; corrected for a
                 prelinked file
    file offset  what a uprobe is attached to
    in memory    its address in the process
    code         the instruction there, and whether it is armed
    semaphore    the counter of the probe's armed sites: while it is 0,
                 the program skips the probe
    arg N        the argument in words, and as the compiler wrote it
    attached     who has it attached

Of a process the code is that of its memory, of a file that of the file. An armed site has an instruction of the kernel in
place of the nop that the compiler left: int3 on x86, brk on aarch64. Where the nop has five bytes, Linux 6.18 and later
replace the int3 by a call once it was hit, which is much cheaper. A debugger's breakpoint is an int3 as well.

The kernel tells of BPF links (perf event: Linux 6.6 and later; uprobe-multi: 6.8 and later), of perf events with a BPF
program, and of the events of tracefs. It does not tell of perf events without a program, perf record's for one, nor in
which processes a perf event is attached. What it refuses to tell is said on standard error. The name of a BPF program
has 15 characters at most.",
    ),
    (
        "CHECK",
        "\
--check tells, for each of the tracers, whether it can run on the process and on this kernel with the privilege that
usdt-probes itself has, and all that it lacks.

    built without probes    Open vSwitch was configured without
                            --enable-usdt-probes
    no main:run_start ...   it is older than the probe
    no openvswitch module   the tracer would run, but there is nothing
                            that it could show
    no privilege            the capabilities that are missing are named
    kernel without ...      and the release that brought it",
    ),
    (
        "JSON",
        "\
With --format json each line is an object; a value that is not known, or does not apply, is null. Addresses are text, in
hexadecimal with 0x. A probe has

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
    arguments        of each: text (as written), words, size in bytes,
                     signed
    attached         of each: by (uprobe_multi, perf_event, tracefs),
                     link (its id), program (name of the BPF program or
                     of the event), pid (the only process that it is
                     attached in), holders (of each: pid, comm)

With --check an object has tool, can_run and lacks, an array of text.",
    ),
    (
        "PRIVILEGE",
        "\
None for a readable file. CAP_SYS_PTRACE for a process of another user, CAP_SYS_ADMIN to ask who has a site attached.",
    ),
    (
        "EXIT STATUS",
        "\
0 if something was listed or, with --check, if every tracer can run; 1 otherwise; 2 if the command line makes no sense.",
    ),
    (
        "EXAMPLES",
        "\
Was this ovs-vswitchd built with probes?

    usdt-probes -l /usr/sbin/ovs-vswitchd

Where does the probe of upcall-monitor fire, and who has it attached?

    usdt-probes -v dpif_recv:recv_upcall

The file offsets of all sites of one provider:

    usdt-probes -l FILE --format json 'main:*' | jq -r '.sites[].offset'

Why does a tracer not run here?

    usdt-probes --check",
    ),
    (
        "SEE ALSO",
        "upcall-monitor(8), ovs-vswitchd(8), readelf(1), bpftool(8)",
    ),
];
