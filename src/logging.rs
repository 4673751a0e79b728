//! The log, on standard error.

use std::io::Write;

use log::LevelFilter;

/// Starts the log. `level` comes from the command line and stands above RUST_LOG.
pub fn start(level: Option<LevelFilter>, quiet: bool) {
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
    builder.init();
}
