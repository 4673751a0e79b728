//! Definitions of devices in the form of mdevctl, and the file that they are in.

use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::saving;
use crate::device_spec::DeviceSpec;
use crate::errors::plain;
use crate::monitor;
use crate::parents::parent_of;

/// Bytes of a file: some ten thousand definitions.
const MAX_FILE: u64 = 16 << 20;

/// What a definition can have: mdevctl's members, and those that `list --json` prints beside them.
const KNOWN: [&str; 6] = ["mdev_type", "start", "attrs", "node", "socket", "state"];

/// What a device is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub kind: &'static str,
    /// Its options, as they were written and in their order.
    pub attrs: Vec<(String, String)>,
    /// Whether it is made when a manager starts.
    pub auto: bool,
    pub spec: DeviceSpec,
}

impl Definition {
    /// From `TYPE[,OPTION=VALUE]...`.
    #[cfg(test)]
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, attrs) = crate::device_spec::split(text)?;
        Self::new(&kind, attrs)
    }

    /// Of a type's name and options.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what would be right.
    pub fn new(kind: &str, attrs: Vec<(String, String)>) -> Result<Self, String> {
        let spec = DeviceSpec::new(kind, &attrs)?;
        Ok(Self { kind: spec.kind, attrs, auto: false, spec })
    }

    /// Of a device that was asked for in another way.
    pub fn of(spec: DeviceSpec) -> Self {
        Self { kind: spec.kind, attrs: spec.given(), auto: false, spec }
    }

    /// The same device with these options, in place of those of the same names. The others stay, but for those that make no
    /// sense beside them.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what would be right.
    pub fn with(&self, changes: &[(String, String)]) -> Result<Self, String> {
        let mut attrs = self.attrs.clone();
        attrs.retain(|(other, _)| {
            !changes.iter().any(|(name, value)| monitor::displaces(name, value, other))
        });
        for (name, value) in changes {
            match attrs.iter_mut().find(|(other, _)| other == name) {
                Some((_, old)) => old.clone_from(value),
                None => attrs.push((name.clone(), value.clone())),
            }
        }
        Ok(Self { auto: self.auto, ..Self::new(self.kind, attrs)? })
    }

    /// As mdevctl writes it.
    pub fn json(&self) -> Value {
        let attrs: Vec<_> = self.attrs.iter().map(|(name, value)| json!({ name: value })).collect();
        let start = if self.auto { "auto" } else { "manual" };
        json!({ "mdev_type": self.kind, "start": start, "attrs": attrs })
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        let text = |member: &str| match value.get(member) {
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            None => Ok(None),
            Some(_) => Err(format!("'{member}' is a string")),
        };
        let kind = text("mdev_type")?.ok_or("'mdev_type' is missing")?;
        let auto = match text("start")? {
            Some("auto") => true,
            None | Some("manual") => false,
            Some(start) => return Err(format!("'start' is auto or manual, not '{start}'")),
        };
        let mut attrs = Vec::new();
        let no_list = "'attrs' is a list of objects, each with one string";
        for attr in value.get("attrs").map_or(Ok(&Vec::new()), |it| it.as_array().ok_or(no_list))? {
            let members = attr.as_object().filter(|members| members.len() == 1).ok_or(no_list)?;
            for (name, value) in members {
                attrs.push((name.clone(), value.as_str().ok_or(no_list)?.to_owned()));
            }
        }
        Ok(Self { auto, ..Self::new(kind, attrs)? })
    }
}

/// Devices by their parents, as `mdevctl list --dumpjson` has them.
pub fn dump(devices: impl IntoIterator<Item = (Uuid, &'static str, Value)>) -> Value {
    let mut parents: Vec<(&str, Vec<Value>)> = Vec::new();
    for (uuid, kind, value) in devices {
        let (parent, device) = (parent_of(kind), json!({ uuid.to_string(): value }));
        match parents.iter_mut().find(|(name, _)| *name == parent) {
            Some((_, devices)) => devices.push(device),
            None => parents.push((parent, vec![device])),
        }
    }
    if parents.is_empty() {
        return json!([]);
    }
    let object = parents.into_iter().map(|(name, devices)| (name.to_owned(), devices.into()));
    json!([object.collect::<Map<_, _>>()])
}

/// The file, and what is in it.
#[derive(Debug, Default)]
pub struct Definitions {
    path: Option<PathBuf>,
    /// Whether what comes and goes is written back.
    saves: bool,
    /// Something has come or gone since that was done.
    unsaved: bool,
    /// That could not be done the last time, which has been told.
    fails: bool,
    pub all: Vec<(Uuid, Definition)>,
}

impl Definitions {
    /// Reads a file. One that is to be written back need not be there yet.
    ///
    /// # Errors
    /// A sentence that says what is wrong in which file.
    pub fn read(path: Option<&Path>, saves: bool) -> Result<Self, String> {
        let Some(path) = path else { return Ok(Self::default()) };
        let shown = path.display();
        let all = match read(path) {
            Ok(bytes) => parse(&bytes).map_err(|what| format!("{shown}: {what}"))?,
            Err(error) if saves && error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(format!("cannot read {shown}: {}", plain(&error))),
        };
        let path = if saves { saving::place(path)? } else { path.to_owned() };
        if saves {
            saving::clear(&path);
        }
        Ok(Self { path: Some(path), saves, unsaved: false, fails: false, all })
    }

    /// The file that they are written to, if they are.
    pub fn place(&self) -> Option<&Path> {
        self.path.as_deref().filter(|_| self.saves)
    }

    /// A device has come at run time: the next manager is to make it too.
    pub fn add(&mut self, uuid: Uuid, definition: &Definition) {
        if self.saves {
            self.all.retain(|(other, _)| *other != uuid);
            self.all.push((uuid, Definition { auto: true, ..definition.clone() }));
            self.unsaved = true;
        }
    }

    /// A device has become another at run time: the next manager is to make it so.
    pub fn change(&mut self, uuid: Uuid, definition: &Definition) {
        let known = self.all.iter_mut().find(|(other, _)| *other == uuid);
        if let Some((_, old)) = known.filter(|_| self.saves) {
            *old = Definition { auto: old.auto, ..definition.clone() };
            self.unsaved = true;
        }
    }

    /// A device has been taken away at run time.
    pub fn remove(&mut self, uuid: Uuid) {
        let before = self.all.len();
        if self.saves {
            self.all.retain(|(other, _)| *other != uuid);
            self.unsaved |= self.all.len() != before;
        }
    }

    /// Writes back what has come and gone since the last time.
    pub fn save(&mut self) {
        let Some(path) = self.path.as_ref().filter(|_| mem::take(&mut self.unsaved)) else {
            return;
        };
        let devices = self.all.iter().map(|(uuid, it)| (*uuid, it.kind, it.json()));
        let text = format!("{:#}\n", dump(devices));
        let failed = saving::replace(path, text.as_bytes()).err();
        let failed_before = mem::replace(&mut self.fails, failed.is_some());
        match failed {
            // There may be room the next time.
            Some(error) => {
                self.unsaved = true;
                let level = if failed_before { log::Level::Debug } else { log::Level::Error };
                let shown = path.display();
                log::log!(level, "cannot write {shown}: {}; it is as it was", plain(&error));
            }
            None if failed_before => log::info!("{} is up to date again", path.display()),
            None => (),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if found.len() > MAX_FILE {
        return Err(io::Error::other(format!("it has more than {MAX_FILE} bytes")));
    }
    fs::read(path)
}

fn parse(bytes: &[u8]) -> Result<Vec<(Uuid, Definition)>, String> {
    let form = "it has the form of `mdevctl list --dumpjson`: a list of objects, in them for each \
                parent a list of objects UUID: definition";
    let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("{error}; {form}"))?;
    let mut all: Vec<(Uuid, Definition)> = Vec::new();
    let objects = |value: &Value| -> Result<Vec<Map<String, Value>>, String> {
        let list = value.as_array().ok_or(form)?.iter();
        list.map(|it| it.as_object().cloned().ok_or(form.to_owned())).collect()
    };
    for (parent, devices) in objects(&value)?.into_iter().flatten() {
        for (text, value) in objects(&devices)?.into_iter().flatten() {
            let uuid = uuid(&text)?;
            let definition = Definition::from_json(&value).map_err(|it| format!("{uuid}: {it}"))?;
            for member in value.as_object().into_iter().flat_map(Map::keys) {
                if !KNOWN.contains(&member.as_str()) {
                    log::warn!(
                        "{uuid} of --config: nothing is known of '{member}', which is left out"
                    );
                }
            }
            if parent_of(definition.kind) != parent {
                let kind = definition.kind;
                return Err(format!("{uuid}: {kind} is no type of parent '{parent}'"));
            }
            if all.iter().any(|(other, _)| *other == uuid) {
                return Err(format!("{uuid} is there twice"));
            }
            all.push((uuid, definition));
        }
    }
    Ok(all)
}

/// A UUID as the kernel takes it: 36 characters.
///
/// # Errors
/// A sentence that says what would be right.
pub fn uuid(text: &str) -> Result<Uuid, String> {
    let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
    uuid.ok_or_else(|| {
        // What a device's socket is called.
        let is_node = text.strip_prefix("vfio").is_some_and(|it| it.parse::<u32>().is_ok());
        let way_out = if is_node { "; `mdev-user list` has that of each node" } else { "" };
        format!("'{text}' is no UUID: 32 hexadecimal digits in groups of 8-4-4-4-12{way_out}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

    #[track_caller]
    fn refused(text: &str, words: &str) {
        let what = parse(text.as_bytes()).unwrap_err();
        assert!(what.contains(words), "{text}: {what}");
    }

    #[test]
    fn what_is_no_definition_is_refused_in_words() {
        let of = |definition: &str| format!(r#"[{{"mtty":[{{"{ONE}":{definition}}}]}}]"#);
        for (text, words) in [
            ("", "form of `mdevctl list --dumpjson`"),
            ("{}", "form of `mdevctl list --dumpjson`"),
            ("[1]", "form of `mdevctl list --dumpjson`"),
            (r#"[{"mtty":{}}]"#, "form of `mdevctl list --dumpjson`"),
            (r#"[{"mtty":[{"1":{}}]}]"#, "'1' is no UUID"),
            (&of("{}"), "'mdev_type' is missing"),
            (&of("7"), "'mdev_type' is missing"),
            (&of(r#"{"mdev_type":1}"#), "'mdev_type' is a string"),
            (&of(r#"{"mdev_type":"mtty-3"}"#), "there is no type 'mtty-3'"),
            (&of(r#"{"mdev_type":"mdpy-vga"}"#), "mdpy-vga is no type of parent 'mtty'"),
            (
                &of(r#"{"mdev_type":"mtty-1","start":"now"}"#),
                "'start' is auto or manual, not 'now'",
            ),
            (&of(r#"{"mdev_type":"mtty-1","attrs":{}}"#), "'attrs' is a list of objects"),
            (&of(r#"{"mdev_type":"mtty-1","attrs":[{"pace":1}]}"#), "'attrs' is a list of objects"),
            (&of(r#"{"mdev_type":"mtty-1","attrs":[{"xres":"1"}]}"#), "no option 'xres'"),
        ] {
            refused(text, words);
        }
        let entry = format!(r#"{{"{ONE}":{{"mdev_type":"mtty-1"}}}}"#);
        refused(&format!(r#"[{{"mtty":[{entry},{entry}]}}]"#), "is there twice");
    }

    #[test]
    fn a_uuid_is_said_in_36_characters() {
        for text in
            ["", "83b8f4f2509f382f3c1ee6bfe0fa1001", &format!("{{{ONE}}}"), &format!("{ONE}\n")]
        {
            assert!(uuid(text).is_err(), "{text}");
        }
        assert_eq!(uuid(&ONE.to_uppercase()).unwrap().to_string(), ONE);
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn options_take_the_place_of_others_and_what_belongs_to_a_made_edid_goes_with_it() {
        let display = Definition::parse("mbochs-medium,xres=1024,yres=768").unwrap();
        for (changes, expected) in [
            (&[("xres", "800")][..], Ok(&[("xres", "800"), ("yres", "768")][..])),
            (&[("edid", "auto")], Ok(&[("xres", "1024"), ("yres", "768"), ("edid", "auto")])),
            (&[("edid", "off")], Ok(&[("edid", "off")])),
            (&[("edid", "off"), ("yres", "600")], Err("they need edid=auto")),
            (&[("pace", "on")], Err("no option 'pace'")),
        ] {
            let changed = display.with(&pairs(changes));
            match expected {
                Ok(attrs) => assert_eq!(changed.unwrap().attrs, pairs(attrs), "{changes:?}"),
                Err(words) => assert!(changed.unwrap_err().contains(words), "{changes:?}"),
            }
        }
        let off = display.with(&pairs(&[("edid", "off")])).unwrap();
        assert!(off.with(&pairs(&[("xres", "800")])).is_err());
        assert_eq!(off.with(&pairs(&[("edid", "auto"), ("xres", "800")])).unwrap().attrs.len(), 2);
    }

    #[test]
    fn a_device_that_was_asked_for_in_another_way_has_its_options_as_they_were_written() {
        for text in [
            "mtty-2,serial0=unix:/p,,server=on,serial1=pty:/l,pace=on",
            "mbochs-small,xres=640,yres=480,edid=auto",
            "mbochs-small,edid=/p",
            "mdpy-vga",
        ] {
            let definition = Definition::parse(text).unwrap();
            assert_eq!(Definition::of(definition.spec.clone()), definition, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("devices.json");
        assert!(Definitions::read(Some(&path), false).unwrap_err().contains("devices.json"));
        let mut file = Definitions::read(Some(&path), true).unwrap();
        let serial = Definition::parse("mtty-2,serial0=unix:/p,,server=on,pace=on").unwrap();
        file.add(uuid(ONE).unwrap(), &serial);
        assert!(!path.exists());
        file.save();
        let written: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let expected = json!([{ "mtty": [{ ONE: {
            "mdev_type": "mtty-2", "start": "auto",
            "attrs": [{ "serial0": "unix:/p,server=on" }, { "pace": "on" }],
        }}]}]);
        assert_eq!(written, expected);
        let again = Definitions::read(Some(&path), true).unwrap();
        assert_eq!(again.all, [(uuid(ONE).unwrap(), Definition { auto: true, ..serial })]);
        file.remove(uuid(ONE).unwrap());
        file.save();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[]\n");
    }
}
