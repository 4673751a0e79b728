//! docs/manage.md, pasted into a shell.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use crate::managed::{Managed, Said, end};

/// The heading of the section on devices that come and go while a guest runs.
pub const RUNNING_GUEST: &str = "## In a running guest\n";

/// docs/manage.md from this heading on to the next one; from its beginning to its end without one.
pub fn section(heading: &str) -> String {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/manage.md")).unwrap();
    if heading.is_empty() {
        return text;
    }
    let (_, rest) = text.split_once(heading).expect(heading);
    format!("{heading}{}", rest.split("\n## ").next().unwrap())
}

/// The blocks of a text that are to be pasted.
pub fn blocks(text: &str) -> Vec<String> {
    let blocks = text.split("\n```sh\n").skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap().to_owned()).collect()
}

/// A shell into which lines are pasted, one that has `mdev-user`, and a QEMU that only shows what it is given.
pub struct Shell {
    programs: tempfile::TempDir,
    pub variables: String,
}

impl Shell {
    pub fn new(managed: &Managed) -> Self {
        let programs = tempfile::tempdir().unwrap();
        symlink(env!("CARGO_BIN_EXE_mdev-user"), programs.path().join("mdev-user")).unwrap();
        // Made by a process of its own: while a file is open for writing, in whatever process, it cannot be run.
        let script = r#"printf '%s\n' '#!/bin/sh' 'printf "%s\n" "$@"' > "$0"; chmod +x "$0""#;
        let qemu = programs.path().join("qemu-system-x86_64");
        assert!(Command::new("/bin/sh").args(["-c", script]).arg(qemu).status().unwrap().success());
        Self {
            programs,
            variables: format!(
                "DIR='{}' XDG_RUNTIME_DIR='{}'",
                managed.run_dir().display(),
                managed.directory().display()
            ),
        }
    }

    /// Begins with these lines.
    pub fn begin(&self, lines: &str) -> std::process::Child {
        let script = format!("set -e\n{}\n{lines}", self.variables);
        let path = format!("{}:/usr/bin:/bin", self.programs.path().display());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]).env("PATH", path).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    #[track_caller]
    /// Waits for the end of these lines.
    pub fn paste(&self, lines: &str) -> Said {
        end(self.begin(lines))
    }
}
