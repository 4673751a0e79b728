//! A guest that runs.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::console::{Console, Missed, Output, READY, Running};
use crate::monitor::Monitor;
use crate::{Builder, Error, Result, Tools};

/// A virtual machine with a shell on its console. Dropping it kills QEMU.
#[derive(Debug)]
pub struct Guest {
    qemu: Child,
    console: Console,
    messages: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
    scripts: u64,
    /// Of a guest that is to have one.
    pub(crate) monitor: Option<Monitor>,
}

impl Guest {
    /// A guest to be booted, with these tools.
    pub fn builder(tools: &Tools) -> Builder {
        Builder::new(tools)
    }

    /// Runs QEMU and waits for the guest's shell.
    pub(crate) fn boot(mut command: Command, within: Duration) -> Result<Self> {
        let program = command.get_program().to_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let messages = Arc::new(Mutex::new(String::new()));
        let heard = messages.clone();
        let (sender, receiver) = channel();
        // This thread spawns QEMU because QEMU ends with the thread that did: it must live until QEMU's end, however
        // the guest is passed about.
        let listener = thread::spawn(move || {
            let mut child = command.spawn();
            let stderr = child.as_mut().ok().and_then(|child| child.stderr.take());
            // The receiver waits for it below.
            let _ = sender.send(child);
            if let Some(stderr) = stderr {
                listen(stderr, &heard);
            }
        });
        let spawned =
            receiver.recv().unwrap_or_else(|_| Err(std::io::Error::other("its thread ended")));
        let mut qemu = spawned.map_err(Error::io("run", program.as_ref()))?;
        let (Some(input), Some(output)) = (qemu.stdin.take(), qemu.stdout.take()) else {
            unreachable!("both are piped above");
        };
        let console = Console::new(input, output);
        let mut guest =
            Self { qemu, console, messages, listener: Some(listener), scripts: 0, monitor: None };
        guest.wait_for_shell(within)?;
        Ok(guest)
    }

    /// Runs a script in the guest's shell, which keeps its variables and functions for the next one.
    pub fn run(&mut self, script: &str, within: Duration) -> Result<Output> {
        let running = self.start(script)?;
        self.finish(running, within)
    }

    /// Runs a script that must end with status 0; what it printed.
    pub fn check(&mut self, script: &str, within: Duration) -> Result<String> {
        match self.run(script, within)? {
            Output { status: 0, text } => Ok(text),
            Output { status, text } => {
                Err(Error::Script { script: script.to_owned(), status, text })
            }
        }
    }

    /// Starts a script and does not wait for it.
    pub fn start(&mut self, script: &str) -> Result<Running> {
        self.scripts += 1;
        let running = Running { number: self.scripts, script: script.to_owned() };
        match self.console.send(&running.request()) {
            Ok(()) => Ok(running),
            Err(_) => Err(self.missed(Missed::Ended, Duration::ZERO, "a script was sent")),
        }
    }

    /// Waits for the end of a script. Its output is what came since the last [`expect`](Self::expect).
    pub fn finish(&mut self, running: Running, within: Duration) -> Result<Output> {
        let wanted = || format!("end of the script:\n{}", running.script);
        let text = self.wait_for(&running.end(), within, wanted)?;
        let status = self.wait_for(Running::END, within, wanted)?;
        Ok(running.output(&text, &status))
    }

    /// Waits until the console has shown `text`; what it showed before.
    pub fn expect(&mut self, text: &str, within: Duration) -> Result<String> {
        self.wait_for(text, within, || format!("{text:?}"))
    }

    /// Restarts the guest and waits for its shell. Only for a guest [built for it](Builder::reboots).
    pub fn reboot(&mut self, within: Duration) -> Result<()> {
        let _ends_with_the_kernel = self.start("reboot -f")?;
        self.wait_for_shell(within)
    }

    /// Turns the guest off and waits for QEMU's end, which must have been a clean one.
    pub fn power_off(&mut self, within: Duration) -> Result<()> {
        const WANTED: &str = "power-off";
        let _ends_with_the_kernel = self.start("poweroff -f")?;
        self.console.wait_for_end(within).map_err(|missed| self.missed(missed, within, WANTED))?;
        match self.wait() {
            Ok(status) if status.success() => Ok(()),
            _ => Err(self.missed(Missed::Ended, within, "a clean power-off")),
        }
    }

    /// Ends QEMU by SIGKILL.
    pub fn kill(&mut self) {
        // Fails only if QEMU has ended already.
        let _ = self.qemu.kill();
        let _ = self.wait();
    }

    /// QEMU's process id.
    pub fn pid(&self) -> u32 {
        self.qemu.id()
    }

    /// All that QEMU wrote to stderr so far. A good run leaves it empty.
    pub fn qemu_messages(&self) -> String {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn wait_for_shell(&mut self, within: Duration) -> Result<()> {
        self.wait_for(READY, within, || "shell in the guest".to_owned()).map(drop)
    }

    fn wait_for(
        &mut self,
        text: &str,
        within: Duration,
        wanted: impl Fn() -> String,
    ) -> Result<String> {
        self.console.wait_for(text, within).map_err(|missed| self.missed(missed, within, &wanted()))
    }

    pub(crate) fn missed(&mut self, missed: Missed, within: Duration, wanted: &str) -> Error {
        let wanted = wanted.to_owned();
        match missed {
            Missed::TimedOut => Error::TimedOut {
                wanted,
                within,
                console: self.console.tail(),
                qemu: self.qemu_messages(),
            },
            Missed::Ended => {
                let status =
                    self.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                Error::QemuEnded {
                    wanted,
                    status,
                    console: self.console.tail(),
                    qemu: self.qemu_messages(),
                }
            }
        }
    }

    /// Waits for QEMU's end and its last words.
    fn wait(&mut self) -> std::io::Result<std::process::ExitStatus> {
        let status = self.qemu.wait();
        if let Some(listener) = self.listener.take() {
            // A panic there has been reported by itself.
            let _ = listener.join();
        }
        status
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
    }
}

fn listen(mut stderr: impl Read, heard: &Mutex<String>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stderr.read(&mut buffer) {
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        heard.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
    }
}
