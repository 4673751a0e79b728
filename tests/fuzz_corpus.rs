#![cfg(test)]
//! The fuzz targets' entry points over their corpora, and over what comes of those by chance: about a minute in all.
//!
//! What fails is written to a file, whose name is said; `MDEV_USER_INPUT=FILE` has that tried alone. MDEV_USER_ROUNDS and
//! MDEV_USER_SEED make it a longer run, or another one:
//! `MDEV_USER_SEED=7 MDEV_USER_ROUNDS=100000 cargo test --test fuzz_corpus uart -- --nocapture`.

#[path = "../fuzz/src/entries/mod.rs"]
mod entries;
#[path = "common/random.rs"]
mod random;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use random::{Random, from_environment};

const SEED: u64 = 20_260_201;
/// Bytes of an input, at most.
const LONGEST: usize = 4096;
/// Some count what this process has open: one after the other.
static ALONE: Mutex<()> = Mutex::new(());

/// The files of a corpus, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&directory).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{} files in {}", files.len(), directory.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// What has been found in the past is tried again and again: small changes of one input, or pieces of two.
fn changed(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(7) {
            0 => bytes.insert(at, random.next() as u8),
            1 => _ = bytes.drain(at..(at + 1 + random.below(8)).min(bytes.len())),
            2 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
            3 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                let piece = &other[from..(from + random.below(32)).min(other.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            4 => {
                let edge = random.pick(&[0, 1, 0x7f, 0x80, 0xff]);
                bytes
                    .iter_mut()
                    .skip(at)
                    .take(random.pick(&[1, 2, 4, 8]))
                    .for_each(|it| *it = edge);
            }
            5 => {
                let value = random.next() as u8;
                bytes.iter_mut().skip(at).take(1).for_each(|it| *it = value);
            }
            _ => {
                let bit = 1 << random.below(8);
                bytes.iter_mut().skip(at).take(1).for_each(|it| *it ^= bit);
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// The entry point, and what to do about it if it fails.
fn try_one(name: &str, entry: fn(&[u8]), bytes: &[u8], what: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| entry(bytes))) {
        let file = std::env::temp_dir().join(format!("mdev-user-{name}-{}", std::process::id()));
        let kept = fs::write(&file, bytes);
        eprintln!("{name}, {what}: {kept:?}: MDEV_USER_INPUT={} tries it alone", file.display());
        eprintln!("{bytes:02x?}");
        resume_unwind(panic);
    }
}

fn survives(name: &str, rounds: u64) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (_, entry) = entries::ALL.into_iter().find(|(other, _)| *other == name).unwrap();
    if let Some(file) = std::env::var_os("MDEV_USER_INPUT") {
        return entry(&fs::read(file).unwrap());
    }
    let (rounds, seed) =
        (from_environment("MDEV_USER_ROUNDS", rounds), from_environment("MDEV_USER_SEED", SEED));
    let begun = Instant::now();
    let corpus = corpus(name);
    for (number, bytes) in corpus.iter().enumerate() {
        try_one(name, entry, bytes, &format!("file {number} of the corpus"));
    }
    for round in 0..rounds {
        let bytes = changed(&corpus, &mut Random::of(seed, round));
        try_one(name, entry, &bytes, &format!("seed {seed}, round {round}"));
    }
    let files = corpus.len();
    println!("{name}: {files} files, seed {seed}, {rounds} rounds in {:?}", begun.elapsed());
}

#[test]
fn what_a_client_of_a_device_says_is_answered_and_harms_nobody() {
    survives("session", 3_000);
}

#[test]
fn each_proposal_is_refused_or_answered_within_it() {
    survives("version", 200_000);
}

#[test]
fn each_line_to_the_control_socket_is_answered() {
    survives("control", 300);
}

#[test]
fn what_is_written_of_ends_devices_and_faults_is_refused_in_words_or_means_the_same_written_out() {
    survives("specs", 200_000);
}

#[test]
fn an_edid_that_is_taken_is_one_and_the_made_ones_are_too() {
    survives("edid", 5_000);
}

#[test]
fn configuration_space_is_bytes_and_masks() {
    survives("config_space", 1_000);
}

#[test]
fn the_ports_are_as_the_model() {
    survives("uart", 5_000);
}

#[test]
fn the_displays_registers_are_as_the_model_and_so_is_the_picture() {
    survives("display", 10_000);
}

#[test]
fn each_entry_point_has_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for (name, _) in entries::ALL {
        assert!(manifest.contains(&format!("name = \"fuzz_{name}\"\n")), "{name}");
        let target = fs::read_to_string(root.join(format!("fuzz_targets/fuzz_{name}.rs"))).unwrap();
        assert!(target.contains(&format!("entries::{name}::{name}")), "{name}");
    }
}
