//! docs/writing-a-device.md is so: its commands work, its code is the examples', its errors are the ones that come.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::Command;

use vfio_device::testing::Harness;
use vfio_device::{
    BAR0, BarKind, BarOffset, Capability, Context, Description, INTX, Region, VfioDevice,
};

const GUIDE: &str = include_str!("../docs/writing-a-device.md");

/// The fenced blocks that are opened with these words.
fn blocks(words: &str) -> Vec<&'static str> {
    let start = format!("\n```{words}\n");
    let blocks: Vec<_> =
        GUIDE.split(&start).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert!(!blocks.is_empty(), "{words}");
    blocks
}

/// `src/main.rs`, as a reader puts it together.
fn program() -> String {
    blocks("rust").join("\n\n") + "\n"
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_code_of_the_first_steps_is_the_example_tally() {
    let tally = include_str!("../examples/tally.rs");
    let header = tally.lines().take_while(|line| line.starts_with("//!")).count();
    let code: Vec<_> = tally.lines().skip(header + 1).collect();
    assert_eq!(program().lines().collect::<Vec<_>>(), code);
}

#[test]
fn the_other_code_is_of_the_example_edu() {
    let edu = include_str!("../examples/edu.rs");
    for block in blocks("rust,edu") {
        assert!(edu.contains(block), "{block}");
    }
}

#[test]
fn a_reader_who_follows_it_has_a_program_whose_tests_pass() {
    let directory = tempfile::tempdir().unwrap();
    let clone = directory.path().join("clone");
    std::os::unix::fs::symlink(root(), &clone).unwrap();
    // `cd ..` out of a symbolic link leads next to the link, in a shell: that is where the project is made.
    let run = |script: &str, place: &Path| {
        let output = Command::new("/bin/sh")
            .args(["-e", "-c", &format!("cd '{}'\n{script}", place.display())])
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TARGET_DIR", PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("guide"))
            .env("CARGO_TERM_COLOR", "never")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{script}\n{said}");
        said
    };
    let commands = blocks("sh");
    assert!(commands[0].contains("cargo new"));
    run(commands[0], &clone);
    let project = directory.path().join("tally");
    std::fs::write(project.join("src/main.rs"), program()).unwrap();
    std::fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let test = commands.iter().find(|block| block.starts_with("cargo test")).unwrap();
    let said = run(test, &project);
    assert!(said.contains("test result: ok. 2 passed; 0 failed"), "{said}");
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn the_errors_are_those_that_come() {
    let pci = || Description::pci(0x1234, 1);
    let registers = || Region::trapped(0x1000);
    let (table, pending) = (BarOffset { bar: 0, offset: 0xff0 }, BarOffset { bar: 0, offset: 0 });
    let power = Capability::power_management;
    let wrong = [
        pci().bar(0, BarKind::Memory32, Region::trapped(24)),
        pci().bar(0, BarKind::Memory64, registers()).bar(1, BarKind::Memory32, registers()),
        pci().bar(0, BarKind::Memory32, registers()).msix(4, table, pending),
        pci().capability(power()).capability(power()),
        pci().region(2, registers()),
    ];
    let table = GUIDE.split("| message | what to do |\n").nth(1).unwrap();
    let rows: Vec<_> = table.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), wrong.len());
    for (row, wrong) in rows.iter().zip(wrong) {
        let error = wrong.build().unwrap_err().to_string();
        assert!(row.starts_with(&format!("| `{error}` |")), "{error}\n{row}");
    }
}

/// States INTx at a store.
struct Asserts;

impl VfioDevice for Asserts {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], cx: &mut Context) {
        cx.irqs.set_level(INTX, 0, true);
    }
    fn reset(&mut self, _: &mut Context) {}
}

#[test]
fn forgotten_dma_is_told_in_the_words_of_the_guide() {
    let what = Description::pci(0x1234, 1).bar(0, BarKind::Io, Region::trapped(4));
    let mut device = Harness::new(|_| Ok((what, Box::new(Asserts))));
    let ask = std::panic::AssertUnwindSafe(|| drop(device.guest_memory(0x1000, 0x1000)));
    let said = std::panic::catch_unwind(ask).unwrap_err();
    let said = said.downcast_ref::<&str>().unwrap();
    let section = GUIDE.split("\n## The guest's own memory\n").nth(1).unwrap();
    assert!(section.split("\n## ").next().unwrap().contains(&format!("``{said}``")), "{said}");
}

#[test]
fn a_forgotten_interrupt_is_told_in_the_words_of_the_guide() {
    let what = Description::pci(0x1234, 1).bar(0, BarKind::Io, Region::trapped(4));
    let mut device = Harness::new(|_| Ok((what, Box::new(Asserts))));
    let store = std::panic::AssertUnwindSafe(|| device.write8(BAR0, 0, 1));
    let said = std::panic::catch_unwind(store).unwrap_err();
    let said = said.downcast_ref::<String>().unwrap();
    let section = GUIDE.split("\n## When the guest sees no interrupt\n").nth(1).unwrap();
    assert!(section.split("\n## ").next().unwrap().contains(&format!("``{said}``")), "{said}");
}

#[test]
fn the_documentation_that_it_names_has_the_module_testing() {
    let documents = [GUIDE, include_str!("../README.md")];
    for document in documents {
        let commands: Vec<_> =
            document.split('`').filter(|it| it.starts_with("cargo doc")).collect();
        assert_eq!(commands, ["cargo doc --open -p vfio-device --all-features"]);
    }
}
