//! The entry points: whatever the bytes are, none of these panics. What each asserts beyond that it says itself.
//!
//! They are here once, for the fuzz targets and for `tests/fuzz_corpus.rs`, both of which have this module at their root.

pub mod config_space;
pub mod control;
pub mod display;
pub mod edid;
mod input;
mod quiet;
pub mod session;
pub mod specs;
pub mod uart;
pub mod version;

#[path = "../../../crates/mtty/tests/uart/bits.rs"]
#[expect(dead_code, reason = "not each test needs each bit")]
mod bits;
#[path = "../../../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "../../../tests/common/conversation.rs"]
mod conversation;
#[path = "../../../crates/vfio-user-server/tests/common/counting.rs"]
mod counting;
#[path = "../../../crates/vfio-user-server/tests/common/engine.rs"]
mod engine;
#[path = "../../../crates/mtty/tests/lines/far.rs"]
mod far;
#[path = "../../../tests/common/judge.rs"]
mod judge;
#[path = "../../../crates/mtty/tests/lines/model.rs"]
mod model;
#[path = "../../../crates/mtty/tests/lines/pair.rs"]
mod pair;
#[path = "../../../tests/common/pump.rs"]
mod pump;
#[path = "../../../tests/common/rich.rs"]
mod rich;

/// An entry point, by its name: that of the corpus's directory.
pub type Entry = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Entry; 8] = [
    ("config_space", config_space::config_space),
    ("control", control::control),
    ("display", display::display),
    ("edid", edid::edid),
    ("session", session::session),
    ("specs", specs::specs),
    ("uart", uart::uart),
    ("version", version::version),
];
