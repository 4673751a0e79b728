//! The commands, a file each.

pub mod capabilities;
pub mod run;
pub mod serve;
pub mod types;

use std::path::Path;

use serde_json::json;

/// The value of QEMU's `-device` option for the device at `socket`.
fn device_argument(socket: &Path) -> String {
    // QEMU may run somewhere else.
    let path = std::path::absolute(socket).unwrap_or_else(|_| socket.into());
    json!({ "driver": "vfio-user-pci", "socket": { "type": "unix", "path": path.to_string_lossy() } }).to_string()
}

/// `text` as one word for a POSIX shell.
fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_argument_is_json_whatever_the_path_holds() {
        let argument = device_argument(Path::new("/tmp/a \"b\" \\ c"));
        let value: serde_json::Value = serde_json::from_str(&argument).unwrap();
        assert_eq!(value["driver"], "vfio-user-pci");
        assert_eq!(value["socket"]["path"], "/tmp/a \"b\" \\ c");
    }

    #[test]
    fn a_relative_path_becomes_absolute() {
        let value: serde_json::Value =
            serde_json::from_str(&device_argument(Path::new("x.sock"))).unwrap();
        let expected = std::env::current_dir().unwrap().join("x.sock");
        assert_eq!(value["socket"]["path"], expected.to_str().unwrap());
    }

    #[test]
    fn a_shell_word_survives_quotes() {
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
