//! `mdev-user screenshot`: a device's picture as a PNG file.

mod output;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use png::EncodingError;

use super::print as print_text;
use crate::cli;
use crate::control::client::{Deadline, PATIENCE};
use crate::errors::plain;
use crate::view::{Frame, Viewer, png as pictures};

pub fn take(options: cli::Screenshot) -> Result<ExitCode, Box<dyn Error>> {
    let deadline = Deadline::after(PATIENCE);
    let mut viewer = Viewer::new(options.ask.server.path(), options.ask.device);
    let frame = viewer.look(deadline)?.ok_or_else(|| {
        format!(
            "{} shows no picture; nothing was written, `mdev-user wait --not-blank` waits for one",
            viewer.node()
        )
    })?;
    let summary = frame.summary() + "\n";
    let to_stdout = options.out.as_os_str() == "-";
    let written = if to_stdout {
        encode(&frame, io::stdout().lock())
    } else {
        output::write(&options.out, |out| encode(&frame, out))
    };
    match written {
        // A reader that has heard enough is no failure.
        Err(error) if to_stdout && error.kind() == io::ErrorKind::BrokenPipe => (),
        done => done.map_err(|error| {
            let name = if to_stdout {
                "standard output".into()
            } else {
                options.out.display().to_string()
            };
            format!("cannot write {name}: {}; {}", plain(&error), way_out(&error))
        })?,
    }
    if to_stdout {
        // Whether anybody reads it is the same.
        let _ = io::stderr().write_all(summary.as_bytes());
    } else {
        print_text(&summary)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn encode(frame: &Frame, out: impl Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    pictures::write(frame, &mut out).map_err(|error| match error {
        EncodingError::IoError(error) => error,
        other => io::Error::other(other),
    })?;
    out.flush()
}

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room",
        _ => "name another file",
    }
}
