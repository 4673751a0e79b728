//! Whose processes may use a control socket.

use std::os::unix::net::UnixStream;

use vfio_user_server::log_limit::LogLimit;
use vfio_user_server::transport;

/// Asks the system who is at the other end (`SO_PEERCRED`). This process may not be: what it connects by itself hangs on a
/// serial port, and a guest would command it; whatever was at the port's path when that was looked at.
pub struct Gate {
    /// The users whose processes may; all, if there is no list.
    uids: Option<Vec<u32>>,
    log: LogLimit,
}

/// Who may not, and the way out.
#[derive(Debug, PartialEq, Eq)]
pub struct Stranger(pub String);

impl Gate {
    pub fn new(uids: Option<Vec<u32>>) -> Self {
        Self { uids, log: LogLimit::new() }
    }

    /// Whether this one may come in. That it may not is logged, with a limit.
    pub fn admit(&mut self, client: &UnixStream) -> Result<(), Stranger> {
        let peer = transport::peer(client);
        let (who, why) = if peer.pid == Some(std::process::id()) {
            let who = "a serial port of this server itself";
            (who.to_owned(), format!("{who} may not use its control socket; use another path"))
        } else {
            let Some(uids) = &self.uids else { return Ok(()) };
            if peer.uid.is_some_and(|uid| uids.contains(&uid)) {
                return Ok(());
            }
            let who = peer.uid.map_or_else(|| "an unknown user".into(), |uid| format!("uid {uid}"));
            let way_out = "may not use this control socket; have the server --allow-uid it";
            (format!("{who} is not allowed"), format!("{who} {way_out}"))
        };
        let pid = peer.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        let line = format_args!("control socket: a client{pid} is turned away: {who}");
        self.log.say(log::Level::Warn, line);
        Err(Stranger(why))
    }
}
