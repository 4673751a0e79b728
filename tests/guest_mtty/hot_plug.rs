//! The card comes and goes while the guest runs.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use guest_kit::{Guest, Tools, vfio_user_device};
use serde_json::{Value, json};

use crate::card::{Card, SOON};
use crate::served::Served;

/// QEMU's monitor.
struct Monitor {
    input: UnixStream,
    output: BufReader<UnixStream>,
}

impl Monitor {
    fn connect(socket: &Path) -> Self {
        let input = UnixStream::connect(socket).unwrap();
        input.set_read_timeout(Some(SOON)).unwrap();
        let output = BufReader::new(input.try_clone().unwrap());
        let mut monitor = Self { input, output };
        monitor.wait_for("QMP");
        monitor.execute("qmp_capabilities", &json!({}));
        monitor
    }

    /// What QEMU says next that has this key.
    fn wait_for(&mut self, key: &str) -> Value {
        loop {
            let mut line = String::new();
            self.output.read_line(&mut line).unwrap();
            let said: Value = serde_json::from_str(&line).unwrap();
            assert!(said.get("error").is_none(), "{said}");
            if let Some(value) = said.get(key) {
                return value.clone();
            }
        }
    }

    fn execute(&mut self, command: &str, arguments: &Value) {
        writeln!(self.input, "{}", json!({ "execute": command, "arguments": arguments })).unwrap();
        self.wait_for("return");
    }

    fn wait_for_event(&mut self, name: &str) {
        while self.wait_for("event") != name {}
    }
}

#[test]
fn the_card_can_be_plugged_and_unplugged_while_the_guest_runs() {
    let served = Served::start("mtty-2");
    let monitor = served.path("monitor");
    let guest = Guest::builder(&Tools::prepare().unwrap())
        .args(["-device", "pcie-root-port,id=slot-1,slot=1,chassis=1"])
        .args(["-qmp", &format!("unix:{},server=on,wait=off", monitor.display())])
        .boot()
        .unwrap();
    let mut card = Card { guest, ports: 2 };
    card.sh(include_str!("card.sh"));
    card.sh("! find_card");
    let mut monitor = Monitor::connect(&monitor);
    let mut device: Value = serde_json::from_str(&vfio_user_device(&served.socket())).unwrap();
    device["bus"] = json!("slot-1");
    device["id"] = json!("card");

    for round in 1..=2 {
        println!("plugged in");
        monitor.execute("device_add", &device);
        // The slot's button, so to say, blinks for 5 seconds first.
        card.sh(
            "for second in $(seq 60); do find_card && driver_is serial && break; sleep 1; done",
        );
        card.look();
        card.ports_work();

        println!("unplugged");
        monitor.execute("device_del", &json!({ "id": "card" }));
        monitor.wait_for_event("DEVICE_DELETED");
        card.sh("! find_card");
        served.wait_for_log(" has left", round);
    }
    card.power_off();
    served.end();
}
