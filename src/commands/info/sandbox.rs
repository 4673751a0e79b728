//! What a server has given up, for people.

use serde_json::Value;

use super::word;

/// In a few lines; none if the server tells nothing of it.
pub fn describe(sandbox: &Value) -> Option<String> {
    sandbox.as_object()?;
    let mut out = format!("sandbox {}\n", word(&sandbox["mode"]));
    let mut line = |name: &str, text: String| out += &format!("  {name:<10} {text}\n");
    let no_new_privs = match &sandbox["no_new_privs"] {
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        other => word(other),
    };
    line("privileges", format!("no_new_privs {no_new_privs}"));
    line("calls", format!("seccomp {}", word(&sandbox["seccomp"])));
    let landlock = &sandbox["landlock"];
    match landlock["allows"].as_array() {
        Some(allows) => {
            let allows: Vec<_> = allows.iter().map(word).collect();
            line(
                "files",
                format!("Landlock ABI {}: {}", word(&landlock["abi"]), allows.join(", ")),
            );
        }
        None if landlock.is_null() => line("files", "no Landlock".into()),
        None => line("files", format!("Landlock {}", word(landlock))),
    }
    let core = &sandbox["core_limit"];
    line("core files", if core.is_null() { "no limit".into() } else { word(core) });
    let missing = sandbox["missing"].as_array().into_iter().flatten().map(word);
    let missing: Vec<_> = missing.collect();
    if !missing.is_empty() {
        line("missing", missing.join(", "));
    }
    Some(out)
}
