//! The text format of Prometheus, version 0.0.4.

use std::fmt::Write;

use serde_json::Value;

use crate::errors::printable;

/// A metric of one value a device: name, kind, what it is, and where `info` has it.
type Metric = (&'static str, &'static str, &'static str, &'static [&'static str]);

const METRICS: [Metric; 8] = [
    ("open_count", "gauge", "Users that have the device open.", &["open_count"]),
    ("plane_width_pixels", "gauge", "Width of the picture, if there is one.", &["plane", "width"]),
    (
        "plane_height_pixels",
        "gauge",
        "Height of the picture, if there is one.",
        &["plane", "height"],
    ),
    (
        "clients_total",
        "counter",
        "Clients that became the device's user.",
        &["counters", "clients"],
    ),
    ("refused_total", "counter", "Messages that were refused.", &["counters", "refused"]),
    ("received_bytes_total", "counter", "Bytes of messages.", &["counters", "bytes_received"]),
    ("sent_bytes_total", "counter", "Bytes of answers.", &["counters", "bytes_sent"]),
    ("interrupts_total", "counter", "Interrupts that were signalled.", &["counters", "interrupts"]),
];

/// A metric of one value a serial port: the same, and the member of the port.
type OfPort = (&'static str, &'static str, &'static str, &'static str);

const OF_PORTS: [OfPort; 8] = [
    ("serial_connected", "gauge", "Whether a peer is connected to the port.", "connected"),
    ("serial_sent_bytes_total", "counter", "Bytes from the guest.", "bytes_sent"),
    ("serial_received_bytes_total", "counter", "Bytes to the guest.", "bytes_received"),
    ("serial_sent_breaks_total", "counter", "Breaks from the guest.", "breaks_sent"),
    ("serial_received_breaks_total", "counter", "Breaks to the guest.", "breaks_received"),
    (
        "serial_pending_bytes",
        "gauge",
        "Bytes from the guest that wait for a peer.",
        "bytes_pending",
    ),
    ("serial_dropped_bytes_total", "counter", "Bytes lost from the history.", "history_dropped"),
    ("serial_log_lost_bytes_total", "counter", "Bytes missing in the log.", "log_lost"),
];

/// Metrics of these devices, as the verb `info` has them.
pub fn text(devices: &[Value]) -> String {
    let mut out = Out(String::new());
    out.head("device", "gauge", "The device, its type, UUID and state; always 1.");
    for device in devices {
        let labels = ["type", "state"].map(|name| (name, &device[name]));
        out.sample("device", device, &labels, 1);
    }
    out.head("client", "gauge", "Whether a client uses the device.");
    for device in devices {
        out.sample("client", device, &[], u64::from(!device["client"].is_null()));
    }
    for (name, kind, help, path) in METRICS {
        out.head(name, kind, help);
        for device in devices {
            let value = path.iter().try_fold(device, |value, member| value.get(member));
            if let Some(value) = value.and_then(Value::as_u64) {
                out.sample(name, device, &[], value);
            }
        }
    }
    let has_ports = |device: &Value| device["ports"].as_array().is_some_and(|it| !it.is_empty());
    for (name, kind, help, member) in OF_PORTS.iter().filter(|_| devices.iter().any(has_ports)) {
        out.head(name, kind, help);
        for device in devices {
            for (number, port) in (0..).zip(device["ports"].as_array().into_iter().flatten()) {
                let value = port[member].as_u64().or_else(|| port[member].as_bool().map(u64::from));
                let number: i32 = number;
                if let Some(value) = value {
                    out.sample(name, device, &[("port", &number.to_string().into())], value);
                }
            }
        }
    }
    let name = "messages_total";
    out.head(name, "counter", "Messages by command, refused ones included.");
    for device in devices {
        let messages = device.pointer("/counters/messages").and_then(Value::as_object);
        for (command, count) in messages.into_iter().flatten() {
            let command = Value::from(command.as_str());
            out.sample(name, device, &[("command", &command)], count.as_u64().unwrap_or(0));
        }
    }
    out.0
}

struct Out(String);

/// Writing to a string cannot fail.
impl Out {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP mdev_user_{name} {help}");
        let _ = writeln!(self.0, "# TYPE mdev_user_{name} {kind}");
    }

    fn sample(&mut self, name: &str, device: &Value, labels: &[(&str, &Value)], value: u64) {
        // Each server counts its nodes from 0: what tells devices of several apart is the UUID.
        let (node, uuid) = (escaped(&device["node"]), escaped(&device["uuid"]));
        let _ = write!(self.0, "mdev_user_{name}{{device=\"{node}\",uuid=\"{uuid}\"");
        for (label, value) in labels {
            let _ = write!(self.0, ",{label}=\"{}\"", escaped(value));
        }
        let _ = writeln!(self.0, "}} {value}");
    }
}

/// As the format wants a label's value, and nothing in it that plays with a terminal; what is not known is empty, which
/// to Prometheus is no label.
fn escaped(value: &Value) -> String {
    let lines: Vec<_> = value.as_str().unwrap_or_default().split('\n').map(printable).collect();
    lines.join("\n").replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
