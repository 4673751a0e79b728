use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::sync::Mutex;

use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};

use super::*;

const UUID: Uuid = Uuid::from_u128(0x83b8_f4f2_509f_382f_3c1e_e6bf_e0fa_1001);
const SERIAL: TypeText<'_> = TypeText {
    name: "mtty-2",
    pretty_name: "Dual port serial",
    description: None,
    device_api: "vfio-pci",
};

/// Every path below `root`, and what is in it: `/` for a directory, `-> TARGET` for a link.
fn listing(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            let text = if kind.is_symlink() {
                format!("-> {}", path.read_link().unwrap().display())
            } else if kind.is_dir() {
                directories.push(path.clone());
                "/".into()
            } else {
                fs::read_to_string(&path).unwrap()
            };
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().into(), text);
        }
    }
    found
}

fn refusal(path: &Path) -> String {
    Tree::open(path, None).unwrap_err().to_string()
}

#[test]
fn a_directory_that_others_can_write_to_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o770)).unwrap();
    assert!(refusal(directory.path()).contains("can be written to by others"));
    assert_eq!(listing(directory.path()), BTreeMap::new());
}

#[test]
fn what_is_no_directory_or_cannot_be_made_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(refusal(&file).contains("is no directory"), "{}", refusal(&file));
    assert!(refusal(&file.join("run")).contains("it is no directory"));
    assert!(refusal(&directory.path().join("no/run")).contains("there is no directory"));
    assert_eq!(fs::read_to_string(file).unwrap(), "mine");
}

#[test]
fn a_directory_in_which_a_socket_would_have_too_long_a_path_is_refused_with_what_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    // 107 bytes fit into an address, and 25 of them are /vfio/devices/vfio1048575.
    let fill = 82 - root.as_os_str().len() - 1;
    let long = root.join("x".repeat(fill + 1));
    let words = refusal(&long);
    assert!(words.contains("is 83 bytes long") && words.contains("82 at most"), "{words}");
    assert!(!long.exists(), "made and left");
    Tree::open(&root.join("x".repeat(fill)), None).unwrap();
}

#[test]
fn a_directory_with_something_of_a_managers_names_and_no_lock_is_nobodys_to_clear() {
    for name in ["devices", "vfio", "mdev_supported_types", "control", ".staging"] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(name), "mine").unwrap();
        assert!(refusal(directory.path()).contains("no manager has made it"), "{name}");
        let left = BTreeMap::from([(name.to_owned(), "mine".to_owned())]);
        assert_eq!(listing(directory.path()), left);
    }
}

#[test]
fn a_second_manager_is_refused_with_the_pid_of_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let first = Tree::open(directory.path(), None).unwrap();
    let words = refusal(directory.path());
    assert!(words.starts_with("EBUSY: "), "{words}");
    assert!(words.contains(&format!("(pid {})", std::process::id())), "{words}");
    drop(first);
    drop(Tree::open(directory.path(), None).unwrap());
}

#[test]
fn a_lock_of_somebody_elses_is_no_managers_mark() {
    for text in ["precious\n", "", "4711\n", "mdev-user manager \n", "mdev-user manager x\n"] {
        for more in [None, Some("devices"), Some("vfio")] {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path();
            fs::write(root.join("lock"), text).unwrap();
            if let Some(more) = more {
                fs::create_dir(root.join(more)).unwrap();
                fs::write(root.join(more).join("notes.txt"), "mine").unwrap();
            }
            let before = listing(root);
            let words = refusal(root);
            let lock = root.canonicalize().unwrap().join("lock");
            assert!(words.starts_with(&format!("{} is there, and no", lock.display())), "{words}");
            assert_eq!(listing(root), before, "{text:?}");
        }
    }
}

#[test]
fn a_lock_that_is_no_file_is_named_and_not_followed() {
    let make: [fn(&Path); 4] = [
        |path| symlink("mine", path).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap(),
        |path| drop(UnixListener::bind(path).unwrap()),
    ];
    for make in make {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("mine");
        fs::write(&target, "mdev-user manager 1\n").unwrap();
        make(&directory.path().join("lock"));
        let words = refusal(directory.path());
        assert!(words.contains("/lock is there, and no manager has made it"), "{words}");
        assert_eq!(fs::read_to_string(target).unwrap(), "mdev-user manager 1\n");
    }
}

#[test]
fn what_is_no_directory_where_a_manager_makes_one_is_named_and_stays() {
    for name in ["devices", "vfio", "mdev_supported_types", ".staging"] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::write(root.join("lock"), "mdev-user manager 1\n").unwrap();
        fs::write(root.join(name), "mine").unwrap();
        let words = refusal(root);
        assert!(words.contains(&format!("/{name} is there, and no manager")), "{words}");
        assert_eq!(fs::read_to_string(root.join(name)).unwrap(), "mine");
        fs::remove_file(root.join(name)).unwrap();
        drop(Tree::open(root, None).unwrap());
        assert_eq!(listing(root), BTreeMap::new());
    }
}

#[test]
fn a_manager_whose_directory_has_become_anothers_leaves_that_alone() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("run");
    let first = Tree::open(&root, None).unwrap();
    fs::remove_dir_all(&root).unwrap();
    let mut second = Tree::open(&root, None).unwrap();
    second.add(UUID, "mtty-2", "registered").unwrap();
    let before = listing(&root);
    drop(first);
    assert_eq!(listing(&root), before);
    drop(second);
    assert!(!root.exists());
}

#[test]
fn what_an_earlier_manager_left_goes_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut first = Tree::open(root, None).unwrap();
    first.add_type(SERIAL, 12).unwrap();
    first.add(UUID, "mtty-2", "registered").unwrap();
    first.publish(UUID, "vfio0", "registered").unwrap();
    fs::write(root.join("note"), "mine").unwrap();
    let outside = root.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "mine").unwrap();
    symlink(&outside, root.join("devices/link")).unwrap();
    // It is killed: nothing is dropped but its lock.
    static KILLED: Mutex<Option<Tree>> = Mutex::new(None);
    flock(&first.lock.file, FlockOperation::Unlock).unwrap();
    *KILLED.lock().unwrap() = Some(first);

    let second = Tree::open(root, None).unwrap();
    let there: Vec<_> = listing(root).into_keys().collect();
    let expected = [
        ".staging",
        "devices",
        "lock",
        "mdev_supported_types",
        "note",
        "outside",
        "outside/file",
        "vfio",
        "vfio/devices",
    ];
    assert_eq!(there, expected);
    drop(second);
    assert_eq!(listing(root).into_keys().collect::<Vec<_>>(), ["note", "outside", "outside/file"]);
}

#[test]
fn a_directory_that_was_made_goes_again_and_one_that_was_there_stays() {
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("run");
    let tree = Tree::open(&made, None).unwrap();
    assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    drop(tree);
    assert!(!made.exists());
    drop(Tree::open(directory.path(), None).unwrap());
    assert_eq!(listing(directory.path()), BTreeMap::new());
}

#[test]
fn a_device_comes_and_goes_as_in_sysfs() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(directory.path(), None).unwrap();
    let uuid = UUID.to_string();
    let below = |tree: &Tree| listing(&tree.root().join("devices"));
    let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let path =
            |name: &str| if name.is_empty() { uuid.clone() } else { format!("{uuid}/{name}") };
        pairs.iter().map(|(name, text)| (path(name), (*text).to_owned())).collect()
    };
    let link = "-> ../../mdev_supported_types/mtty-2";

    tree.add(UUID, "mtty-2", "initialized").unwrap();
    let begun = [("", "/"), ("mdev_type", link), ("state", "initialized\n")];
    assert_eq!(below(&tree), of(&begun));

    tree.publish(UUID, "vfio7", "registered").unwrap();
    let published = [
        ("", "/"),
        ("mdev_type", link),
        ("socket", "-> ../../vfio/devices/vfio7"),
        ("state", "registered\n"),
        ("vfio-dev", "/"),
        ("vfio-dev/vfio7", "/"),
        ("vfio-dev/vfio7/open_count", "0\n"),
        ("vfio-dev/vfio7/state", "registered\n"),
    ];
    assert_eq!(below(&tree), of(&published));

    tree.set_open(UUID, "vfio7", 1).unwrap();
    tree.set_client(UUID, "vfio7", Some("4711 qemu")).unwrap();
    let read = |name: &str| {
        fs::read_to_string(
            tree.root().join("devices").join(&uuid).join("vfio-dev/vfio7").join(name),
        )
    };
    assert_eq!(read("open_count").unwrap(), "1\n");
    assert_eq!(read("client").unwrap(), "4711 qemu\n");
    tree.set_client(UUID, "vfio7", None).unwrap();
    tree.set_open(UUID, "vfio7", 0).unwrap();
    assert_eq!(below(&tree), of(&published));

    tree.hide(UUID, "unregistering").unwrap();
    let hidden = [("", "/"), ("mdev_type", link), ("state", "unregistering\n")];
    assert_eq!(below(&tree), of(&hidden));
    tree.remove(UUID).unwrap();
    assert_eq!(below(&tree), BTreeMap::new());
    assert_eq!(listing(&tree.root().join(".staging")), BTreeMap::new());
}

#[test]
fn a_type_says_what_the_driver_says_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(directory.path(), None).unwrap();
    let display = TypeText {
        name: "mdpy-vga",
        pretty_name: "mdpy-vga",
        description: Some("virtual display, 640x480 framebuffer"),
        device_api: "vfio-pci",
    };
    tree.add_type(SERIAL, 12).unwrap();
    tree.add_type(display, 4).unwrap();
    tree.set_available("mtty-2", 11).unwrap();
    let pairs = [
        ("mdpy-vga", "/"),
        ("mdpy-vga/available_instances", "4\n"),
        ("mdpy-vga/description", "virtual display, 640x480 framebuffer\n"),
        ("mdpy-vga/device_api", "vfio-pci\n"),
        ("mdpy-vga/name", "mdpy-vga\n"),
        ("mtty-2", "/"),
        ("mtty-2/available_instances", "11\n"),
        ("mtty-2/device_api", "vfio-pci\n"),
        ("mtty-2/name", "Dual port serial\n"),
    ];
    let expected = pairs.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(listing(&tree.root().join("mdev_supported_types")), expected.into());
}

/// Has nothing be written in a run directory while `what` is done, as if there were no room.
fn full<T>(tree: &mut Tree, what: impl FnOnce(&mut Tree) -> T) -> T {
    let (staging, away) = (tree.root().join(".staging"), tree.root().join("away"));
    fs::rename(&staging, &away).unwrap();
    fs::write(&staging, "").unwrap();
    let done = what(tree);
    fs::remove_file(&staging).unwrap();
    fs::rename(&away, &staging).unwrap();
    done
}

#[test]
fn what_cannot_be_written_is_written_later_as_it_is_then() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(directory.path(), None).unwrap();
    tree.add_type(SERIAL, 12).unwrap();
    tree.add(UUID, "mtty-2", "initialized").unwrap();
    tree.publish(UUID, "vfio7", "registered").unwrap();
    let root = tree.root().to_owned();
    let of = |name: &str| {
        fs::read_to_string(root.join(format!("devices/{UUID}/vfio-dev/vfio7/{name}"))).ok()
    };
    full(&mut tree, |tree| {
        tree.set_client(UUID, "vfio7", Some("1 first")).unwrap_err();
        tree.set_client(UUID, "vfio7", None).unwrap();
        tree.set_open(UUID, "vfio7", 1).unwrap_err();
        tree.set_available("mtty-2", 11).unwrap_err();
        assert!(tree.owes() && !tree.settle());
    });
    assert_eq!((of("open_count").as_deref(), of("client")), (Some("0\n"), None));
    assert!(tree.owes() && tree.settle() && !tree.owes());
    assert_eq!((of("open_count").as_deref(), of("client")), (Some("1\n"), None));
    let available = root.join("mdev_supported_types/mtty-2/available_instances");
    assert_eq!(fs::read_to_string(available).unwrap(), "11\n");

    // What is written in time, or has gone, is owed by nobody.
    full(&mut tree, |tree| tree.set_open(UUID, "vfio7", 0).unwrap_err());
    tree.set_open(UUID, "vfio7", 2).unwrap();
    assert!(!tree.owes());
    full(&mut tree, |tree| tree.set_open(UUID, "vfio7", 0).unwrap_err());
    tree.hide(UUID, "unregistering").unwrap();
    assert!(!tree.owes());
}

#[test]
fn what_cannot_be_made_or_taken_away_whole_is_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(directory.path(), None).unwrap();
    let before = listing(tree.root());
    // A name that is too long for a file.
    tree.add_type(TypeText { name: &"x".repeat(256), ..SERIAL }, 12).unwrap_err();
    tree.set_available(&"x".repeat(256), 12).unwrap_err();
    assert_eq!(listing(tree.root()), before);
    tree.add(UUID, "mtty-2", "initialized").unwrap();
    let before = listing(tree.root());
    full(&mut tree, |tree| tree.remove(UUID).unwrap_err());
    assert_eq!(listing(tree.root()), before);
}

#[test]
fn what_could_not_be_taken_away_goes_later() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(directory.path(), None).unwrap();
    tree.add(UUID, "mtty-2", "initialized").unwrap();
    let device = tree.root().join("devices").join(UUID.to_string());
    full(&mut tree, |tree| {
        tree.remove(UUID).unwrap_err();
        assert!(tree.owes() && !tree.settle());
    });
    assert!(device.exists());
    assert!(tree.owes() && tree.settle() && !tree.owes());
    assert!(!device.exists());
    // What has come in its place stays.
    tree.add(UUID, "mtty-2", "initialized").unwrap();
    full(&mut tree, |tree| tree.remove(UUID).unwrap_err());
    fs::remove_dir_all(&device).unwrap();
    tree.add(UUID, "mtty-2", "initialized").unwrap();
    assert!(tree.settle() && device.exists());
}
