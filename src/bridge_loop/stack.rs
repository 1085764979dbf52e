//! The functions that the daemon was in.

use std::path::Path;

use blazesym::symbolize::source::{Process, Source};
use blazesym::symbolize::{Input, Reason, Symbolized, Symbolizer};

/// Names the frames of a process's stacks.
pub struct Stacks {
    pid: u32,
    symbolizer: Symbolizer,
}

impl Stacks {
    pub fn new(pid: u32) -> Self {
        Self {
            pid,
            symbolizer: Symbolizer::new(),
        }
    }

    /// A text for each address of a stack, the innermost first: `function+0x12 (file)`, or the address where no name is
    /// known. The names are those of the process's files.
    pub fn frames(&self, stack: &[u64]) -> Vec<String> {
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
