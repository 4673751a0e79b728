//! The refusals that a peer can tell apart: errno and whether the connection survives.

#![cfg(test)]

use vfio_user_server::refusal::Refusal;
use vfio_user_server::wire::Command;

const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const ENOTSUP: i32 = 95;

#[test]
fn each_refusal_has_its_errno_and_its_consequence() {
    let command = Command::DeviceFeature;
    let (address, size) = (0x1000, 0x2000);
    let table = [
        (Refusal::ShortMessage { size: 15 }, EINVAL, true),
        (Refusal::LongMessage { size: u32::MAX, limit: 1 << 20 }, EINVAL, true),
        (Refusal::DescriptorsLost, EMFILE, false),
        (Refusal::DeviceFailed, EIO, false),
        (Refusal::NotACommand { flags: 1 }, EINVAL, false),
        (Refusal::UnknownCommand { number: 999 }, ENOTSUP, false),
        (Refusal::NotOffered { command }, ENOTSUP, false),
        (Refusal::WrongDirection { command: Command::DmaRead }, EINVAL, false),
        (Refusal::BeforeVersion { number: 999 }, EINVAL, false),
        (Refusal::SecondVersion, EINVAL, false),
        (Refusal::Busy, EBUSY, true),
        (Refusal::NotAllowed, EACCES, true),
        (Refusal::VersionSize { size: 0 }, EINVAL, true),
        (Refusal::VersionMajor { major: 999 }, EINVAL, true),
        (Refusal::VersionText, EINVAL, true),
        (Refusal::VersionJson, EINVAL, true),
        (Refusal::Capability { name: "max_msg_fds" }, EINVAL, true),
        (Refusal::BodySize { command, size: 7 }, EINVAL, false),
        (Refusal::Argsz { argsz: 8 }, EINVAL, false),
        (Refusal::Flags { flags: 3 }, EINVAL, false),
        (Refusal::Descriptors { count: 2 }, EINVAL, false),
        (Refusal::NotAnEventfd, EINVAL, false),
        (Refusal::DmaExists { address, size }, EEXIST, false),
        (Refusal::DmaFull { limit: 65535 }, ENOSPC, false),
        (Refusal::DmaFiles { limit: 16 }, ENOSPC, false),
        (Refusal::DmaNotAFile, EINVAL, false),
        (Refusal::DmaAccess { flags: 3 }, EACCES, false),
        (Refusal::DmaUnknown { address, size }, ENOENT, false),
        (Refusal::Injected { errno: 71 }, 71, false),
        (Refusal::NoDevice, ENODEV, false),
    ];
    for (refusal, errno, ends) in table {
        assert_eq!((refusal.errno(), refusal.ends_session()), (errno, ends), "{refusal}");
    }
}

#[test]
fn a_refusal_names_the_thing() {
    let table = [
        (Refusal::UnknownCommand { number: 999 }, "command 999 is unknown"),
        (Refusal::NotOffered { command: Command::MigDataRead }, "MIG_DATA_READ is not offered"),
        (Refusal::Capability { name: "pgsizes" }, "capability pgsizes has an impossible value"),
        (
            Refusal::RegionRange { index: 7, offset: 0x1000, count: 4 },
            "4 bytes at 0x1000 are not within region 7",
        ),
        (
            Refusal::DmaExists { address: 0x1000, size: 0x2000 },
            "DMA map 0x1000+0x2000 overlaps an earlier one",
        ),
    ];
    for (refusal, text) in table {
        assert_eq!(refusal.to_string(), text);
    }
}
