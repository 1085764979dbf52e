//! The standard output of a tool that writes lines: text, JSON Lines, or only summaries.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::ops::ControlFlow;

use serde::Serialize;

use crate::cli::options::Format;
use crate::run::loss::Lost;
use crate::run::output::{Output, stdout};
use crate::run::recording::Start;
use crate::run::sink::{Failure, Sink};
use crate::show::json;
use crate::show::message::{StatusLine, erase_status, note};

pub struct Lines {
    out: Sink<Output>,
    format: Format,
    /// Whether only summaries are shown.
    quiet: bool,
    /// Room for an event.
    text: String,
    line: json::Line,
}

impl Lines {
    /// Begins with the heading, or with the start record of JSON that has the number of a schema.
    pub fn new(
        format: Format,
        quiet: bool,
        heading: impl Display,
        schema: u32,
        start: &Start,
    ) -> io::Result<Self> {
        let mut out = stdout()?;
        let mut line = json::Line::default();
        match format {
            Format::Json => {
                line.start(schema, start);
                line.write(&mut out)?;
            }
            Format::Text if quiet => {}
            Format::Text => writeln!(out, "{heading}")?,
        }
        Ok(Self {
            out: Sink::new("standard output", Some(out)),
            format,
            quiet,
            text: String::new(),
            line,
        })
    }

    /// A status line on the terminal, unless it would disturb these lines.
    pub fn status_line(&self) -> Option<StatusLine> {
        StatusLine::new(self.quiet && self.format == Format::Text)
    }

    /// Writes an event: its text, or a JSON record with this tag.
    pub fn event(
        &mut self,
        failure: &mut Failure,
        tag: &str,
        text: impl FnOnce(&mut String) -> fmt::Result,
        json: impl FnOnce(&mut json::Line),
    ) -> ControlFlow<()> {
        if self.quiet {
            return ControlFlow::Continue(());
        }
        if self.format == Format::Json {
            self.line.record(tag);
            json(&mut self.line);
            return self.out.write(failure, |out| self.line.write(out));
        }
        self.text.clear();
        // Writing to a String cannot fail.
        let _ = text(&mut self.text);
        self.out
            .write(failure, |out| out.write_all(self.text.as_bytes()))
    }

    /// Says that events are missing here. It flushes, so that whoever also sees standard error sees both in order.
    pub fn lost(&mut self, failure: &mut Failure, new: &Lost) -> ControlFlow<()> {
        if self.format == Format::Json {
            self.line.record("lost");
            self.line.lost(new);
            self.out.write(failure, |out| self.line.write(out))?;
        }
        self.flush(failure)
    }

    /// Shows a summary of an interval or of the run, in JSON in the field `name` of a record with this tag, behind what
    /// `json` writes.
    pub fn summary(
        &mut self,
        failure: &mut Failure,
        (tag, name): (&str, &str),
        summary: impl Display + Serialize,
        json: impl FnOnce(&mut json::Line),
    ) -> ControlFlow<()> {
        if self.format == Format::Json {
            self.line.record(tag);
            json(&mut self.line);
            self.line.field(name, summary);
            self.out.write(failure, |out| self.line.write(out))?;
        } else if self.quiet {
            erase_status();
            self.out.write(failure, |out| writeln!(out, "{summary}"))?;
        } else {
            // So that whoever sees both sees them in the order of events.
            self.flush(failure)?;
            note(summary);
        }
        self.flush(failure)
    }

    /// Flushes what was written, so that a reader sees it.
    pub fn flush(&mut self, failure: &mut Failure) -> ControlFlow<()> {
        self.out.write(failure, Output::flush)
    }
}
