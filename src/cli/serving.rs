//! The part of the command line that has to do with how devices are served.

use std::time::Duration;

use clap::Args;
use vfio_user_server::{DEFAULT_POLL, Fault, FaultError};

#[derive(Debug, Args)]
pub struct Polling {
    /// Poll for up to N microseconds after a client was answered, as long as that saves wake-ups; 0 never polls.
    /// Polling makes register accesses about twice as fast and costs CPU time only while a guest is busy with them
    #[arg(
        long,
        value_name = "N",
        default_value_t = default_poll_us(),
        allow_negative_numbers = true,
        value_parser = microseconds,
    )]
    pub poll_us: u64,
}

fn microseconds(text: &str) -> Result<u64, &'static str> {
    match text.parse() {
        Ok(number @ 0..=1_000_000) => Ok(number),
        Ok(_) | Err(_) => Err("a number from 0 to 1000000"),
    }
}

/// The server's own default, in microseconds.
fn default_poll_us() -> u64 {
    u64::try_from(DEFAULT_POLL.as_micros()).unwrap_or(u64::MAX)
}

impl Polling {
    pub fn most(&self) -> Duration {
        Duration::from_micros(self.poll_us)
    }
}

#[derive(Debug, Args)]
pub struct Faults {
    /// Go wrong on purpose, to test a client: ACTION[,OPTION=VALUE]..., ACTION being delay, stall, drop, error, cut,
    /// short, disconnect, lose-irq or stick-irq. Can be given several times. See Faults for the options
    #[arg(long = "fault", value_name = "SPEC", value_parser = fault)]
    pub list: Vec<Fault>,
}

fn fault(text: &str) -> Result<Fault, FaultError> {
    text.parse()
}
