//! `mdev-user types`: what can be made, as below `mdev_supported_types` in sysfs.

use std::error::Error;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use vfio_device::DEVICE_API;

use super::print as print_text;
use crate::cli;
use crate::parents::Parents;

pub fn print(options: &cli::Types) -> Result<ExitCode, Box<dyn Error>> {
    let parents = Parents::new();
    if options.json {
        return print_json(&dump(&parents));
    }
    let width = Parents::type_names().into_iter().map(str::len).max().unwrap_or(0);
    let mut out = format!("{:<width$} {:>9}  {:<10} NAME\n", "TYPE", "AVAILABLE", "API");
    for (_, parent) in parents.iter() {
        for kind in parent.types() {
            let available = parent.available_instances(kind);
            let text = kind.description.unwrap_or(kind.pretty_name);
            out += &format!("{:<width$} {available:>9}  {DEVICE_API:<10} {text}\n", kind.name);
        }
    }
    print_text(&out)?;
    Ok(ExitCode::SUCCESS)
}

/// In the form of `mdevctl types --dumpjson`.
fn dump(parents: &Parents) -> Value {
    let of_parent = |(name, parent): (&str, &vfio_device::Parent)| {
        let types = parent.types().iter().map(|kind| {
            json!({ kind.name: {
                "available_instances": parent.available_instances(kind),
                "device_api": DEVICE_API,
                "name": kind.pretty_name,
                "description": kind.description,
            }})
        });
        (name.to_owned(), types.collect::<Value>())
    };
    json!([Map::from_iter(parents.iter().map(of_parent))])
}

pub fn print_json(value: &Value) -> Result<ExitCode, Box<dyn Error>> {
    print_text(&format!("{value:#}\n"))?;
    Ok(ExitCode::SUCCESS)
}
