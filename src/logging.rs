//! The log, on standard error.
//!
//! What serves devices must not wait for whoever reads the log, nor for whoever does not. So lines go to a thread that
//! writes them; when it cannot keep up, lines are lost, and it says how many.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use log::LevelFilter;

use crate::sandbox;

/// Lines that may wait to be written.
const WAITING: usize = 1024;
/// How long the end of the program waits for them.
const LAST_LINES: Duration = Duration::from_millis(200);

enum Item {
    Line(Vec<u8>),
    /// All lines before this one have been written.
    Mark(SyncSender<()>),
}

static QUEUE: OnceLock<SyncSender<Item>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

/// Starts the log. `level` comes from the command line and stands above RUST_LOG; without both it is info, or warn if
/// `quiet`. If it is `confined`, what writes it can open no file.
pub fn start(level: Option<LevelFilter>, quiet: bool, confined: bool) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(if quiet { LevelFilter::Warn } else { LevelFilter::Info });
    match level {
        Some(level) => builder.filter_level(level),
        None => builder.parse_default_env(),
    };
    builder.format(|out, record| {
        let time = out.timestamp_millis();
        writeln!(out, "{time} {:<5} {}", record.level(), record.args())
    });
    let (sender, receiver) = sync_channel(WAITING);
    let (done, begun) = sync_channel(1);
    let write = move || {
        if confined {
            // A kernel that cannot is told of where the sandbox is.
            sandbox::give_up_files();
        }
        let _ = done.send(());
        write_out(&receiver);
    };
    if thread::Builder::new().name("log".into()).spawn(write).is_ok() {
        // The calls by which it gives them up are among those that are given up later.
        let _ = begun.recv();
        let _ = QUEUE.set(sender);
        builder.target(env_logger::Target::Pipe(Box::new(Lines)));
    }
    builder.init();
}

/// Waits a moment for the last lines to be written.
pub fn finish() {
    let Some(queue) = QUEUE.get() else { return };
    let deadline = Instant::now() + LAST_LINES;
    let (done, written) = sync_channel(1);
    let mut mark = Item::Mark(done);
    // Without blocking: a queue that nobody empties is no reason to stay.
    while let Err(TrySendError::Full(item)) = queue.try_send(mark) {
        if Instant::now() > deadline {
            return;
        }
        mark = item;
        thread::sleep(Duration::from_millis(1));
    }
    let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
}

/// Where the logger writes: each call is a line.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let sent = QUEUE.get().map(|queue| queue.try_send(Item::Line(line.to_vec())));
        if let Some(Err(TrySendError::Full(_))) = sent {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_out(receiver: &Receiver<Item>) {
    for item in receiver {
        let lost = LOST.swap(0, Ordering::Relaxed);
        // Nobody there to read it: nothing to be done.
        if lost != 0 {
            let what = "lines of the log were lost: nobody read them in time";
            let _ = writeln!(io::stderr(), "{lost} {what}");
        }
        match item {
            Item::Line(line) => _ = io::stderr().write_all(&line),
            Item::Mark(done) => _ = done.try_send(()),
        }
    }
}
