//! The guest's serial line, as pipes to QEMU, and what is said on it with `guest/console.sh`.

use std::io::{self, Read, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How much of the console an error shows.
const TAIL: usize = 2000;

pub(crate) const READY: &str = "\x1eready\x1e";

/// Why a text did not come.
#[derive(Debug, PartialEq)]
pub(crate) enum Missed {
    TimedOut,
    Ended,
}

#[derive(Debug)]
pub(crate) struct Console {
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    transcript: Vec<u8>,
    /// How much of the transcript was waited for already.
    consumed: usize,
}

impl Console {
    pub(crate) fn new(input: ChildStdin, mut output: ChildStdout) -> Self {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut buffer = vec![0; 0x1_0000];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer.get(..length).unwrap_or_default().to_vec()).is_err() {
                    return; // the guest is dropped
                }
            }
        });
        Self { input, output: receiver, transcript: Vec::new(), consumed: 0 }
    }

    pub(crate) fn send(&mut self, text: &str) -> io::Result<()> {
        self.input.write_all(text.as_bytes())?;
        self.input.flush()
    }

    /// Takes the console's text up to and without `text`.
    pub(crate) fn wait_for(&mut self, text: &str, within: Duration) -> Result<String, Missed> {
        let deadline = Instant::now() + within;
        let mut searched = self.consumed;
        loop {
            if let Some(at) =
                find(self.transcript.get(searched..).unwrap_or_default(), text.as_bytes())
            {
                let at = searched + at;
                let before = lossy(self.transcript.get(self.consumed..at).unwrap_or_default());
                self.consumed = at + text.len();
                return Ok(before);
            }
            searched = self.consumed.max(self.transcript.len().saturating_sub(text.len()));
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.transcript.extend(bytes),
                Err(RecvTimeoutError::Timeout) => return Err(Missed::TimedOut),
                Err(RecvTimeoutError::Disconnected) => return Err(Missed::Ended),
            }
        }
    }

    /// Waits until QEMU has closed its end.
    pub(crate) fn wait_for_end(&mut self, within: Duration) -> Result<(), Missed> {
        let deadline = Instant::now() + within;
        loop {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.transcript.extend(bytes),
                Err(RecvTimeoutError::Timeout) => return Err(Missed::TimedOut),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Everything that came so far.
    pub(crate) fn text(&mut self) -> String {
        self.transcript.extend(self.output.try_iter().flatten());
        lossy(&self.transcript).replace('\x1e', "\n")
    }

    /// The end of it.
    pub(crate) fn tail(&mut self) -> String {
        let text = self.text();
        let start = text.len().saturating_sub(TAIL);
        let start = (start..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or_default();
        text.get(start..).unwrap_or_default().trim().to_owned()
    }
}

/// What a script printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit status.
    pub status: u8,
    /// Its stdout and stderr.
    pub text: String,
}

/// A script that was sent to the guest's shell.
#[derive(Debug)]
#[must_use = "the next script starts when this one has ended"]
pub struct Running {
    pub(crate) number: u64,
    pub(crate) script: String,
}

impl Running {
    pub(crate) fn request(&self) -> String {
        let Self { number, script } = self;
        let newline = if script.ends_with('\n') { "" } else { "\n" };
        format!("{number}\n{script}{newline}.{number}\n")
    }

    /// What the script's output is followed by; the exit status and [`Self::END`] come next.
    pub(crate) fn end(&self) -> String {
        format!("\x1eend {} ", self.number)
    }

    pub(crate) const END: &str = "\x1e";

    /// Out of what the console showed before [`Self::end`].
    pub(crate) fn output(&self, shown: &str, status: &str) -> Output {
        let begin = format!("\x1ebegin {}\x1e", self.number);
        let text = shown.rsplit_once(&begin).map_or(shown, |(_, text)| text);
        Output { status: status.parse().unwrap_or(u8::MAX), text: text.to_owned() }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    const SOON: Duration = Duration::from_secs(10);

    /// The machine's own shell in the guest's place. Ends with its input.
    fn console(arguments: &[&str]) -> Console {
        let mut command = Command::new("sh");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let console = Console::new(child.stdin.take().unwrap(), child.stdout.take().unwrap());
        thread::spawn(move || child.wait());
        console
    }

    /// The guest's script in the guest's busybox, on this machine.
    fn guests_console() -> Console {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/guest/console.sh");
        let busybox = crate::Tools::prepare().unwrap().busybox;
        console(&["-c", &format!("exec {} sh {script} again", busybox.display())])
    }

    fn run(console: &mut Console, number: u64, script: &str) -> Output {
        let running = Running { number, script: script.into() };
        console.send(&running.request()).unwrap();
        let text = console.wait_for(&running.end(), SOON).unwrap();
        let status = console.wait_for(Running::END, SOON).unwrap();
        running.output(&text, &status)
    }

    #[test]
    fn scripts_share_one_shell_and_give_their_status_and_exact_output() {
        let console = &mut guests_console();
        let output = |status, text: &str| Output { status, text: text.into() };
        assert_eq!(run(console, 1, "a='x  y'\nprintf '%s' \"$a\""), output(0, "x  y"));
        assert_eq!(
            run(console, 2, "echo \"$a\"; printf '%s\\n' '\\n'; false\n"),
            output(1, "x  y\n\\n\n")
        );
        assert_eq!(run(console, 3, "cat; (exit 7)"), output(7, ""));
        assert_eq!(run(console, 4, "echo bye; exit 3"), output(3, "bye\n"));
        assert_eq!(console.wait_for_end(SOON), Ok(()));
    }

    #[test]
    fn a_script_that_comes_in_parts_is_whole_though_a_child_ends_meanwhile() {
        let console = &mut guests_console();
        run(console, 1, "(sleep 0.3; printf gone) &");
        console.send("2\necho wh").unwrap();
        console.wait_for("gone", SOON).unwrap();
        thread::sleep(Duration::from_millis(100));
        console.send("ole; (exit 3)\n.2\n").unwrap();
        let text = console.wait_for("\x1eend 2 3\x1e", SOON).unwrap();
        assert!(text.ends_with("\x1ebegin 2\x1ewhole\n"), "{text:?}");
        assert_eq!(run(console, 3, ""), Output { status: 0, text: String::new() });
    }

    #[test]
    fn text_is_found_across_reads_and_what_is_missing_is_told_from_the_end() {
        let console =
            &mut console(&["-c", "printf 'one tw'; sleep 0.1; printf 'o three'; read -r _"]);
        assert_eq!(console.wait_for("two", SOON).as_deref(), Ok("one "));
        assert_eq!(console.wait_for("two", Duration::from_millis(50)), Err(Missed::TimedOut));
        console.send("\n").unwrap();
        assert_eq!(console.wait_for("four", SOON), Err(Missed::Ended));
        assert_eq!(console.tail(), "one two three");
    }

    #[test]
    fn output_that_came_before_a_script_began_is_not_its_own() {
        let running = Running { number: 4, script: String::new() };
        assert_eq!(running.output("late\x1eend 3 0\x1e\x1ebegin 4\x1emine", "0").text, "mine");
    }
}
