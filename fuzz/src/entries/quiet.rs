//! A log that nobody reads, and that is written all the same: what a line says must not panic, and it is one line.

use std::sync::Once;

struct Quiet;

impl log::Log for Quiet {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        assert!(!text.contains(['\n', '\r', '\x1b']), "a line of the log: {text:?}");
        assert!(text.len() <= 1 << 17, "a line of {} bytes in the log", text.len());
    }

    fn flush(&self) {}
}

/// From now on everything is logged, once and for all.
pub fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        // Another one has been there before, if this fails.
        if log::set_logger(&Quiet).is_ok() {
            log::set_max_level(log::LevelFilter::Trace);
        }
    });
}
