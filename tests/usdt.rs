//! Probes of ELF files, their arguments, and the processes that have them mapped.

#[path = "common/elf.rs"]
mod elf;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use elf::Elf;
use object::ReadCache;
use ovs_tracers::trace;
use ovs_tracers::trace::object::Object;
use ovs_tracers::trace::process::find_ovs_vswitchd;
use ovs_tracers::trace::target::Target;
use ovs_tracers::trace::usdt::{
    Arg, Error, Form, MAX_WARNINGS, Machine, Operand, Probe, Probes, Register, Site, parse_arg,
    parse_args, probes, split_args,
};
use proptest::prelude::*;

const X86: Machine = Machine::X86_64;
const ARM: Machine = Machine::Aarch64;

// ---- arguments ----

fn register(index: u8, name: &'static str) -> Register {
    Register { index, name }
}

fn arg(size: u8, signed: bool, operand: Operand) -> Arg {
    Arg {
        size,
        signed,
        operand,
    }
}

fn memory(base: Register, offset: i64) -> Operand {
    Operand::Memory {
        base,
        index: None,
        scale: 1,
        offset,
    }
}

#[track_caller]
fn check_args(machine: Machine, vectors: &[(&str, Arg)]) {
    for (text, expected) in vectors {
        assert_eq!(parse_arg(text, machine), Ok(*expected), "{text}");
    }
    let all: Vec<_> = vectors.iter().map(|(text, _)| *text).collect();
    let expected: Vec<_> = vectors.iter().map(|(_, arg)| *arg).collect();
    assert_eq!(parse_args(&all.join(" "), machine), Ok(expected));
}

/// Check that every form of an x86-64 argument is understood as the assembler would.
///
/// Made from fixtures/elf/probes.c by gcc 12.2 with -O2 and -O0 and by clang 14, from OVS's own
/// notes, and the last ones by hand.
#[test]
fn x86_64_forms() {
    let rax = register(10, "%rax");
    let rbp = register(4, "%rbp");
    let rsp = register(19, "%rsp");
    check_args(
        X86,
        &[
            (
                "8@%rdx",
                arg(8, false, Operand::Register(register(12, "%rdx"))),
            ),
            (
                "-1@%dil",
                arg(1, true, Operand::Register(register(14, "%dil"))),
            ),
            (
                "1@%sil",
                arg(1, false, Operand::Register(register(13, "%sil"))),
            ),
            (
                "-2@%dx",
                arg(2, true, Operand::Register(register(12, "%dx"))),
            ),
            (
                "2@%cx",
                arg(2, false, Operand::Register(register(11, "%cx"))),
            ),
            (
                "-4@%r8d",
                arg(4, true, Operand::Register(register(9, "%r8d"))),
            ),
            (
                "1@%r15b",
                arg(1, false, Operand::Register(register(0, "%r15b"))),
            ),
            ("4@12(%rbx)", arg(4, false, memory(register(5, "%rbx"), 12))),
            (
                "8@576(%rbx)",
                arg(8, false, memory(register(5, "%rbx"), 576)),
            ),
            ("-8@(%rsi)", arg(8, true, memory(register(13, "%rsi"), 0))),
            ("4@-36(%rsp)", arg(4, false, memory(rsp, -36))),
            ("-4@$-1", arg(4, true, Operand::Constant(-1))),
            (
                "8@$-9223372036854775808",
                arg(8, false, Operand::Constant(i64::MIN)),
            ),
            ("-8@(%rdi,%rsi,8)", {
                let (base, index) = (register(14, "%rdi"), Some(register(13, "%rsi")));
                arg(
                    8,
                    true,
                    Operand::Memory {
                        base,
                        index,
                        scale: 8,
                        offset: 0,
                    },
                )
            }),
            ("4@-8(%rbp,%rax,4)", {
                let index = Some(rax);
                arg(
                    4,
                    false,
                    Operand::Memory {
                        base: rbp,
                        index,
                        scale: 4,
                        offset: -8,
                    },
                )
            }),
            ("8@(%rbp,%rax)", {
                let index = Some(rax);
                arg(
                    8,
                    false,
                    Operand::Memory {
                        base: rbp,
                        index,
                        scale: 1,
                        offset: 0,
                    },
                )
            }),
            ("8@-8+16+0x10(%rsp)", arg(8, false, memory(rsp, 24))),
            (
                "8@$18446744073709551615",
                arg(8, false, Operand::Constant(-1)),
            ),
            ("1@$0x1F", arg(1, false, Operand::Constant(31))),
            // Narrower than the register: the low part counts.
            ("1@%rax", arg(1, false, Operand::Register(rax))),
            // Without a size: that of the register, or a word.
            (
                "%eax",
                arg(4, false, Operand::Register(register(10, "%eax"))),
            ),
            ("%rax", arg(8, false, Operand::Register(rax))),
            ("16(%rsp)", arg(8, false, memory(rsp, 16))),
            ("$7", arg(8, false, Operand::Constant(7))),
        ],
    );
}

/// Check that every form of an aarch64 argument is understood as the assembler would.
///
/// Made from fixtures/elf/probes.c by gcc 12.2 (those with a blank), in the style of clang (those
/// with #), and by hand.
#[test]
fn aarch64_forms() {
    let sp = register(31, "sp");
    let x1 = register(1, "x1");
    check_args(
        ARM,
        &[
            ("8@x0", arg(8, false, Operand::Register(register(0, "x0")))),
            (
                "-1@x30",
                arg(1, true, Operand::Register(register(30, "x30"))),
            ),
            ("-4@w3", arg(4, true, Operand::Register(register(3, "w3")))),
            ("w3", arg(4, false, Operand::Register(register(3, "w3")))),
            ("8@sp", arg(8, false, Operand::Register(sp))),
            ("8@xzr", arg(8, false, Operand::Constant(0))),
            ("4@wzr", arg(4, false, Operand::Constant(0))),
            ("-4@[sp, 12]", arg(4, true, memory(sp, 12))),
            ("-4@[sp,12]", arg(4, true, memory(sp, 12))),
            ("8@[x1, #-16]", arg(8, false, memory(x1, -16))),
            ("-4@[x1]", arg(4, true, memory(x1, 0))),
            ("8@[x1, x2]", {
                let index = Some(register(2, "x2"));
                arg(
                    8,
                    false,
                    Operand::Memory {
                        base: x1,
                        index,
                        scale: 1,
                        offset: 0,
                    },
                )
            }),
            ("8@[x1, x2, lsl 3]", {
                let index = Some(register(2, "x2"));
                arg(
                    8,
                    false,
                    Operand::Memory {
                        base: x1,
                        index,
                        scale: 8,
                        offset: 0,
                    },
                )
            }),
            ("2@[sp, x2, lsl #1]", {
                let index = Some(register(2, "x2"));
                arg(
                    2,
                    false,
                    Operand::Memory {
                        base: sp,
                        index,
                        scale: 2,
                        offset: 0,
                    },
                )
            }),
            ("8@5", arg(8, false, Operand::Constant(5))),
            ("-4@-1", arg(4, true, Operand::Constant(-1))),
            ("8@#5", arg(8, false, Operand::Constant(5))),
        ],
    );
}

/// Check that what cannot be fetched is an error that names the argument and the reason.
#[test]
fn forms_without_meaning() {
    let vectors = [
        (X86, "8@symbol(%rip)", "relative to %rip"),
        (X86, "8@1234(%rip)", "relative to %rip"),
        (X86, "4@foo", "relative to a symbol"),
        (X86, "4@foo+4", "relative to a symbol"),
        (X86, "4@foo(%rax)", "relative to a symbol"),
        (X86, "8@$foo", "relative to a symbol"),
        (X86, "8@4096", "absolute address"),
        (X86, "8@(,%rax,8)", "no base register"),
        (X86, "8@()", "no base register"),
        (X86, "8@%fs:-8", "segment register"),
        (X86, "8@%fs:8(%rax)", "segment register"),
        (X86, "1@%ah", "second byte"),
        (X86, "8f@%xmm0", "floating-point"),
        (X86, "8f@(%rax)", "floating-point"),
        (X86, "8@%xmm0", "no general-purpose register"),
        (X86, "8@%rip", "no general-purpose register"),
        (X86, "8@(%rax,%riz)", "no general-purpose register"),
        (X86, "4@(%eax)", "64-bit register"),
        (X86, "8@%eax", "narrower"),
        (X86, "2@%al", "narrower"),
        (X86, "8@(%rax,%rbx,3)", "scale"),
        (X86, "8@(%rax,%rbx,8,1)", "form"),
        (X86, "8@(%rax", "form"),
        (X86, "8@(%rax)x", "form"),
        (X86, "8@$010", "form"),
        (X86, "8@$0x+1", "form"),
        (X86, "8@$18446744073709551616", "64 bits"),
        (X86, "8@$-9223372036854775809", "64 bits"),
        (X86, "8@9223372036854775807+1(%rax)", "64 bits"),
        (X86, "3@%rax", "size"),
        (X86, "16@%rax", "size"),
        (X86, "@%rax", "size"),
        (X86, "--8@%rax", "size"),
        (X86, "8@", "form"),
        (X86, "8@_start", "symbol"),
        // proptest found this one to be cut within a character.
        (X86, "8@\u{1b164}", "symbol"),
        (X86, "8@+-(%rax)", "form"),
        (X86, "8@x0", "symbol"),
        (ARM, "4@[x1, w2, sxtw 2]", "64-bit register"),
        (ARM, "4@[x1, x2, sxtx 2]", "not shifted"),
        (ARM, "4@[x1, x2, lsl 4]", "not shifted"),
        (ARM, "4@[x1, 4, 5]", "form"),
        (ARM, "4@[x1, 8]!", "form"),
        (ARM, "4@[x1, :lo12:foo]", "relative to a symbol"),
        (ARM, "4@[foo]", "no general-purpose register"),
        (ARM, "8@x31", "no general-purpose register"),
        (ARM, "8f@d0", "floating-point"),
        (ARM, "8@d0", "no general-purpose register"),
        (ARM, "8@w0", "narrower"),
        (ARM, "8@wzr", "narrower"),
        (ARM, "8@%rax", "form"),
        (ARM, "8@", "form"),
        (ARM, "8@[]", "no general-purpose register"),
        (Machine::Other(21), "8@5", "neither"),
    ];
    for (machine, text, why) in vectors {
        let Err(Error::Argument { argument, reason }) = parse_arg(text, machine) else {
            panic!(
                "{text} for {machine:?} is accepted: {:?}",
                parse_arg(text, machine)
            );
        };
        assert_eq!(argument, text);
        assert!(reason.contains(why), "{text}: {reason}");
        // One that cannot be fetched must be reported, even among others that can.
        let good = if machine == X86 { "8@%rax" } else { "8@x0" };
        let all = parse_args(&format!("{good} {text}"), machine);
        assert!(all.is_err(), "{text}: {all:?}");
    }
}

/// Probes of Open vSwitch on x86-64 with what gcc 12 -O2 made of their arguments, from `readelf -n`
/// of builds of 2.17.0, 3.4.6, 3.7.1 (shared) and main; sizes as in OVS's C types.
const OVS_PROBES: &[(&str, &str, &[u8])] = &[
    (
        "dpif_netlink_operate__:op_flow_del",
        "8@%r13 8@%rbx 8@%rbp 8@%r12",
        &[8, 8, 8, 8],
    ),
    (
        "dpif_netlink_operate__:op_flow_execute",
        "8@%r13 8@%rbx 8@%rax 4@12(%rdx) 8@%r12",
        &[8, 8, 8, 4, 8],
    ),
    (
        "dpif_netlink_operate__:op_flow_get",
        "8@%r13 8@%rbx 8@%rbp 8@%r12",
        &[8, 8, 8, 8],
    ),
    (
        "dpif_netlink_operate__:op_flow_put",
        "8@%r13 8@24(%rsp) 8@%rbx 8@%r12",
        &[8, 8, 8, 8],
    ),
    (
        "dpif_recv:recv_upcall",
        "8@%rdx 4@%ecx 8@%rax 4@12(%rbx) 8@568(%rbx) 8@576(%rbx)",
        &[8, 4, 8, 4, 8, 8],
    ),
    (
        "dpif_recv:recv_upcall",
        "8@%rdx 4@%ecx 8@%rax 4@12(%rbx) 8@576(%rbx) 8@584(%rbx)",
        &[8, 4, 8, 4, 8, 8],
    ),
    ("main:poll_block", "", &[]),
    ("main:run_start", "", &[]),
    (
        "revalidate:flow_result",
        "8@%r12 8@%r14 4@%ebx 4@%r13d",
        &[8, 8, 4, 4],
    ),
    (
        "revalidate:flow_result",
        "8@%r15 8@%r13 4@%ebx 4@%r12d",
        &[8, 8, 4, 4],
    ),
    (
        "revalidate_ukey__:entry",
        "8@%rbp 8@%rsi 2@%dx 8@%r15 8@%r8 8@%r9",
        &[8, 8, 2, 8, 8, 8],
    ),
    (
        "revalidate_ukey__:exit",
        "8@%rbp 8@%rbx 4@%r14d",
        &[8, 8, 4],
    ),
    (
        "revalidator_sweep__:flow_sweep_result",
        "8@%rbp 8@%rbx 4@%edx 4@%eax",
        &[8, 8, 4, 4],
    ),
    ("udpif_revalidator:start_dump", "8@%rbx 8@%r15", &[8, 8]),
    (
        "udpif_revalidator:sweep_done",
        "8@%rbx 8@%r15 4@%eax",
        &[8, 8, 4],
    ),
];

/// Check that the arguments of all of Open vSwitch's probes can be fetched, with the sizes that
/// they have in its source.
#[test]
fn ovs_probes() {
    for (probe, args, sizes) in OVS_PROBES {
        let args = parse_args(args, X86).unwrap_or_else(|err| panic!("{probe}: {err}"));
        let found: Vec<u8> = args.iter().map(|arg| arg.size).collect();
        assert_eq!(&found, sizes, "{probe}");
        assert!(args.iter().all(|arg| !arg.signed), "{probe}");
    }
    let recv_upcall = parse_args(OVS_PROBES[5].1, X86).unwrap();
    let rbx = register(5, "%rbx");
    assert_eq!(
        recv_upcall,
        [
            arg(8, false, Operand::Register(register(12, "%rdx"))),
            arg(4, false, Operand::Register(register(11, "%ecx"))),
            arg(8, false, Operand::Register(register(10, "%rax"))),
            arg(4, false, memory(rbx, 12)),
            arg(8, false, memory(rbx, 576)),
            arg(8, false, memory(rbx, 584)),
        ]
    );
}

/// Check that arguments are separated at the blanks between them and not within one.
#[test]
fn splitting() {
    let split = |args| split_args(args).collect::<Vec<_>>();
    assert_eq!(
        split("  -4@[sp, 12] 8@x0\t4@[x1, x2, lsl 3] "),
        ["-4@[sp, 12]", "8@x0", "4@[x1, x2, lsl 3]"]
    );
    assert_eq!(split(" \t"), [""; 0]);
    assert_eq!(split("8@[x0 8@x1"), ["8@[x0 8@x1"]);
    assert_eq!(split("8@x0] 8@x1"), ["8@x0]", "8@x1"]);
}

/// The registers' names of 8, 4, 2 and 1 bytes in the order of `struct pt_regs`.
const PT_REGS: [&str; 16] = [
    "r15 r15d r15w r15b",
    "r14 r14d r14w r14b",
    "r13 r13d r13w r13b",
    "r12 r12d r12w r12b",
    "rbp ebp bp bpl",
    "rbx ebx bx bl",
    "r11 r11d r11w r11b",
    "r10 r10d r10w r10b",
    "r9 r9d r9w r9b",
    "r8 r8d r8w r8b",
    "rax eax ax al",
    "rcx ecx cx cl",
    "rdx edx dx dl",
    "rsi esi si sil",
    "rdi edi di dil",
    "rsp esp sp spl",
];

/// What was generated: the text, and what must come of it.
#[derive(Clone, Debug)]
struct Model {
    text: String,
    size: u8,
    signed: bool,
    operand: ModelOperand,
}

/// Registers as their index.
#[derive(Clone, Debug, PartialEq)]
enum ModelOperand {
    Constant(i64),
    Register(u8),
    Memory(u8, Option<u8>, u8, i64),
}

impl From<Operand> for ModelOperand {
    fn from(operand: Operand) -> Self {
        match operand {
            Operand::Constant(value) => ModelOperand::Constant(value),
            Operand::Register(register) => ModelOperand::Register(register.index),
            Operand::Memory {
                base,
                index,
                scale,
                offset,
            } => ModelOperand::Memory(base.index, index.map(|index| index.index), scale, offset),
        }
    }
}

/// A register of x86-64 as its name of 8 bytes >> `part`, and its index.
fn x86_64_register(register: usize, part: usize) -> (String, u8) {
    let name = PT_REGS[register].split(' ').nth(part).unwrap();
    // After rdi come orig_rax, rip, cs and eflags.
    (
        format!("%{name}"),
        if register == 15 { 19 } else { register as u8 },
    )
}

fn aarch64_register(register: u8) -> String {
    if register == 31 {
        "sp".into()
    } else {
        format!("x{register}")
    }
}

fn model(machine: Machine) -> impl Strategy<Value = Model> {
    let numbers = (
        0..4_usize,
        any::<bool>(),
        any::<i64>(),
        any::<i32>(),
        0..4_u32,
    );
    let registers = (0..32_u8, 0..32_u8, any::<bool>());
    (numbers, registers, 0..3_u8).prop_map(move |(numbers, registers, kind)| {
        let (part, signed, constant, offset, shift) = numbers;
        let (base, index, indexed) = registers;
        let (size, scale, offset) = (8 >> part, 1 << shift, i64::from(offset));
        let (operand, text) = if machine == X86 {
            let (base, index) = (usize::from(base) % 16, usize::from(index) % 16);
            match kind {
                0 => (ModelOperand::Constant(constant), format!("${constant}")),
                1 => {
                    let (name, index) = x86_64_register(base, part);
                    (ModelOperand::Register(index), name)
                }
                _ => {
                    let (base, base_index) = x86_64_register(base, 0);
                    let (index, index_index) = x86_64_register(index, 0);
                    if indexed {
                        let index_index = Some(index_index);
                        let memory = ModelOperand::Memory(base_index, index_index, scale, offset);
                        (memory, format!("{offset}({base},{index},{scale})"))
                    } else {
                        let memory = ModelOperand::Memory(base_index, None, 1, offset);
                        (memory, format!("{offset}({base})"))
                    }
                }
            }
        } else {
            let (base_name, index_name) = (aarch64_register(base), aarch64_register(index));
            match kind {
                0 => (ModelOperand::Constant(constant), format!("{constant}")),
                1 => (ModelOperand::Register(base), base_name),
                _ if indexed => (
                    ModelOperand::Memory(base, Some(index), scale, 0),
                    format!("[{base_name}, {index_name}, lsl {shift}]"),
                ),
                _ => (
                    ModelOperand::Memory(base, None, 1, offset),
                    format!("[{base_name}, {offset}]"),
                ),
            }
        };
        let sign = if signed { "-" } else { "" };
        Model {
            text: format!("{sign}{size}@{text}"),
            size,
            signed,
            operand,
        }
    })
}

/// Check that what is written by the rules is read as what it was written from.
#[track_caller]
fn check_models(models: &[Model], machine: Machine) {
    let text = models
        .iter()
        .map(|model| model.text.as_str())
        .collect::<Vec<_>>()
        .join(" ");
    let args = parse_args(&text, machine).unwrap();
    assert_eq!(args.len(), models.len(), "{text}");
    for (arg, model) in args.into_iter().zip(models) {
        assert_eq!(
            (arg.size, arg.signed),
            (model.size, model.signed),
            "{}",
            model.text
        );
        assert_eq!(
            ModelOperand::from(arg.operand),
            model.operand,
            "{}",
            model.text
        );
    }
}

proptest! {
    /// Check that generated x86-64 arguments are read as generated.
    #[test]
    fn x86_64_round_trip(models in proptest::collection::vec(model(X86), 0..12)) {
        check_models(&models, X86);
    }

    /// Check that generated aarch64 arguments are read as generated.
    #[test]
    fn aarch64_round_trip(models in proptest::collection::vec(model(ARM), 0..12)) {
        check_models(&models, ARM);
    }

    /// Check that any text is parsed or refused, and that an accepted size fits.
    #[test]
    fn any_text(
        text in prop_oneof![any::<String>(), "[-+0-9a-z@$%#(),\\[\\] .:]{0,40}"],
    ) {
        for machine in [X86, ARM, Machine::Other(0)] {
            for arg in parse_args(&text, machine).unwrap_or_default() {
                prop_assert!([1, 2, 4, 8].contains(&arg.size));
            }
        }
    }

    /// Check that any bytes, with or without an ELF header in front, are read or refused.
    #[test]
    fn any_bytes(header in any::<bool>(), bytes in any::<Vec<u8>>()) {
        let mut data = if header { Elf::default().build()[..64].to_vec() } else { Vec::new() };
        data.extend(bytes);
        let _ = probes(data.as_slice());
    }
}

// ---- files made by hand ----

fn site(address: u64, offset: u64, semaphore: Option<u64>, args: &str) -> Site {
    Site {
        address,
        offset,
        semaphore,
        args: args.into(),
    }
}

fn read(elf: &Elf) -> Probes {
    probes(elf.build().as_slice()).unwrap()
}

/// Check that probes are found, grouped and mapped to file offsets whatever the class and the byte
/// order, and that notes of others are passed over.
#[test]
fn classes_and_byte_orders() {
    for (wide, big, number, machine) in [
        (true, false, 62, X86),
        (true, false, 183, ARM),
        (true, true, 22, Machine::Other(22)),
        (false, false, 3, Machine::Other(3)),
        (false, true, 8, Machine::Other(8)),
    ] {
        let mut elf = Elf {
            wide,
            big,
            machine: number,
            ..Elf::default()
        };
        elf.note(b"GNU\0", 3, b"\x14\0\0\0")
            .probe([0x10204, 0x10230, 0], b"dpif_recv\0recv_upcall\x008@%rax\0")
            .probe([0x10208, 0x10230, 0x20242], b"a\0b\0\0")
            .note(b"stapsdt\0", 4, b"not a probe")
            .probe([0x1023f, 0x10230, 0], b"dpif_recv\0recv_upcall\x004@%ecx\0")
            .probe([0x10204, 0x10230, 0], b"dpif_recv\0recv_upcall\x008@%rax\0");
        let expected = Probes {
            form: Form::Linked,
            probes: vec![
                Probe {
                    provider: "a".into(),
                    name: "b".into(),
                    machine,
                    sites: vec![site(0x10208, 0x208, Some(0x242), "")],
                },
                Probe {
                    provider: "dpif_recv".into(),
                    name: "recv_upcall".into(),
                    machine,
                    // The last one is the first one again.
                    sites: vec![
                        site(0x10204, 0x204, None, "8@%rax"),
                        site(0x1023f, 0x23f, None, "4@%ecx"),
                    ],
                },
            ],
            warnings: vec![],
            more_warnings: 0,
        };
        assert_eq!(read(&elf), expected, "wide {wide}, big {big}");
    }
}

/// Check that addresses follow .stapsdt.base when prelink moved it, up or down.
#[test]
fn prelinked() {
    for wide in [true, false] {
        for linked in [0x230, 0x4000_0230] {
            let mut elf = Elf {
                wide,
                ..Elf::default()
            };
            elf.probe([linked - 0x30 + 4, linked, linked + 0x10010], b"a\0b\0\0");
            let found = read(&elf);
            assert_eq!(found.warnings, []);
            assert_eq!(
                found.probes[0].sites,
                [site(0x10204, 0x204, Some(0x240), "")]
            );
        }
    }
    // Neither a file nor a note without a base can have moved.
    for (base, linked) in [(None, 0x230), (Some(0x10230), 0)] {
        let mut elf = Elf {
            base,
            ..Elf::default()
        };
        elf.probe([0x10204, linked, 0], b"a\0b\0\0");
        assert_eq!(read(&elf).probes[0].sites, [site(0x10204, 0x204, None, "")]);
    }
}

/// Check that a file without probes has none, and that other files are refused.
#[test]
fn no_probes() {
    let none = Probes {
        form: Form::Linked,
        probes: vec![],
        warnings: vec![],
        more_warnings: 0,
    };
    assert_eq!(
        read(&Elf {
            base: None,
            ..Elf::default()
        }),
        none
    );
    assert_eq!(read(Elf::default().note(b"GNU\0", 1, b"")), none);
    for data in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", b"MZ\0\0", &[0; 64]] {
        let err = probes(data).unwrap_err();
        assert!(
            err.to_string().starts_with("failed to read the ELF file: "),
            "{err}"
        );
    }
}

/// Check that a note of no use is a warning that says which and why, and hides no other.
#[test]
fn damaged_notes() {
    let words = Elf::default().address(0x10204).repeat(3);
    let mut elf = Elf::default();
    elf.probe([0x10204, 0, 0], b"a\0b\0\0")
        .note(b"stapsdt\0", 3, &words[..23])
        .probe([0x10204, 0, 0], b"a\0b\08@%rax")
        .probe([0x10204, 0, 0], b"a\0\xff\0\0")
        .probe([0, 0, 0], b"a\0dropped\0\0")
        .probe([0x20244, 0, 0], b"a\0data\0\0")
        .probe([0x10204, 0, 0x10204], b"a\0semaphore\0\0")
        .probe([0x10240, 0, 0], b"a\0end\x1b[m\0\0")
        .probe([0x10208, 0, 0], b"a\0b\0\0");
    let found = read(&elf);
    let warnings: Vec<_> = found.warnings.iter().map(Error::to_string).collect();
    assert_eq!(
        warnings,
        [
            "note 1 of .note.stapsdt is damaged: it has no addresses",
            "note 2 of .note.stapsdt is damaged: a string in it has no end",
            "note 3 of .note.stapsdt is damaged: a string in it is not UTF-8",
            "the site of probe a:dropped at 0x0 is in no segment of the file",
            "the site of probe a:data at 0x20244 is in no segment of the file",
            "the semaphore of probe a:semaphore at 0x10204 is in no segment of the file",
            "the site of probe a:end\\u{1b}[m at 0x10240 is in no segment of the file",
        ]
    );
    assert_eq!(found.probes.len(), 1);
    assert_eq!(
        found.probes[0].sites,
        [
            site(0x10204, 0x204, None, ""),
            site(0x10208, 0x208, None, "")
        ]
    );

    // A length that leads out of the section ends the list, and the note is reported.
    let mut elf = Elf::default();
    elf.probe([0x10204, 0, 0], b"a\0b\0\0")
        .probe([0x10208, 0, 0], b"a\0b\0\0");
    let notes = elf.notes.as_mut().unwrap();
    let second = notes.len() / 2;
    notes[second + 4] = 0xff;
    let found = read(&elf);
    assert_eq!(found.probes[0].sites, [site(0x10204, 0x204, None, "")]);
    let reason = "it is longer than its section";
    assert_eq!(found.warnings, [Error::Note { index: 1, reason }]);
}

/// Check that of more useless notes than anyone reads the first are described and the others counted, and that they hide
/// no probe.
#[test]
fn countless_notes() {
    let mut elf = Elf::default();
    for _ in 0..MAX_WARNINGS + 7 {
        elf.probe([0, 0, 0], b"a\0dropped\0\0");
    }
    elf.probe([0x10204, 0, 0], b"a\0b\0\0");
    let found = read(&elf);
    assert_eq!(
        (found.warnings.len(), found.more_warnings),
        (MAX_WARNINGS, 7)
    );
    assert_eq!(found.probes[0].sites, [site(0x10204, 0x204, None, "")]);
}

/// Check that no truncation and no flipped bit of a file makes the reader panic, nor makes it
/// report a site that is not in the file's code.
#[test]
fn damaged_files() {
    for (wide, big) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut elf = Elf {
            wide,
            big,
            ..Elf::default()
        };
        elf.probe(
            [0x10204, 0x10230, 0x20240],
            b"dpif_recv\0recv_upcall\x008@%rax\0",
        )
        .note(b"GNU\0", 3, b"\x14\0\0\0")
        .probe([0x10208, 0x10230, 0], b"a\0b\0\0");
        let whole = elf.build();
        assert_eq!(probes(whole.as_slice()).unwrap().probes.len(), 2);
        for len in 0..whole.len() {
            assert!(
                probes(&whole[..len]).is_err(),
                "cut to {len} of {}",
                whole.len()
            );
        }
        let mut damaged = whole.clone();
        for byte in 0..whole.len() {
            for bit in 0..8 {
                damaged[byte] ^= 1 << bit;
                if let Ok(found) = probes(damaged.as_slice()) {
                    for site in found.probes.iter().flat_map(|probe| &probe.sites) {
                        let _ = parse_args(&site.args, X86);
                    }
                }
                damaged[byte] = whole[byte];
            }
        }
    }
}

/// Check that a file with very many sites of one probe takes no time that grows with the square of their number.
///
/// Before, this one took 20 seconds and more.
#[test]
fn many_sites() {
    const COUNT: usize = 200_000;
    let mut elf = Elf::default();
    for argument in 0..COUNT {
        let strings = format!("provider\0name\08@${argument}\0");
        elf.probe([0x10204, 0x10230, 0], strings.as_bytes());
        elf.probe([0x10204, 0x10230, 0], b"provider\0name\08@$0\0");
    }
    let started = Instant::now();
    let found = read(&elf);
    assert_eq!(found.probes.len(), 1);
    let sites = found.probes[0].sites.iter();
    let expected = (0..COUNT).map(|argument| format!("8@${argument}"));
    assert!(sites.map(|site| site.args.clone()).eq(expected));
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}

/// Check that a file is refused in which many sections have the same notes.
#[test]
fn overlapping_sections() {
    const HEADER: usize = 64;
    let mut elf = Elf::default();
    for _ in 0..20 {
        elf.probe([0x10204, 0x10230, 0], b"provider\0name\08@%rax\0");
    }
    let file = elf.build();
    let half = |file: &[u8], at| usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    let at = u64::from_le_bytes(file[40..48].try_into().unwrap()) as usize;
    let mut headers = file[at..at + HEADER * half(&file, 60)].to_vec();
    let notes = headers.chunks_exact(HEADER).find(|header| header[4] == 7);
    let notes = notes.expect("a section of notes").to_vec();
    for copies in 1..100 {
        headers.extend_from_slice(&notes);
        let mut with_copies = file.clone();
        with_copies[40..48].copy_from_slice(&(file.len() as u64).to_le_bytes());
        let count = (headers.len() / HEADER) as u16;
        with_copies[60..62].copy_from_slice(&count.to_le_bytes());
        with_copies.extend_from_slice(&headers);
        let size = u64::from_le_bytes(notes[32..40].try_into().unwrap());
        let fits = (copies + 1) * size <= with_copies.len() as u64;
        match probes(with_copies.as_slice()) {
            Ok(found) => assert!(fits && found.probes[0].sites.len() == 1),
            Err(error) => assert!(!fits && error == Error::Overlap, "{error}"),
        }
    }
}

// ---- files made by compilers ----

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Check the probes of an aarch64 library (see fixtures/elf/Makefile) against `readelf -n` of
/// binutils 2.40, copied here.
#[test]
fn aarch64_library() {
    let data = fs::read(repository().join("fixtures/elf/probes-aarch64.so")).unwrap();
    let found = probes(data.as_slice()).unwrap();
    assert_eq!(found.warnings, []);
    let expected = [
        (
            "constants",
            0x4d0,
            "-4@0 -4@5 -4@-1 4@-1 -8@-5 8@-9223372036854775808 1@-1",
        ),
        ("element", 0x554, "-8@x1 -8@[x0, 24]"),
        ("floating", 0x574, "8f@[x0]"),
        (
            "memory",
            0x4c0,
            "4@[x0, 12] 8@[x0, 576] 8@[x0, 584] -2@[x0, 592] -1@[x0, 594] 1@[x0, 595]",
        ),
        (
            "registers",
            0x4b0,
            "-1@x0 1@x1 -2@x2 2@x3 -4@x4 4@x5 -8@x6 8@x7",
        ),
        ("stack", 0x538, "-8@[sp, 368] -8@[sp, 680] -4@[sp, 44]"),
        ("symbol", 0x568, "-4@[x0]"),
    ];
    assert_eq!(found.probes.len(), expected.len());
    for (probe, (name, address, args)) in found.probes.iter().zip(expected) {
        assert_eq!(
            (probe.provider.as_str(), probe.name.as_str()),
            ("forms", name)
        );
        assert_eq!(probe.machine, ARM);
        let sites = &probe.sites;
        assert_eq!(
            sites.as_slice(),
            [site(address, sites[0].offset, None, args)]
        );
        // At each is a nop: 0xd503201f.
        let at = usize::try_from(sites[0].offset).unwrap();
        assert_eq!(data[at..at + 4], [0x1f, 0x20, 0x03, 0xd5], "{name}");
        assert_eq!(parse_args(args, ARM).is_ok(), name != "floating", "{name}");
    }
}

/// The stand-ins for ovs-vswitchd, or `None` where they cannot be built.
fn standins() -> Option<&'static Path> {
    static STANDINS: OnceLock<Option<PathBuf>> = OnceLock::new();
    STANDINS
        .get_or_init(|| {
            let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("standin");
            let probe = Command::new("cc")
                .args(["-E", "-x", "c", "-include", "sys/sdt.h", "/dev/null"])
                .output();
            if !probe.is_ok_and(|cc| cc.status.success()) {
                eprintln!("skipped: no C compiler with <sys/sdt.h> (systemtap-sdt-dev)");
                return None;
            }
            let make = Command::new("make")
                .arg("-C")
                .arg(repository().join("fixtures/standin"))
                .arg(format!("OUT={}", out.display()))
                .output()
                .expect("make");
            assert!(
                make.status.success(),
                "{}",
                String::from_utf8_lossy(&make.stderr)
            );
            Some(out)
        })
        .as_deref()
}

/// Check that the stand-ins have what the tests of the tracers need: two sites of different forms,
/// in the executable or a library; a semaphore; a wrong number of arguments.
#[test]
fn standin_probes() {
    let Some(dir) = standins() else { return };
    let find = |file: &str| {
        let data = fs::read(dir.join(file)).unwrap();
        let found = probes(data.as_slice()).unwrap();
        assert_eq!(found.warnings, [], "{file}");
        found.probes
    };
    assert_eq!(find("standin-shared"), []);
    for file in [
        "standin",
        "standin-O0",
        "libstandin.so",
        "standin-semaphore",
        "standin-badargs",
    ] {
        let found = find(file);
        let [probe] = found.as_slice() else {
            panic!("{file}: {found:?}")
        };
        assert_eq!(
            (probe.provider.as_str(), probe.name.as_str()),
            ("dpif_recv", "recv_upcall")
        );
        let [one, two] = probe.sites.as_slice() else {
            panic!("{file}: {probe:?}")
        };
        assert_ne!(one.args, two.args, "{file}");
        for site in &probe.sites {
            assert_eq!(
                site.semaphore.is_some(),
                file == "standin-semaphore",
                "{file}"
            );
            let args = parse_args(&site.args, probe.machine).unwrap();
            let sizes: Vec<u8> = args.iter().map(|arg| arg.size).collect();
            let expected: &[u8] = if file == "standin-badargs" {
                &[8, 8, 4]
            } else {
                &[8, 4, 8, 4, 8, 8]
            };
            assert_eq!(sizes, expected, "{file}");
        }
    }
    // As in OVS, and not all in registers.
    let args: Vec<_> = find("standin")[0]
        .sites
        .iter()
        .map(|site| parse_args(&site.args, find("standin")[0].machine).unwrap())
        .collect();
    let in_memory = |args: &[Arg]| {
        args.iter()
            .filter(|arg| matches!(arg.operand, Operand::Memory { .. }))
            .count()
    };
    let mut in_memory: Vec<_> = args.iter().map(|args| in_memory(args)).collect();
    in_memory.sort_unstable();
    assert_eq!(in_memory, [0, 4], "{args:?}");
    assert!(
        args.iter()
            .flatten()
            .any(|arg| arg.operand == Operand::Constant(1)),
        "{args:?}"
    );
}

/// Site as `readelf -n` prints it: provider, name, address, semaphore's address, arguments.
type Line = (String, String, u64, u64, String);

/// What `readelf -n` says of a file.
fn readelf(path: &Path) -> Option<Vec<Line>> {
    let output = Command::new("readelf")
        .env("LC_ALL", "C")
        .arg("-n")
        .arg(path)
        .output()
        .ok()?;
    let mut lines = Vec::new();
    let mut fields = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let line = line.trim();
        // An argument of aarch64 has a comma too.
        let several = line.starts_with("Location:");
        for part in line.splitn(if several { 3 } else { 1 }, ", ") {
            if let Some((key, value)) = part.split_once(':') {
                fields.insert(key.to_owned(), value.trim().to_owned());
            }
        }
        if line.starts_with("Arguments:") {
            let mut field = |key: &str| {
                fields
                    .remove(key)
                    .unwrap_or_else(|| panic!("{key}: {line}"))
            };
            let hex =
                |text: String| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
            lines.push((
                field("Provider"),
                field("Name"),
                hex(field("Location")),
                hex(field("Semaphore")),
                field("Arguments"),
            ));
        }
    }
    Some(lines)
}

/// Check that this machine's own libraries and programs have the probes that `readelf -n` finds,
/// each with a nop at its file offset.
#[test]
fn against_readelf() {
    if Command::new("readelf").arg("--version").output().is_err() {
        eprintln!("skipped: no readelf (binutils)");
        return;
    }
    // These are compared whether or not we find anything in them.
    let mut files: BTreeSet<PathBuf> = BTreeSet::new();
    let fixed = ["/bin/true", "/usr/bin/python3", "/proc/self/exe"];
    files.extend(fixed.iter().filter_map(|path| fs::canonicalize(path).ok()));
    if let Some(dir) = standins() {
        files.extend(
            fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        );
    }
    let libraries = ["/lib", "/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    let multiarch = fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .map(|dir| dir.path());
    for dir in libraries.into_iter().chain(multiarch) {
        for file in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(path) = fs::canonicalize(file.path()) else {
                continue;
            };
            let name = file.file_name();
            let name = name.to_string_lossy();
            if !name.contains(".so") || !path.is_file() {
                continue;
            }
            let cache = ReadCache::new(fs::File::open(&path).unwrap());
            let any = probes(&cache).is_ok_and(|found| {
                found
                    != Probes {
                        form: Form::Linked,
                        probes: vec![],
                        warnings: vec![],
                        more_warnings: 0,
                    }
            });
            let runtime = ["libc.", "libm.", "libpthread.", "libstdc++.", "ld-linux"];
            if any || runtime.iter().any(|start| name.starts_with(start)) {
                files.insert(path);
            }
        }
    }
    let mut sites = 0;
    for path in files {
        let data = fs::read(&path).unwrap();
        let Ok(found) = probes(data.as_slice()) else {
            continue;
        };
        let expected: BTreeSet<Line> = readelf(&path).unwrap().into_iter().collect();
        let mut ours = BTreeSet::new();
        for probe in &found.probes {
            for site in &probe.sites {
                let at = usize::try_from(site.offset).unwrap();
                if probe.machine == X86 {
                    // One byte, or the five-byte one that newer headers write.
                    let nop = data[at] == 0x90 || data[at..].starts_with(&[0x0f, 0x1f, 0x44]);
                    assert!(nop, "{path:?} {site:x?}");
                }
                // The semaphore's file offset is no matter for readelf: take its word.
                let semaphore = expected.iter().find(|line| line.2 == site.address);
                let semaphore = semaphore.map_or(0, |line| line.3);
                assert_eq!(
                    site.semaphore.is_some(),
                    semaphore != 0,
                    "{path:?} {site:x?}"
                );
                if let Some(offset) = site.semaphore {
                    let at = usize::try_from(offset).unwrap();
                    assert_eq!(data[at..at + 2], [0, 0], "{path:?} {site:x?}");
                }
                let (provider, name) = (probe.provider.clone(), probe.name.clone());
                ours.insert((provider, name, site.address, semaphore, site.args.clone()));
            }
        }
        assert_eq!(ours, expected, "{path:?}");
        sites += ours.len();
    }
    println!("{sites} sites compared");
}

// ---- processes ----

/// A stand-in that waits to fire, killed when dropped.
struct Standin(Child);

impl Standin {
    fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("stand-in");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        assert_eq!(ready, format!("ready {}\n", child.id()));
        Standin(child)
    }

    fn start(path: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(path);
        command.arg("--wait").args(args);
        Standin::spawn(command)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn find(pid: u32) -> Result<Vec<(Object, Probe)>, trace::Error> {
    Target::from_pid(pid)?.find_probe("dpif_recv", "recv_upcall")
}

/// Check that a probe is found in the executable and in a library, with a path that leads to the
/// same file.
#[test]
fn probe_of_a_process() {
    let Some(dir) = standins() else { return };
    for (program, file) in [
        ("standin", "standin"),
        ("standin-shared", "libstandin.so"),
        ("standin-O0", "standin-O0"),
    ] {
        let standin = Standin::start(&dir.join(program), &[]);
        let found = find(standin.pid()).unwrap();
        let [(object, probe)] = found.as_slice() else {
            panic!("{found:?}")
        };
        let path = fs::canonicalize(dir.join(file)).unwrap();
        assert_eq!(object.path, path);
        assert!(!object.deleted);
        let data = fs::read(&path).unwrap();
        assert_eq!(vec![probe.clone()], probes(data.as_slice()).unwrap().probes);
        assert_eq!(fs::read(object.attach_path().unwrap()).unwrap(), data);
        // The executable comes first, nothing twice.
        let objects = Target::from_pid(standin.pid()).unwrap().objects().unwrap();
        assert_eq!(
            objects[0].path,
            fs::canonicalize(dir.join(program)).unwrap()
        );
        let distinct: BTreeSet<_> = objects.iter().map(|o| (o.device, o.inode)).collect();
        assert_eq!(distinct.len(), objects.len());
        assert!(
            objects
                .iter()
                .any(|object| object.path.to_string_lossy().contains("libc"))
        );
    }
}

/// Check that the file which the process has mapped is read and not the one now at its path.
#[test]
fn replaced_executable() {
    let Some(dir) = standins() else { return };
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("a (deleted) b\nc");
    fs::copy(dir.join("standin"), &path).unwrap();
    let standin = Standin::start(&path, &[]);
    let data = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::copy(dir.join("standin-badargs"), &path).unwrap();

    let found = find(standin.pid()).unwrap();
    let (object, probe) = &found[0];
    assert_eq!(object.path, path);
    assert!(object.deleted);
    assert_eq!(vec![probe.clone()], probes(data.as_slice()).unwrap().probes);
    assert_eq!(fs::read(object.attach_path().unwrap()).unwrap(), data);
}

/// Check that each way to have no such probe has its own message and way out.
#[test]
fn probe_not_found() {
    let Some(dir) = standins() else { return };
    let message = |result: Result<_, trace::Error>| match result {
        Ok(found) => panic!("{found:?}"),
        Err(err) => err.to_string(),
    };
    let standin = Standin::start(&dir.join("standin"), &[]);
    let pid = standin.pid();
    let target = Target::from_pid(pid).unwrap();
    assert_eq!(
        message(target.find_probe("revalidate", "flow_result")),
        format!(
            "process {pid} has no probe revalidate:flow_result, which needs Open vSwitch 3.4 or \
             later\nit has dpif_recv:recv_upcall; usdt-probes -p {pid} --check says more"
        )
    );
    assert_eq!(
        message(target.find_probe("no", "such")),
        format!(
            "process {pid} has no probe no:such\nit has dpif_recv:recv_upcall; usdt-probes -p {pid} --check says more"
        )
    );

    // That it answers says that the loader is done with it.
    let pipes = (Stdio::piped(), Stdio::piped());
    let mut cat = Standin(
        Command::new("cat")
            .stdin(pipes.0)
            .stdout(pipes.1)
            .spawn()
            .unwrap(),
    );
    cat.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    cat.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let pid = cat.pid();
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(
        message(find(pid)),
        format!(
            "process {pid} ({program:?}) was built without probes, as Debian's and Ubuntu's packages are\n\
             rebuild Open vSwitch with ./configure --enable-usdt-probes; usdt-probes -p {pid} --check says more"
        )
    );

    // Kernel threads are not to be seen from every pid namespace.
    if fs::read_to_string("/proc/2/comm").is_ok_and(|comm| comm == "kthreadd\n") {
        let text = message(find(2));
        assert!(text.contains("process 2 runs no program"), "{text}");
    }
}

/// Check that a probe whose notes are of no use is not said to be missing.
#[test]
fn useless_notes() {
    let Some(dir) = standins() else { return };
    let mut data = fs::read(dir.join("standin")).unwrap();
    // Length of the owner, of the rest, type, owner: what follows is the address.
    let is_note =
        |bytes: &[u8]| bytes[..4] == [8, 0, 0, 0] && &bytes[8..] == b"\x03\0\0\0stapsdt\0";
    let notes: Vec<_> = (0..data.len() - 20)
        .filter(|&at| is_note(&data[at..at + 20]))
        .collect();
    assert_eq!(notes.len(), 2);
    for note in notes {
        data[note + 20..note + 28].fill(0);
    }
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("standin");
    fs::copy(dir.join("standin"), &path).unwrap();
    fs::write(&path, data).unwrap();
    let standin = Standin::start(&path, &[]);
    let err = find(standin.pid()).unwrap_err();
    assert_eq!(
        err.to_string(),
        format!(
            "{path:?}: the site of probe dpif_recv:recv_upcall at 0x0 is in no segment of the file"
        )
    );
}

/// Check that the error for what is no process says why.
#[test]
fn not_a_process() {
    for pid in [0, 0x7fff_ffff, u32::MAX] {
        let err = Target::from_pid(pid).unwrap_err();
        assert!(
            matches!(err, trace::Error::NoProcess(p) if p == pid),
            "{err}"
        );
    }

    let own = std::process::id();
    let thread = std::thread::spawn(move || {
        let path = fs::read_link("/proc/thread-self").unwrap();
        let tid: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        (tid, Target::from_pid(tid).unwrap_err().to_string())
    });
    let (tid, text) = thread.join().unwrap();
    assert_eq!(
        text,
        format!("{tid} is a thread of process {own}; use -p {own}")
    );

    let mut child = Command::new("true").spawn().unwrap();
    let target = Target::from_pid(child.id());
    let stat = format!("/proc/{}/stat", child.id());
    while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    let err = Target::from_pid(child.id()).unwrap_err();
    assert!(matches!(err, trace::Error::Exited(_)), "{err}");
    child.wait().unwrap();
    if let Ok(target) = target {
        let err = target.objects().unwrap_err();
        assert!(matches!(err, trace::Error::Gone(_)), "{err}");
    }
}

/// Check that the descriptor of a target becomes readable when it exits and not before.
#[test]
fn exit_is_noticed() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut child = Command::new("sleep").arg("100").spawn().unwrap();
    let target = Target::from_pid(child.id()).unwrap();
    assert_eq!(target.pid(), child.id());
    let mut fds = [PollFd::new(&target, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    assert_eq!(poll(&mut fds, Some(&at_once)), Ok(0));
    child.kill().unwrap();
    let soon = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    assert_eq!(poll(&mut fds, Some(&soon)), Ok(1));
    child.wait().unwrap();
}

/// Who [`find_ovs_vswitchd`] takes for a daemon. Others may run one on this machine meanwhile.
fn daemons() -> BTreeSet<u32> {
    match find_ovs_vswitchd() {
        Ok(pid) => BTreeSet::from([pid]),
        Err(trace::Error::NotFound) => BTreeSet::new(),
        Err(trace::Error::Several(candidates)) => candidates.iter().map(|c| c.pid).collect(),
        Err(err) => panic!("{err}"),
    }
}

/// Check that a daemon is found by its name, that its monitor and a namesake thread are not, and
/// that several are listed.
#[test]
fn discovery() {
    let Some(dir) = standins() else { return };
    let args = ["--comm", "ovs-vswitchd"];
    let path = dir.join("standin");
    let one = Standin::start(&path, &args);
    assert!(daemons().contains(&one.pid()));

    let mut command = Command::new(&path);
    command.arg0(format!(
        "ovs-vswitchd: monitoring pid {} (healthy)",
        one.pid()
    ));
    command.arg("--wait").args(args);
    let monitor = Standin::spawn(command);
    let found = daemons();
    assert!(
        found.contains(&one.pid()) && !found.contains(&monitor.pid()),
        "{found:?}"
    );

    let mut command = Command::new(&path);
    command.arg0("ovs-vswitchd\x1b[m").arg("--wait").args(args);
    let two = Standin::spawn(command);
    let err = find_ovs_vswitchd().unwrap_err();
    let text = err.to_string();
    let (first, rest) = text.split_once('\n').unwrap();
    assert_eq!(
        first,
        "several ovs-vswitchd are running, choose one with -p:"
    );
    let start: String = path.display().to_string().chars().take(60).collect();
    assert!(rest.contains(&format!("{} ({start}", one.pid())), "{rest}");
    assert!(
        rest.contains(&format!("{} (ovs-vswitchd\\u{{1b}}[m --wait", two.pid())),
        "{rest}"
    );
    assert!(!rest.contains(&monitor.pid().to_string()), "{rest}");

    let others = Standin::start(&path, &["--comm", "ovs-vswitchd2"]);
    assert!(!daemons().contains(&others.pid()));
}

/// Runs [`helper`] in a process of its own and returns what it printed.
fn run_helper(command: &mut Command) -> String {
    let output = command
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "helper", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Check nothing: prints what a process with another environment or fewer privileges would see,
/// for the tests that start this one.
#[test]
#[ignore = "a helper of other tests"]
fn helper() {
    match std::env::var("USDT_TEST_PID").map(|pid| pid.parse().unwrap()) {
        Ok(pid) => match find(pid) {
            Ok(found) => println!("found {:?}", found[0].0.attach_path().unwrap()),
            Err(err) => println!("error {err}"),
        },
        Err(_) => println!("daemons {:?}", daemons()),
    }
}

/// Check that a pidfile brings in a daemon of another name, but no process that merely has the
/// number of one that is gone.
#[test]
fn pidfile() {
    let Some(dir) = standins() else { return };
    let rundir = tempfile::tempdir().unwrap();
    let mut command = Command::new(dir.join("standin"));
    command.arg0("/usr/sbin/lt-ovs-vswitchd").arg("--wait");
    let renamed = Standin::spawn(command);
    let other = Standin::start(&dir.join("standin"), &[]);
    for (standin, expected) in [(&renamed, true), (&other, false)] {
        let pid = standin.pid();
        fs::write(rundir.path().join("ovs-vswitchd.pid"), format!("{pid}\n")).unwrap();
        let output = run_helper(Command::new("env").env("OVS_RUNDIR", rundir.path()));
        let line = output
            .lines()
            .find(|line| line.starts_with("daemons "))
            .unwrap();
        let is_daemon = line
            .split(|c: char| !c.is_ascii_digit())
            .any(|p| p == pid.to_string());
        assert_eq!(is_daemon, expected, "{line}");
    }
}

/// Check that without capabilities the file is reached by its path, or by /proc/PID/exe when it
/// was replaced, and that another user's process is not.
#[test]
fn without_capabilities() {
    let Some(dir) = standins() else { return };
    let setpriv = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(args);
        command
    };
    // Root without any capability: may look at its own processes but not at map_files.
    let bare = ["--bounding-set=-all", "--inh-caps=-all"];
    if !setpriv(&bare)
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("skipped: not root, or no setpriv (util-linux)");
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let start = |program: &str| {
        for file in [program, "libstandin.so"] {
            fs::copy(dir.join(file), temporary.path().join(file)).unwrap();
        }
        let mut command = setpriv(&bare);
        command.arg(temporary.path().join(program)).arg("--wait");
        Standin::spawn(command)
    };
    let try_find = |args: &[&str], pid: u32| {
        let output = run_helper(setpriv(args).env("USDT_TEST_PID", pid.to_string()));
        let (_, rest) = output.split_once("running 1 test\n").unwrap();
        rest.to_owned()
    };

    let standin = start("standin");
    let pid = standin.pid();
    let rooted = format!(
        "found \"/proc/{pid}/root{}/standin\"",
        temporary.path().display()
    );
    let output = try_find(&bare, pid);
    assert!(output.contains(&rooted), "{output}");
    fs::remove_file(temporary.path().join("standin")).unwrap();
    fs::copy(dir.join("standin"), temporary.path().join("standin")).unwrap();
    let output = try_find(&bare, pid);
    assert!(
        output.contains(&format!("found \"/proc/{pid}/exe\"")),
        "{output}"
    );

    // A library has no such other name.
    let standin = start("standin-shared");
    let library = temporary.path().join("libstandin.so");
    fs::remove_file(&library).unwrap();
    let output = try_find(&bare, standin.pid());
    assert!(
        output.contains(&format!(
            "error {library:?} has been replaced or deleted since process {} started\nrun as root",
            standin.pid()
        )),
        "{output}"
    );

    // With it, the library itself is at hand.
    let mut maps = fs::read_dir("/proc/self/map_files").unwrap();
    if maps.any(|map| fs::metadata(map.unwrap().path()).is_ok()) {
        let found = find(standin.pid()).unwrap();
        let (object, probe) = &found[0];
        assert!(object.deleted);
        assert_eq!(object.path, library);
        let data = fs::read(dir.join("libstandin.so")).unwrap();
        assert_eq!(fs::read(object.attach_path().unwrap()).unwrap(), data);
        assert_eq!(vec![probe.clone()], probes(data.as_slice()).unwrap().probes);
    } else {
        eprintln!("skipped in part: no CAP_CHECKPOINT_RESTORE");
    }

    // Another user may not even read the maps.
    let nobody = ["--reuid=65534", "--clear-groups"];
    if setpriv(&nobody)
        .arg("test")
        .arg("-x")
        .arg(std::env::current_exe().unwrap())
        .status()
        .unwrap()
        .success()
    {
        let pid = standin.pid();
        let output = try_find(&nobody, pid);
        let expected = format!(
            "error not permitted to read \"/proc/{pid}/maps\"\nrun as root, or with CAP_SYS_PTRACE"
        );
        assert!(output.contains(&expected), "{output}");
    }
}

/// Check that fixtures/standin fires what it was asked for and counts it.
#[test]
fn standin_counts() {
    let Some(dir) = standins() else { return };
    for (program, args, expected) in [
        (
            "standin",
            &["--rate", "0", "--threads", "3"][..],
            "fired 1009\n",
        ),
        (
            "standin",
            &["--rate", "20000", "--threads", "2"],
            "fired 1009\n",
        ),
        (
            "standin-shared",
            &["--rate", "0", "--bad-packet", "3", "--bad-key", "5"],
            "fired 1009\n",
        ),
        (
            "standin-semaphore",
            &["--rate", "0"],
            "fired 0\nskipped 1009\n",
        ),
    ] {
        let output = Command::new(dir.join(program))
            .args(["--count", "1009"])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let (ready, rest) = text.split_once('\n').unwrap();
        assert!(ready.starts_with("ready "), "{ready}");
        assert_eq!(rest, expected, "{program} {args:?}");
    }
}
