//! `mdev-user types`: what can be made, as below `mdev_supported_types` in sysfs.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use vfio_device::DEVICE_API;

use super::print as print_text;
use crate::cli;
use crate::control::client::{Client, Deadline, PATIENCE};
use crate::errors::printable;
use crate::manage::Tree;
use crate::parents::Parents;

pub fn print(options: &cli::Types) -> Result<ExitCode, Box<dyn Error>> {
    let path = options.control_path.clone();
    let dump = match path.or_else(|| options.run_dir.as_deref().map(Tree::control)) {
        Some(path) => asked(&path)?,
        None => dump(&Parents::new()),
    };
    if options.json {
        return print_json(&dump);
    }
    print_text(&table(&dump))?;
    Ok(ExitCode::SUCCESS)
}

/// What a manager says.
fn asked(path: &Path) -> Result<Value, Box<dyn Error>> {
    let deadline = Deadline::after(PATIENCE);
    let answer = &Client::connect(path, deadline)?.ask("types", None, deadline)?.value;
    Ok(answer["types"].clone())
}

fn table(dump: &Value) -> String {
    let width = Parents::type_names().into_iter().map(str::len).max().unwrap_or(0);
    let mut out = format!("{:<width$} {:>9}  {:<10} NAME\n", "TYPE", "AVAILABLE", "API");
    let mut types: Vec<_> = objects(dump).flat_map(|(_, types)| objects(types)).collect();
    let order = Parents::type_names();
    types.sort_by_key(|(name, _)| order.iter().position(|it| it == name));
    for (name, kind) in types {
        let text = kind["description"].as_str().or(kind["name"].as_str()).unwrap_or("-");
        let (available, api) =
            (kind["available_instances"].to_string(), kind["device_api"].as_str());
        let (name, api, text) = (printable(name), printable(api.unwrap_or("-")), printable(text));
        out += &format!("{name:<width$} {available:>9}  {api:<10} {text}\n");
    }
    out
}

/// The members of the objects of a list.
pub fn objects(list: &Value) -> impl Iterator<Item = (&String, &Value)> {
    list.as_array().into_iter().flatten().filter_map(Value::as_object).flatten()
}

/// In the form of `mdevctl types --dumpjson`.
pub fn dump(parents: &Parents) -> Value {
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
