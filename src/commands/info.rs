//! `mdev-user info`: how devices do, for people, as JSON and as metrics.

mod metrics;

use std::error::Error;
use std::process::ExitCode;

use serde_json::Value;

use super::print as print_text;
use super::types::print_json;
use crate::cli;
use crate::control::client::{Client, Deadline, PATIENCE, printable};

pub fn print(options: &cli::Info) -> Result<ExitCode, Box<dyn Error>> {
    let deadline = Deadline::after(PATIENCE);
    let mut client = Client::connect(&options.ask.control_path, deadline)?;
    let info = client.ask("info", options.ask.device.as_deref(), deadline)?.value;
    let devices = info.get("devices").and_then(Value::as_array);
    let devices = devices.ok_or("the answer names no devices; is the server of this version?")?;
    if options.json {
        return print_json(&info);
    }
    let text = if options.metrics {
        metrics::text(devices)
    } else {
        devices.iter().map(describe).collect::<Vec<_>>().join("\n")
    };
    print_text(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// A device in a few lines.
fn describe(device: &Value) -> String {
    let counters = &device["counters"];
    let mut out = format!(
        "{} ({}) {}\n",
        word(&device["node"]),
        word(&device["type"]),
        word(&device["uuid"])
    );
    let mut line = |name: &str, text: String| out += &format!("  {name:<10} {text}\n");
    line(
        "state",
        format!("{}, open count {}", word(&device["state"]), word(&device["open_count"])),
    );
    line("socket", word(&device["socket"]));
    let client = &device["client"];
    line(
        "client",
        match client {
            Value::Null => "none".into(),
            _ => format!("{} (pid {})", word(&client["comm"]), word(&client["pid"])),
        },
    );
    let plane = &device["plane"];
    line(
        "picture",
        match plane {
            Value::Null => "none".into(),
            _ => format!(
                "{}x{} {}, stride {}, offset {}",
                word(&plane["width"]),
                word(&plane["height"]),
                word(&plane["format"]),
                word(&plane["stride"]),
                word(&plane["offset"])
            ),
        },
    );
    for (number, port) in (0..).zip(device["ports"].as_array().into_iter().flatten()) {
        line(&format!("serial{number}"), describe_port(port));
    }
    line("clients", word(&counters["clients"]));
    let messages = counters["messages"].as_object().into_iter().flatten();
    let messages: Vec<_> = messages
        .filter(|(_, count)| count.as_u64() != Some(0))
        .map(|(name, count)| format!("{} {}", printable(name), word(count)))
        .collect();
    line("messages", if messages.is_empty() { "none".into() } else { messages.join(", ") });
    for (name, member) in [("refused", "refused"), ("interrupts", "interrupts")] {
        line(name, word(&counters[member]));
    }
    let (received, sent) = (word(&counters["bytes_received"]), word(&counters["bytes_sent"]));
    line("bytes", format!("{received} received, {sent} sent"));
    out
}

/// A serial port in a line.
fn describe_port(port: &Value) -> String {
    let on = |group: &str| {
        let lines = port[group].as_object().into_iter().flatten();
        let on = lines.filter(|(_, is_on)| is_on.as_bool() == Some(true));
        let names: Vec<_> = on.map(|(name, _)| printable(name).to_uppercase()).collect();
        if names.is_empty() { "none".into() } else { names.join(" ") }
    };
    let connected = match port["connected"].as_bool() {
        Some(true) => ", connected",
        Some(false) => ", nobody connected",
        None => "",
    };
    let address = match &port["address"] {
        Value::Null => String::new(),
        address => format!(" at {}", word(address)),
    };
    let settings = &port["settings"];
    let mut out = format!(
        "{}{address}{connected}; {} baud, {} bits, parity {}, stop bits {}; from the guest {}, to it {}; \
         {} bytes sent, {} received",
        word(&port["spec"]),
        word(&settings["baud"]),
        word(&settings["word_length"]),
        word(&settings["parity"]),
        word(&settings["stop_bits"]),
        on("outputs"),
        on("inputs"),
        word(&port["bytes_sent"]),
        word(&port["bytes_received"]),
    );
    for (member, text) in [
        ("breaks_sent", "breaks sent"),
        ("breaks_received", "breaks received"),
        ("bytes_pending", "bytes wait for a peer"),
        ("bytes_waiting", "bytes wait for the guest"),
        ("history_dropped", "bytes dropped from the history"),
        ("log_lost", "bytes missing in the log"),
    ] {
        if port[member].as_u64().is_some_and(|count| count != 0) {
            out += &format!(", {} {text}", word(&port[member]));
        }
    }
    out
}

/// A value for a line of text.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}
