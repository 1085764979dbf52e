//! The lines and the figures for people.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::time::Duration;

use super::figures::{Figures, LONG};
use super::held::Held;
use super::record::Record;
use super::stack::Stack;
use super::unwind::End;
use super::{Group, Kind};
use crate::bpf::bridge_loop::types::stack_at;
use crate::run::session::Past;
use crate::show::columns::At;
use crate::show::escape::{Escaped, escape};
use crate::show::histogram::{self, human};

/// Appends the line of a run or wait, as bridge_loop.bt prints it, and below it what held the run up and its stack.
pub fn record(
    text: &mut String,
    record: &Record<'_>,
    held: Option<&Held>,
    stack: Option<&Stack>,
) -> fmt::Result {
    let header = &record.header;
    write!(text, "- [{}@", header.head.tid)?;
    escape(text, record.comm)?;
    text.push_str(match (record.kind, record.group) {
        (Kind::Run, Group::Main) => "] bridge run loop time  : ",
        (Kind::Run, _) => "] thread run time       : ",
        (Kind::Wait, _) => "] poll_block() wait time: ",
    });
    if header.unseen != 0 {
        text.push_str("at least ");
    }
    clock(text, header.duration)?;
    if header.unseen != 0 {
        text.push_str(" (begun before, not counted)");
    }
    text.push('\n');
    if let Some(held) = held {
        self::held(text, held)?;
    }
    if let Some(stack) = stack {
        let at = stack_at(u32::from(header.stack_at));
        text.push_str(match at {
            stack_at::STACK_AT_THRESHOLD => "    past the threshold it was in\n",
            stack_at::STACK_AT_BLOCK => "    when it was blocked for the longest time it was in\n",
            _ => "    not seen past the threshold; at the end of the run it was in\n",
        });
        let block = held.and_then(|held| held.longest.as_ref());
        let kernel = block.filter(|_| at == stack_at::STACK_AT_BLOCK);
        let kernel = kernel.map_or(&[][..], |block| &block.frames);
        for frame in kernel {
            writeln!(text, "      {}", Escaped::text(frame))?;
        }
        self::stack(text, stack)?;
    }
    Ok(())
}

/// Appends the frames of a stack, and what is not known of it.
fn stack(text: &mut String, stack: &Stack) -> fmt::Result {
    for (i, frame) in stack.frames.iter().enumerate() {
        let doubt = if i < stack.certain { "" } else { "? " };
        writeln!(text, "      {doubt}{}", Escaped::text(frame))?;
    }
    if stack.certain < stack.frames.len() {
        text.push_str(
            "      ?: by frame pointers, which code that is built with -O2 does not have\n",
        );
    }
    text.push_str(match stack.end {
        End::Outermost | End::FramePointers => "",
        End::Copy => "      ... its callers are beyond the part of the stack that was copied\n",
        End::NoInformation => {
            "      ... its callers are not known: the last one says nothing of its frame\n"
        }
        End::TooMany => "      ... and more callers\n",
    });
    Ok(())
}

/// Appends what held a run up.
fn held(text: &mut String, held: &Held) -> fmt::Result {
    write!(text, "    on a CPU {}", human(held.cpu))?;
    if let Some((user, system)) = held.user_system {
        write!(text, " (user {}, system {})", human(user), human(system))?;
    }
    writeln!(text, "\n    waiting for a CPU {}", human(held.runnable))?;
    write!(text, "    blocked {}", human(held.blocked))?;
    if let Some(block) = &held.longest {
        write!(text, ", longest for {}", human(block.duration))?;
        if let Some(function) = &block.function {
            write!(text, " in {}()", Escaped::text(function))?;
        }
        match &block.syscall {
            Some(name) => write!(text, " ({name})")?,
            None => text.push_str(" (no system call)"),
        }
    }
    writeln!(text)
}

/// Appends the line of an interval, with the time at which it ended. `group` is named if there are several.
pub fn interval(
    text: &mut String,
    group: Option<Group>,
    figures: &Figures,
    past: Past,
) -> fmt::Result {
    let (rate, busy) = figures.rates(past.elapsed);
    text.push_str("= ");
    write!(text, "{}", At(past, ""))?;
    if let Some(group) = group {
        write!(text, "{}: ", group.title())?;
    }
    write!(text, "{rate:.1} loops/s")?;
    if let Some(busy) = busy {
        write!(text, ", {busy:.2} % busy")?;
    }
    for (kind, totals) in Kind::ALL.into_iter().zip(&figures.kinds) {
        if totals.count > 0 {
            write!(
                text,
                "; {} p50 {}, p90 {}, p99 {}, max {}",
                kind.name(),
                human(totals.quantile(0.5)),
                human(totals.quantile(0.9)),
                human(totals.quantile(0.99)),
                human(totals.max)
            )?;
        }
    }
    if figures.running >= LONG {
        write!(text, "; in a run for {}", human(figures.running))?;
    }
    writeln!(text)
}

/// Writes the histograms and the figures of all. `group` is named if there are several. `linear` histograms are those
/// of bridge_loop.bt.
pub fn summary(
    out: &mut impl Write,
    group: Option<Group>,
    figures: &Figures,
    elapsed: Duration,
    linear: bool,
) -> io::Result<()> {
    let [runs, waits] = [0, 1].map(|i| figures.kinds[i].rows(Kind::ALL[i], linear));
    match group {
        Some(group) => writeln!(out, "\nTimes of {} in microseconds:\n", group.title())?,
        None => writeln!(out, "\nTimes in microseconds:\n")?,
    }
    histogram::print(out, "bridge_run_time", &runs)?;
    histogram::print(out, "poll_block_wait_time", &waits)?;
    writeln!(
        out,
        "{:<4} {:>10} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "", "COUNT", "TOTAL", "MEAN", "MIN", "P50", "P90", "P99", "MAX"
    )?;
    for (kind, totals) in Kind::ALL.into_iter().zip(&figures.kinds) {
        write!(out, "{:<4} {:>10}", kind.name(), totals.count)?;
        if totals.count > 0 {
            for time in [
                totals.sum,
                totals.mean(),
                totals.min,
                totals.quantile(0.5),
                totals.quantile(0.9),
                totals.quantile(0.99),
                totals.max,
            ] {
                write!(out, " {:>12}", human(time))?;
            }
        }
        writeln!(out)?;
    }
    let (rate, busy) = figures.rates(elapsed);
    let seconds = elapsed.as_secs_f64();
    write!(out, "{rate:.1} loops/s in {seconds:.1} s")?;
    match busy {
        Some(busy) => writeln!(out, ", {busy:.2} % busy"),
        None => writeln!(out),
    }
}

/// `h:mm:ss.nanoseconds`
fn clock(text: &mut String, ns: u64) -> fmt::Result {
    let seconds = ns / 1_000_000_000;
    write!(
        text,
        "{}:{:02}:{:02}.{:09}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        ns % 1_000_000_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge_loop::held::Block;
    use crate::bridge_loop::record::tests;

    /// Check that a line is that of bridge_loop.bt, and that a name cannot break it.
    #[test]
    fn lines() {
        let odd = b"a\"\n\\\xff\0garbage...";
        let bytes = tests::record(0, 0, 3_723_000_209_759, odd, &[0x10, 0x20]);
        let mut text = String::new();
        let mut stack = Stack {
            frames: vec!["f\x1b+0x1 (x)".into()],
            certain: 1,
            end: End::Outermost,
        };
        let run = Record::from_bytes(&bytes).unwrap();
        record(&mut text, &run, None, Some(&stack)).unwrap();
        assert_eq!(
            text,
            "- [42@a\"\\n\\\\xff] bridge run loop time  : 1:02:03.000209759\n    \
             past the threshold it was in\n      f\\u{1b}+0x1 (x)\n"
        );
        stack.frames.push("g+0x2 (x)".into());
        for (certain, end, expected) in [
            (2, End::Outermost, "      g+0x2 (x)\n"),
            (2, End::FramePointers, "      g+0x2 (x)\n"),
            (
                2,
                End::TooMany,
                "      g+0x2 (x)\n      ... and more callers\n",
            ),
            (
                2,
                End::Copy,
                "      g+0x2 (x)\n      ... its callers are beyond the part of the stack that was copied\n",
            ),
            (
                1,
                End::NoInformation,
                "      ? g+0x2 (x)\n      ?: by frame pointers, which code that is built with -O2 does not have\n      \
                 ... its callers are not known: the last one says nothing of its frame\n",
            ),
        ] {
            (stack.certain, stack.end) = (certain, end);
            text.clear();
            record(&mut text, &run, None, Some(&stack)).unwrap();
            let (_, below) = text.split_once("0x1 (x)\n").unwrap();
            assert_eq!(below, expected);
        }
    }

    /// Check that the line of what began before its thread was seen says so.
    #[test]
    fn begun_before() {
        let bytes = tests::record(1, 1, 7, b"ovs-vswitchd\0\0\0\0", &[1, 2]);
        let mut text = String::new();
        record(&mut text, &Record::from_bytes(&bytes).unwrap(), None, None).unwrap();
        assert_eq!(
            text,
            "- [42@ovs-vswitchd] poll_block() wait time: at least 0:00:00.000000007 (begun before, not counted)\n"
        );
    }

    /// Check that the lines below a run say what held it up, and nothing that is not known.
    #[test]
    fn held_up() {
        let mut held = Held {
            cpu: 3_000_000,
            user_system: Some((1_000_000, 2_000_000)),
            runnable: 40_000,
            blocked: 1_500_000_000,
            longest: Some(Block {
                duration: 1_400_000_000,
                function: Some("pipe_read".into()),
                syscall: Some("read".into()),
                frames: vec!["pipe_read+0x1 (kernel)".into()],
            }),
        };
        let bytes = tests::record(0, 0, 7, b"ovs-vswitchd\0\0\0\0", &[1, 2]);
        let run = Record::from_bytes(&bytes).unwrap();
        let below = |held: &Held| {
            let mut text = String::new();
            record(&mut text, &run, Some(held), None).unwrap();
            text.split_once('\n').unwrap().1.to_string()
        };
        assert_eq!(
            below(&held),
            "    on a CPU 3.00 ms (user 1.00 ms, system 2.00 ms)\n    waiting for a CPU 40.00 us\n    \
             blocked 1.500 s, longest for 1.400 s in pipe_read() (read)\n"
        );
        held.user_system = None;
        held.longest = Some(Block {
            duration: 5,
            function: None,
            syscall: None,
            frames: Vec::new(),
        });
        assert_eq!(
            below(&held),
            "    on a CPU 3.00 ms\n    waiting for a CPU 40.00 us\n    \
             blocked 1.500 s, longest for 5 ns (no system call)\n"
        );
    }
}
