//! Modules of the guests' kernel, unpacked, with those that they depend on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, Result, Tools};

/// A module that is to be loaded.
#[derive(Debug, PartialEq)]
pub(crate) struct Module {
    /// The name of its file, without an extension.
    pub(crate) name: String,
    /// As the kernel takes it.
    pub(crate) bytes: Vec<u8>,
}

/// The module `name`, last, and before it what it depends on, each once and in an order in which they can be loaded.
pub(crate) fn in_order(tools: &Tools, name: &str) -> Result<Vec<Module>> {
    let mut order = Vec::new();
    add(tools, name, &mut order)?;
    Ok(order)
}

fn add(tools: &Tools, name: &str, order: &mut Vec<Module>) -> Result<()> {
    if order.iter().any(|module| is_called(&module.name, name)) {
        return Ok(());
    }
    let path = find(tools, name)?;
    let bytes = unpack(&tools.busybox, &path)?;
    for dependency in depends(&bytes) {
        add(tools, &dependency, order)?;
    }
    order.push(Module { name: stem(&path).to_owned(), bytes });
    Ok(())
}

fn find(tools: &Tools, name: &str) -> Result<PathBuf> {
    let missing =
        |modules: String, hint| Error::NoModule { module: name.to_owned(), modules, hint };
    if is_called(name, "mdpy-fb") {
        let none = || missing("what was prepared".into(), ": call Tools::with_mdpy_fb first");
        return tools.mdpy_fb.clone().ok_or_else(none);
    }
    let Some(modules) = tools.modules() else {
        let hint = ": name the directory of the modules of MDEV_USER_KERNEL in MDEV_USER_MODULES";
        return Err(missing("MDEV_USER_MODULES".into(), hint));
    };
    // Debian's packages have no modules.dep: depmod makes it when they are installed.
    let list = modules.join("modules.order");
    let text = fs::read_to_string(&list).map_err(Error::io("read", &list))?;
    let line = text.lines().find(|line| is_called(stem(Path::new(line)), name));
    let line = line.ok_or_else(|| missing(modules.display().to_string(), ""))?;
    let found = ["", ".xz"].map(|extension| modules.join(format!("{line}{extension}")));
    let packed = "; it is packed in a way that is not known here";
    found.into_iter().find(|path| path.is_file()).ok_or_else(|| missing(line.to_owned(), packed))
}

/// The guests' own busybox unpacks it: it is there on every machine that can boot a guest.
fn unpack(busybox: &Path, path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(path).map_err(Error::io("read", path));
    }
    let mut xzcat = Command::new(busybox);
    let output = xzcat.arg("xzcat").arg(path).output().map_err(Error::io("run", busybox))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Error::Unpack {
        busybox: busybox.to_owned(),
        module: path.to_owned(),
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// What a module says that it needs, out of the texts of its section .modinfo, each between two zeros.
fn depends(module: &[u8]) -> Vec<String> {
    let mut texts = module.split(|&byte| byte == 0);
    let list = texts.find_map(|text| text.strip_prefix(b"depends=")).unwrap_or_default();
    let names = String::from_utf8_lossy(list);
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn stem(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split('.').next().unwrap_or_default()
}

/// The kernel does not tell `-` from `_` in names of modules.
fn is_called(one: &str, other: &str) -> bool {
    one.replace('-', "_") == other.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_is_read_from_its_own_text() {
        assert_eq!(depends(b"\x7fELF\0license=GPL\0depends=drm,ttm\0name=x\0"), ["drm", "ttm"]);
        assert_eq!(depends(b"\0depends=\0name=x\0"), [""; 0]);
        assert_eq!(depends(b"\0name=no depends=a\0"), [""; 0]);
    }

    #[test]
    fn dashes_and_extensions_make_no_other_module() {
        assert!(is_called(stem(Path::new("kernel/a/snd-pcm.ko.xz")), "snd_pcm"));
        assert!(!is_called("drm", "drm_vram_helper"));
    }
}
