//! `mdev-user manage`: any number of devices, which come and go at run time.

use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::announce;
use crate::cli;
use crate::control::{Bound, Devices};
use crate::manage::{Allowed, Definitions, Handle, Manager, Tree, channels};
use crate::notify::Notify;
use crate::parents::Parents;
use crate::peers::Gate;
use crate::signals::{self, Ending};

/// Unless it is said how many.
const MOST_LOOPS: usize = 4;

pub fn manage(options: &cli::Manage) -> Result<ExitCode, Box<dyn Error>> {
    let allowed = Allowed::new(&options.allow_path)?;
    let definitions = Definitions::read(options.config.as_deref(), options.save)?;
    let ending = Ending::new()?;
    raise_limit();
    let tree = Tree::open(&options.run_dir)?;
    let (root, path) = (tree.root().to_owned(), Tree::control(tree.root()));
    let control = Bound::new(Some(&path), None, Gate::new(None))?;
    let notify = Arc::new(Mutex::new(Notify::from_environment()));
    let (sender, messages) = channels();
    let parents = Arc::new(Parents::with(options.pools.into()));
    let handle = Handle::new(sender, parents, allowed);
    let devices = Arc::new(Devices::managed(handle.clone()));
    let cpus = thread::available_parallelism().map_or(1, usize::from).min(MOST_LOOPS);
    let loops = (options.loops.map_or(cpus, usize::from), options.polling.most());
    let mut manager = Manager::new(tree, loops, definitions, Arc::clone(&devices), handle.clone())?;
    let teller = handle.clone();
    ending.each(move |signal| {
        log::info!("{}: ending", signals::name(signal));
        teller.tell(Manager::end);
        super::give_up_later();
    })?;
    let control = control.map(|control| control.answer(devices)).transpose()?;
    let to_start = manager.to_start();
    let told = Arc::clone(&notify);
    let start = move || {
        for (uuid, definition) in to_start {
            if let Err(failure) = handle.create(uuid, definition, false) {
                log::error!("{uuid} of --config is not there: {failure}");
            }
        }
        let ready = format!(
            "mdev-user: manager is ready on {}\nGive other commands this argument:\n  --run-dir {}\n",
            path.display(),
            super::shell_word(&root.display().to_string())
        );
        let _ = announce(ready, false);
        told.lock().unwrap_or_else(PoisonError::into_inner).ready("manages devices");
    };
    thread::Builder::new().name("start".into()).spawn(start)?;
    let ended_well = manager.run(&messages);
    notify.lock().unwrap_or_else(PoisonError::into_inner).stopping();
    // From here on nobody waits for what is not done any more.
    drop(messages);
    drop(control);
    drop(manager);
    Ok(if ended_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A device takes about ten descriptors, and the usual limit is 1024.
fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}
