//! Whose processes may use a control socket.

use std::os::unix::net::UnixStream;

use vfio_user_server::log_limit::LogLimit;
use vfio_user_server::transport;

/// Asks the system who is at the other end (`SO_PEERCRED`), if only some may be.
pub struct Gate {
    /// The users whose processes may; all, if there is no list.
    uids: Option<Vec<u32>>,
    log: LogLimit,
}

/// Who may not.
#[derive(Debug, PartialEq, Eq)]
pub struct Stranger(pub String);

impl Gate {
    pub fn new(uids: Option<Vec<u32>>) -> Self {
        Self { uids, log: LogLimit::new() }
    }

    /// Whether this one may come in. That it may not is logged, with a limit.
    pub fn admit(&mut self, client: &UnixStream) -> Result<(), Stranger> {
        let Some(uids) = &self.uids else { return Ok(()) };
        let peer = transport::peer(client);
        if peer.uid.is_some_and(|uid| uids.contains(&uid)) {
            return Ok(());
        }
        let who = peer.uid.map_or_else(|| "an unknown user".into(), |uid| format!("uid {uid}"));
        let pid = peer.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        let line =
            format_args!("control socket: a client{pid} is turned away: {who} is not allowed");
        self.log.say(log::Level::Warn, line);
        Err(Stranger(who))
    }
}
