//! The functions that the daemon was in.

use std::collections::HashMap;
use std::path::Path;

use blazesym::symbolize::source::{Process, Source};
use blazesym::symbolize::{Input, Reason, Symbolized, Symbolizer};

use super::record::Record;
use super::unwind::{Chain, End, StackCopy, Unwinder};

/// The frames of a run, with names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// `function+0x12 (file)`, or the address where no name is known; the innermost first.
    pub frames: Vec<String>,
    /// How many of them are certain: see [`Chain`].
    pub certain: usize,
    /// Why there are no more.
    pub end: End,
}

/// Finds and names the frames of a process's stacks.
pub struct Stacks {
    pid: u32,
    symbolizer: Symbolizer,
    unwinder: Unwinder,
    /// Of a thread, until the run comes that it is of.
    copies: HashMap<u32, StackCopy>,
}

impl Stacks {
    pub fn new(pid: u32) -> Self {
        Self {
            pid,
            symbolizer: Symbolizer::new(),
            unwinder: Unwinder::new(pid),
            copies: HashMap::new(),
        }
    }

    /// Takes a record of the kernel, if it is the copy of a stack.
    pub fn take(&mut self, record: &[u8]) -> bool {
        let copy = StackCopy::from_bytes(record);
        let is_copy = copy.is_some();
        self.copies.extend(copy);
        is_copy
    }

    /// The stack of a run, if it has one.
    pub fn of(&mut self, run: &Record<'_>) -> Option<Stack> {
        let copy = self.copies.remove(&run.header.head.tid);
        let chain = match copy.filter(|_| run.header.has_copy != 0) {
            Some(copy) => self.unwinder.unwind(&copy),
            None => Chain::by_frame_pointers(run.stack.clone()),
        };
        let frames = self.frames(&chain.frames);
        (!frames.is_empty()).then(|| Stack {
            certain: chain.certain.min(frames.len()),
            frames,
            end: chain.end,
        })
    }

    /// A text for each address of a stack. The names are those of the process's files.
    fn frames(&self, stack: &[u64]) -> Vec<String> {
        let mut process = Process::new(self.pid.into());
        process.debug_syms = false;
        process.perf_map = false;
        // All but the innermost address are those behind a call, where another function may begin.
        let calls = stack.iter().enumerate();
        let calls: Vec<u64> = calls
            .map(|(i, addr)| addr - u64::from(i > 0).min(*addr))
            .collect();
        let source = Source::Process(process);
        let symbols = self.symbolizer.symbolize(&source, Input::AbsAddr(&calls));
        let unmapped =
            |symbol: &Symbolized<'_>| matches!(symbol, Symbolized::Unknown(Reason::Unmapped));
        // Of a process that has exited, only the addresses are known.
        let symbols = symbols.ok().filter(|symbols| !symbols.iter().all(unmapped));
        let mut symbols = symbols.unwrap_or_default().into_iter();
        let frame = |(addr, call): (&u64, &u64)| match symbols.next() {
            Some(Symbolized::Sym(symbol)) => {
                let offset = symbol.offset as u64 + (addr - call);
                let module = symbol.module.as_deref().map(Path::new);
                let module = module.and_then(Path::file_name).unwrap_or_default();
                let module = module.to_string_lossy();
                Some(format!("{}+{offset:#x} ({module})", symbol.name))
            }
            // The caller has no frame pointer, and what was taken for one leads nowhere.
            Some(Symbolized::Unknown(Reason::Unmapped)) => None,
            _ => Some(format!("{addr:#x}")),
        };
        stack.iter().zip(&calls).map_while(frame).collect()
    }
}
