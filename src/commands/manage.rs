//! `mdev-user manage`: any number of devices, which come and go at run time.

use std::error::Error;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::announce;
use crate::activation::Sockets;
use crate::cli;
use crate::control::{Bound, Devices};
use crate::errors::plain;
use crate::manage::{Access, Allowed, Definitions, Handle, Manager, Own, Serving, Tree, channels};
use crate::notify::{Notify, ReadyFd};
use crate::parents::Parents;
use crate::peers::Gate;
use crate::sandbox::{Files, Sandbox};
use crate::signals::{self, Ending};

/// Unless it is said how many.
const MOST_LOOPS: usize = 4;

pub fn manage(options: &cli::Manage) -> Result<ExitCode, Box<dyn Error>> {
    // Before anything here is opened, which might get the number of one of them.
    let Handed { control: handed, ready: ready_fd } = Handed::take(options)?;
    let allowed = Allowed::new(&options.allow_path)?;
    let mut sandbox = Sandbox::new(options.sandbox);
    sandbox.add_later_devices(&allowed);
    sandbox.files.add_own(&options.run_dir);
    sandbox.check()?;
    let definitions = Definitions::read(options.config.as_deref(), options.save)?;
    let ending = Ending::new()?;
    raise_limit();
    // It is the control group's files that tell.
    let cpus = thread::available_parallelism().map_or(1, usize::from).min(MOST_LOOPS);
    let loops = options.loops.map_or(cpus, usize::from);
    let given = handed.as_ref().and_then(place_of);
    let uids = options.peers.uids();
    let access = Access::new(uids.clone(), given.as_deref());
    let tree = Tree::open(&options.run_dir, given.as_deref())?;
    let access = access.tried_in(tree.root());
    let (root, path) = (tree.root().to_owned(), Tree::control(tree.root()));
    // Who was told the run directory finds one there in any case.
    let own = (given.as_ref() != Some(&path)).then_some(path.as_path());
    let control = Bound::new(own, handed, Gate::new(uids))?;
    if access.is_for_others() {
        sandbox.add_shared_sockets();
    }
    if let Some(path) = definitions.place() {
        sandbox.add_saved(path);
        if let Some(what) = Files::shared_by(path).filter(|_| sandbox.is_on()) {
            log::warn!(
                "--save: the sandbox leaves all of {what} open, as the file of --config is not in a directory of its own"
            );
        }
    }
    // All is open, and there is one thread.
    sandbox.enter(None)?;
    let notify = Notify::from_environment();
    let allowed = allowed.but(Own::new(&root, given.as_deref(), options.config.as_deref()));
    let (sender, messages) = channels();
    let parents = Arc::new(Parents::with(options.pools.into()));
    let handle = Handle::new(sender, parents, allowed);
    let devices = Arc::new(Devices::managed(handle.clone()));
    let serving = Serving { loops, poll: options.polling.most(), access };
    let manager = Manager::new(tree, serving, definitions, Arc::clone(&devices), handle.clone());
    let mut manager = manager.map_err(|error| {
        format!("cannot manage devices in {}: {}", root.display(), plain(&error))
    })?;
    let teller = handle.clone();
    ending.each(move |signal| {
        log::info!("{}: ending", signals::name(signal));
        teller.end();
        super::give_up_later();
    })?;
    let control = control.map(|control| control.answer(devices)).transpose()?;
    let to_start = manager.to_start();
    let start = move || {
        for (uuid, definition) in to_start {
            let made = handle.create(uuid, definition, false);
            if handle.is_ending() {
                return;
            }
            if let Err(failure) = made {
                log::error!("{uuid} of --config is not there: {failure}");
            }
        }
        let ready = format!(
            "mdev-user: manager is ready on {}\nGive other commands this argument:\n  --run-dir {}\n",
            path.display(),
            super::shell_word(&root.display().to_string())
        );
        let _ = announce(ready, false);
        ready_fd.into_iter().for_each(ReadyFd::tell);
        handle.tell(move |manager| manager.ready(notify));
    };
    thread::Builder::new().name("start".into()).spawn(start)?;
    let ended_well = manager.run(&messages);
    // From here on nobody waits for what is not done any more.
    drop(messages);
    drop(control);
    drop(manager);
    Ok(if ended_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What this process was started with.
struct Handed {
    control: Option<UnixListener>,
    ready: Option<ReadyFd>,
}

impl Handed {
    fn take(options: &cli::Manage) -> Result<Self, String> {
        let ready = options.ready.ready_fd;
        let mut sockets = Sockets::take(&[("--ready-fd", ready)])?;
        let control = sockets.control(true, false)?;
        sockets.finish("control, or no name; a manager makes those of its devices itself")?;
        Ok(Self { control, ready: ready.map(ReadyFd::take).transpose()? })
    }
}

/// Where the file of a socket is, if it has one, and it is there.
fn place_of(socket: &UnixListener) -> Option<PathBuf> {
    let address = socket.local_addr().ok()?;
    let path = address.as_pathname()?;
    let place = path.parent()?.canonicalize().ok()?.join(path.file_name()?);
    place.symlink_metadata().is_ok().then_some(place)
}

/// A device with a client takes four descriptors, a back end and its peer more, and the usual limit is 1024.
fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}
