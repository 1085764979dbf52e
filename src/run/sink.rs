//! An output that may be absent, or have failed.

use std::io::{self, ErrorKind};
use std::ops::ControlFlow;

use anyhow::anyhow;

use crate::show::message::cause;

/// Why a run ends early: the first output that failed.
#[derive(Debug, Default)]
pub struct Failure(Option<anyhow::Error>);

impl Failure {
    /// Takes note of an error that ends the run. The first one counts.
    pub fn set(&mut self, error: anyhow::Error) {
        self.0.get_or_insert(error);
    }

    /// The error, if there was one.
    pub fn result(self) -> anyhow::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// An output.
#[derive(Debug)]
pub struct Sink<T> {
    name: &'static str,
    writer: Option<T>,
}

impl<T> Sink<T> {
    pub fn new(name: &'static str, writer: Option<T>) -> Self {
        Self { name, writer }
    }

    /// Whether there is something to write to.
    pub fn is_open(&self) -> bool {
        self.writer.is_some()
    }

    /// Writes, if there is something to write to. The first error closes this output and ends the run; the others are
    /// still completed. A reader that went away ends the run too, and is no failure.
    pub fn write(
        &mut self,
        failure: &mut Failure,
        write: impl FnOnce(&mut T) -> io::Result<()>,
    ) -> ControlFlow<()> {
        let Some(writer) = &mut self.writer else {
            return ControlFlow::Continue(());
        };
        let result = write(writer);
        if result.is_err() {
            self.writer = None;
        }
        self.report(failure, result)
    }

    /// Completes the output, if it has not failed.
    pub fn complete(&mut self, failure: &mut Failure, complete: impl FnOnce(T) -> io::Result<()>) {
        if let Some(writer) = self.writer.take() {
            let _ = self.report(failure, complete(writer));
        }
    }

    fn report(&self, failure: &mut Failure, result: io::Result<()>) -> ControlFlow<()> {
        let Err(error) = result else {
            return ControlFlow::Continue(());
        };
        if error.kind() != ErrorKind::BrokenPipe {
            failure.set(anyhow!(
                "failed to write {}: {}\nwhat was written before can be read",
                self.name,
                cause(&error)
            ));
        }
        ControlFlow::Break(())
    }
}
