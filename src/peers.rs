//! Whose processes may use a control socket.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vfio_user_server::log_limit::LogLimit;
use vfio_user_server::transport;

/// How often the log says that a port of this server is turned away, as it tries again and again, and for good.
const REMINDER: Duration = Duration::from_secs(600);

/// Asks the system who is at the other end (`SO_PEERCRED`). This process may not be: what it connects by itself hangs on a
/// serial port, and a guest would command it; whatever was at the port's path when that was looked at.
pub struct Gate {
    /// The users whose processes may; all, if there is no list.
    uids: Option<Vec<u32>>,
    log: LogLimit,
    own: Own,
}

/// Of the ports of this server that were turned away.
#[derive(Default)]
struct Own {
    told: Option<Instant>,
    /// Since then.
    count: u64,
}

impl Own {
    /// Whether the log is to say it of one more at `now`; with how many there were since it last did.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.told.is_some_and(|told| now.duration_since(told) < REMINDER) {
            self.count += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

/// Who may not, and the way out.
#[derive(Debug, PartialEq, Eq)]
pub struct Stranger(pub String);

impl Gate {
    pub fn new(uids: Option<Vec<u32>>) -> Self {
        Self { uids, log: LogLimit::new(), own: Own::default() }
    }

    /// Whether this one may come in. That it may not is logged, with a limit.
    pub fn admit(&mut self, client: &UnixStream) -> Result<(), Stranger> {
        let peer = transport::peer(client);
        let pid = peer.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        let turned_away = format!("control socket: a client{pid} is turned away");
        if peer.pid == Some(std::process::id()) {
            let who = "a serial port of this server itself";
            if let Some(count) = self.own.admit(Instant::now()) {
                let before =
                    if count == 0 { String::new() } else { format!(" ({count} times before)") };
                log::warn!("{turned_away}: {who}; have it connect to another path{before}");
            }
            return Err(Stranger(format!(
                "{who} may not use its control socket; use another path"
            )));
        }
        let Some(uids) = &self.uids else { return Ok(()) };
        if peer.uid.is_some_and(|uid| uids.contains(&uid)) {
            return Ok(());
        }
        let who = peer.uid.map_or_else(|| "an unknown user".into(), |uid| format!("uid {uid}"));
        let line = format_args!("{turned_away}: {who} is not allowed");
        self.log.say(log::Level::Warn, line);
        let way_out = "may not use this control socket; have the server --allow-uid it";
        Err(Stranger(format!("{who} {way_out}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_tries_for_ever_is_told_of_now_and_then_with_how_often() {
        let (mut own, start) = (Own::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(own.admit(start), Some(0));
        assert!((0..600).all(|second| own.admit(after(second)).is_none()));
        assert_eq!(own.admit(after(600)), Some(600));
        assert_eq!(own.admit(after(601)), None);
        assert_eq!(own.admit(after(1201)), Some(1));
    }
}
