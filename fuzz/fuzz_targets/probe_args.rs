//! Argument strings of probes, as a compiler for x86-64 or aarch64 writes them: what is parsed means the same when it
//! is written in one form and parsed again.
//!
//! Input: a byte for the machine, the string.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_tracers::trace::spec::{MEMORY, WINDOW, specs};
use ovs_tracers::trace::usdt::{
    Arg, Machine, Operand, Register, parse_arg, parse_args, split_args,
};
use ovs_tracers_fuzz::head;

/// The name of the whole register, of which `register` may be a part.
fn whole(machine: Machine, register: Register) -> String {
    // By the words of struct pt_regs.
    const X86: [&str; 21] = [
        "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx",
        "rsi", "rdi", "", "rip", "", "", "rsp", "",
    ];
    match machine {
        Machine::X86_64 => format!("%{}", X86[usize::from(register.index)]),
        _ if register.index == 31 => "sp".into(),
        _ => format!("x{}", register.index),
    }
}

fn write(machine: Machine, arg: &Arg) -> String {
    let sign = if arg.signed { "-" } else { "" };
    let x86 = machine == Machine::X86_64;
    let operand = match arg.operand {
        Operand::Constant(value) if x86 => format!("${value}"),
        Operand::Constant(value) => format!("{value}"),
        Operand::Register(register) => whole(machine, register),
        Operand::Memory {
            base,
            index,
            scale,
            offset,
        } => {
            let base = whole(machine, base);
            match index.map(|index| whole(machine, index)) {
                None if x86 => format!("{offset}({base})"),
                Some(index) if x86 => format!("{offset}({base},{index},{scale})"),
                None => format!("[{base}, {offset}]"),
                Some(index) => format!("[{base}, {index}, lsl {}]", scale.trailing_zeros()),
            }
        }
    };
    format!("{sign}{}@{operand}", arg.size)
}

/// The same but for the names of registers.
fn same(a: &Arg, b: &Arg) -> bool {
    let number = |register: Register| register.index;
    let operand = |operand: Operand| match operand {
        Operand::Constant(value) => (0, value, 0, None, 0),
        Operand::Register(register) => (1, 0, number(register), None, 0),
        Operand::Memory {
            base,
            index,
            scale,
            offset,
        } => (2, offset, number(base), index.map(number), scale),
    };
    (a.size, a.signed, operand(a.operand)) == (b.size, b.signed, operand(b.operand))
}

fuzz_target!(|data: &[u8]| {
    let Some(([machine], text)) = head(data) else {
        return;
    };
    let machine = match machine % 3 {
        0 => Machine::X86_64,
        1 => Machine::Aarch64,
        _ => Machine::Other(3),
    };
    let text = String::from_utf8_lossy(text);
    let parts: Vec<&str> = split_args(&text).collect();
    let all = parse_args(&text, machine);
    let each: Vec<_> = parts.iter().map(|part| parse_arg(part, machine)).collect();
    for (part, arg) in parts.iter().zip(&each) {
        assert!(!part.is_empty() && text.contains(part));
        let Ok(arg) = arg else { continue };
        assert!(matches!(arg.size, 1 | 2 | 4 | 8));
        let written = write(machine, arg);
        let again = parse_arg(&written, machine).expect(&written);
        assert!(same(arg, &again), "{part}: {arg:?}, {written}: {again:?}");
    }
    let Ok(all) = all else {
        assert!(each.iter().any(Result::is_err));
        return;
    };
    assert_eq!(
        Ok(&all),
        each.into_iter().collect::<Result<Vec<_>, _>>().as_ref()
    );
    let args: Vec<&Arg> = all.iter().take(12).collect();
    let specs = specs(&args);
    for (arg, spec) in args.iter().zip(&specs) {
        if spec.operand != MEMORY {
            continue;
        }
        // What is read for the window has the argument where it says.
        let Operand::Memory { offset, .. } = arg.operand else {
            panic!("{arg:?} {spec:?}");
        };
        let first = specs[usize::from(spec.window)];
        assert!(first.span <= WINDOW && spec.at + u16::from(spec.size) <= first.span);
        let begin = first.value - i64::from(first.at);
        assert_eq!(begin + i64::from(spec.at), offset);
    }
});
