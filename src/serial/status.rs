//! How a port does, as `info` tells it.

use mtty::line::{Parity, Settings, StopBits};
use mtty::spec::{mcr, msr};
use serde_json::{Map, Value, json};

use super::overrides::Overrides;

/// Since the device was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Bytes from the guest.
    pub sent: u64,
    /// Bytes to the guest.
    pub received: u64,
    /// Breaks from the guest.
    pub breaks_sent: u64,
    /// Breaks to the guest.
    pub breaks_received: u64,
}

/// How a port does.
#[derive(Clone, Debug)]
pub struct Status {
    /// What hangs on it, as it was asked for.
    pub spec: String,
    /// Whether a peer is there; `None` with a plug.
    pub connected: Option<bool>,
    /// Where a peer finds it.
    pub address: Option<String>,
    /// Who the peer is, as far as that can be told.
    pub peer: Option<String>,
    /// Characters take their time.
    pub paced: bool,
    /// Modem outputs as MCR bits.
    pub outputs: u8,
    /// Modem inputs as MSR bits.
    pub inputs: u8,
    /// What is set by hand.
    pub overrides: Overrides,
    /// How the guest has set the port up.
    pub settings: Settings,
    pub counters: Counters,
    /// Bytes from the guest that wait for a peer.
    pub pending: usize,
    /// Bytes to the guest that wait for it here.
    pub waiting: usize,
    /// Bytes that fell out of the history.
    pub dropped: u64,
    /// Bytes that are missing in the log.
    pub log_lost: u64,
}

impl Status {
    /// As `docs/control.md` has it.
    pub fn to_json(&self) -> Value {
        let (output, input) = (|bit| self.outputs & bit != 0, |bit| self.inputs & bit != 0);
        let by_hand: Map<String, Value> =
            self.overrides.by_hand().map(|(name, on)| (name.into(), on.into())).collect();
        json!({
            "spec": self.spec,
            "connected": self.connected,
            "address": self.address,
            "peer": self.peer,
            "paced": self.paced,
            "outputs": { "dtr": output(mcr::DTR), "rts": output(mcr::RTS) },
            "inputs": {
                "cts": input(msr::CTS),
                "dsr": input(msr::DSR),
                "ri": input(msr::RI),
                "dcd": input(msr::DCD),
            },
            "by_hand": by_hand,
            "settings": {
                "baud": self.settings.baud(),
                "word_length": self.settings.word_length,
                "parity": parity(self.settings.parity),
                "stop_bits": stop_bits(self.settings.stop_bits),
            },
            "bytes_sent": self.counters.sent,
            "bytes_received": self.counters.received,
            "breaks_sent": self.counters.breaks_sent,
            "breaks_received": self.counters.breaks_received,
            "bytes_pending": self.pending,
            "bytes_waiting": self.waiting,
            "history_dropped": self.dropped,
            "log_lost": self.log_lost,
        })
    }
}

fn parity(parity: Parity) -> &'static str {
    match parity {
        Parity::None => "none",
        Parity::Odd => "odd",
        Parity::Even => "even",
        Parity::Mark => "mark",
        Parity::Space => "space",
    }
}

fn stop_bits(stop_bits: StopBits) -> f64 {
    match stop_bits {
        StopBits::One => 1.0,
        StopBits::OneAndHalf => 1.5,
        StopBits::Two => 2.0,
    }
}
