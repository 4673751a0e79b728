//! The terminal that the program runs in: raw for as long as a stream has it.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::getpgrp;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp,
    tcsetattr,
};

/// The modes that the terminal had before.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

fn before() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether we may use it: who runs in the background and tries is stopped. On a terminal that is not ours to be stopped
/// by, anybody may.
pub(crate) fn is_ours() -> bool {
    tcgetpgrp(io::stdin()).map_or(true, |group| group == getpgrp())
}

/// Takes the terminal, if standard input is one.
pub(crate) fn take() {
    *before() = tcgetattr(io::stdin()).ok();
    make_raw();
}

/// Makes it raw, now or once more. Signals from the keyboard are for the guest, and output is processed as before, so
/// that the program's own messages look right.
pub(crate) fn make_raw() {
    let before = before();
    let Some(modes) = before.as_ref().filter(|_| is_ours()) else { return };
    let mut modes = modes.clone();
    modes.input_modes -= InputModes::IGNBRK
        | InputModes::BRKINT
        | InputModes::PARMRK
        | InputModes::ISTRIP
        | InputModes::INLCR
        | InputModes::IGNCR
        | InputModes::ICRNL
        | InputModes::IXON;
    modes.local_modes -=
        LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
    modes.local_modes -= LocalModes::IEXTEN;
    modes.special_codes[SpecialCodeIndex::VMIN] = 1;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    set(&modes);
}

/// Gives it its modes back for a while.
pub(crate) fn lend() {
    if let Some(modes) = before().as_ref().filter(|_| is_ours()) {
        set(modes);
    }
}

fn set(modes: &Termios) {
    if let Err(error) = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, modes) {
        log::warn!("cannot set the modes of the terminal: {error}");
    }
}

/// Gives the terminal its modes back, if a stream has changed them. To be called wherever a program ends without
/// dropping what it has, as with [`std::process::exit`]. More often than once does no harm.
pub fn restore_terminal() {
    if let Some(modes) = before().take()
        && is_ours()
    {
        set(&modes);
    }
}

/// Calls [`restore_terminal`] when it is dropped: for a program to hold in its `main`, so that also a panic gives the
/// terminal back.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct TerminalGuard;

impl TerminalGuard {
    /// One more; they do not count each other.
    pub fn new() -> Self {
        Self
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        restore_terminal();
    }
}
