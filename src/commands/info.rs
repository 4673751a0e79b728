//! `mdev-user info`: how devices do, for people, as JSON and as metrics.

mod metrics;
mod sandbox;

use std::error::Error;
use std::process::ExitCode;

use serde_json::Value;

use super::print as print_text;
use super::types::print_json;
use crate::cli;
use crate::control::client::{Client, Deadline, PATIENCE};
use crate::errors::printable;

pub fn print(options: &cli::Info) -> Result<ExitCode, Box<dyn Error>> {
    let deadline = Deadline::after(PATIENCE);
    let mut client = Client::connect(&options.ask.server.path(), deadline)?;
    let info = client.ask("info", options.ask.device.as_deref(), deadline)?.value;
    let devices = info.get("devices").and_then(Value::as_array);
    let devices = devices.ok_or("the answer names no devices; is the server of this version?")?;
    if options.json {
        return print_json(&info);
    }
    let text = if options.metrics {
        metrics::text(devices)
    } else {
        let sandbox = info.get("sandbox").and_then(sandbox::describe);
        devices.iter().map(describe).chain(sandbox).collect::<Vec<_>>().join("\n")
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
        for (row, text) in describe_port(port).into_iter().enumerate() {
            let name = if row == 0 { format!("serial{number}") } else { String::new() };
            line(&name, text);
        }
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

/// A serial port in a few lines.
fn describe_port(port: &Value) -> Vec<String> {
    let on = |group: &str| {
        let lines = port[group].as_object().into_iter().flatten();
        let on = lines.filter(|(_, is_on)| is_on.as_bool() == Some(true));
        let names: Vec<_> = on.map(|(name, _)| printable(name).to_uppercase()).collect();
        if names.is_empty() { "none".into() } else { names.join(" ") }
    };
    let spec = word(&port["spec"]);
    let mut out = vec![spec.clone()];
    if let Some(connected) = port["connected"].as_bool() {
        let who = match (connected, &port["peer"]) {
            (false, _) => "nobody is connected".into(),
            (true, Value::Null) => "connected".into(),
            (true, peer) => format!("connected: {}", word(peer)),
        };
        // What was asked for need not be said again.
        let address = port["address"].as_str().map(printable).filter(|it| !spec.contains(it));
        out.push(address.map_or(who.clone(), |address| format!("at {address}; {who}")));
    }
    let settings = &port["settings"];
    let parity = word(&settings["parity"]).chars().next().unwrap_or('-').to_ascii_uppercase();
    let (stop, bits) = (settings["stop_bits"].as_f64(), word(&settings["word_length"]));
    let stop = stop.map_or("-".into(), |stop| stop.to_string());
    let paced = if port["paced"].as_bool() == Some(true) { ", paced" } else { "" };
    out.push(format!("{} baud {bits}{parity}{stop}{paced}", word(&settings["baud"])));
    let by_hand: Vec<_> = port["by_hand"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, is_on)| {
            let how = if is_on.as_bool() == Some(true) { "on" } else { "off" };
            format!("{} {how}", printable(name).to_uppercase())
        })
        .collect();
    let by_hand = match by_hand.as_slice() {
        [] => String::new(),
        lines => format!(" (by hand: {})", lines.join(", ")),
    };
    out.push(format!(
        "lines on: from the guest {}; to it {}{by_hand}",
        on("outputs"),
        on("inputs")
    ));
    let (sent, received) = (word(&port["bytes_sent"]), word(&port["bytes_received"]));
    let mut counts = vec![format!("{sent} bytes from the guest, {received} to it")];
    for (member, text) in [
        ("breaks_sent", "breaks from it"),
        ("breaks_received", "breaks to it"),
        ("bytes_pending", "bytes wait for a peer"),
        ("bytes_waiting", "bytes wait for the guest"),
        ("history_dropped", "bytes dropped from the history"),
        ("log_lost", "bytes missing in the log"),
    ] {
        if port[member].as_u64().is_some_and(|count| count != 0) {
            counts.push(format!("{} {text}", word(&port[member])));
        }
    }
    out.push(counts.join(", "));
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
