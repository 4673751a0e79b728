//! VERSION, refusals first.

#![cfg(test)]

use vfio_user_server::refusal::Refusal;
use vfio_user_server::version::{Proposal, parse, reply};
use vfio_user_server::wire::Version;

/// What a client that says nothing has said (spec, "Capabilities").
const DEFAULTS: Proposal = Proposal {
    minor: 0,
    max_msg_fds: 1,
    max_data_xfer_size: 1048576,
    max_dma_maps: 65535,
    pgsizes: 4096,
    twin_socket: false,
    write_multiple: false,
};

/// What QEMU 11.1 sends, key for key.
const QEMU: &str = r#"{"capabilities": {"migration": {"max_bitmap_size": 268435456, "pgsize": 4096},
    "max_msg_fds": 16, "max_data_xfer_size": 1048576, "max_dma_maps": 65535, "pgsizes": 4096,
    "write_multiple": true}}"#;

fn body(major: u16, minor: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    Version { major, minor }.encode(&mut bytes).unwrap();
    bytes.extend_from_slice(data);
    bytes
}

/// A body of version 0.0 with this text and the NUL after it.
fn propose(json: &str) -> Result<Proposal, Refusal> {
    parse(&body(0, 0, &[json.as_bytes(), b"\0"].concat()))
}

/// The same with this inside `capabilities`.
fn capable(of: &str) -> Result<Proposal, Refusal> {
    propose(&format!(r#"{{"capabilities":{{{of}}}}}"#))
}

fn answer(proposal: &Proposal) -> Vec<u8> {
    let mut out = [0xaa; 256];
    let size = reply(proposal, &mut out).unwrap();
    assert!(out[size..].iter().all(|byte| *byte == 0xaa));
    out[..size].to_vec()
}

fn capabilities(proposal: &Proposal) -> serde_json::Value {
    let bytes = answer(proposal);
    let text = bytes[4..].strip_suffix(b"\0").unwrap();
    serde_json::from_slice::<serde_json::Value>(text).unwrap()["capabilities"].take()
}

#[test]
fn a_body_without_both_numbers_is_refused() {
    for size in 0..4 {
        assert_eq!(parse(&[0; 4][..size]), Err(Refusal::VersionSize { size }));
    }
}

/// Conformance: B16.
#[test]
fn a_body_beyond_4_kib_is_refused_unread() {
    let string = "x".repeat(1 << 20);
    let nested = "[".repeat(10_000);
    for json in [
        format!(r#"{{"x":"{string}"}}"#),
        format!(r#"{{"x":{nested}"#),
        "{}".to_owned() + &" ".repeat(4096),
    ] {
        let size = 4 + json.len() + 1;
        assert_eq!(propose(&json), Err(Refusal::VersionSize { size }));
    }
}

#[test]
fn the_largest_body_is_read() {
    let json = "{}".to_owned() + &" ".repeat(4096 - 4 - 3);
    assert_eq!(propose(&json), Ok(DEFAULTS));
    assert_eq!(propose(&(json + " ")), Err(Refusal::VersionSize { size: 4097 }));
}

/// Conformance: S18.
#[test]
fn another_major_version_is_refused_whatever_follows() {
    for (major, data) in [(1, &b""[..]), (999, b"{}\0"), (999, b"}"), (0xffff, &[0xff; 5000])] {
        assert_eq!(parse(&body(major, 0, data)), Err(Refusal::VersionMajor { major }));
    }
}

/// Conformance: B16.
#[test]
fn text_that_is_not_nul_terminated_utf_8_is_refused() {
    let table: [(&str, &[u8]); 8] = [
        ("no NUL", b"{}"),
        ("half an object without NUL", b"{"),
        ("NUL inside", b"{}\0{}\0"),
        ("NUL inside a string", b"{\"a\":\"\0\"}\0"),
        ("two NULs", b"{}\0\0"),
        ("lone NUL in front", b"\0{}"),
        ("bad UTF-8", b"{\"\xff\":1}\0"),
        ("surrogate in UTF-8", b"{\"\xed\xa0\x80\":1}\0"),
    ];
    for (name, data) in table {
        assert_eq!(parse(&body(0, 0, data)), Err(Refusal::VersionText), "{name}");
    }
}

/// Conformance: B16.
#[test]
fn text_that_is_not_one_json_object_is_refused() {
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(2000), "]".repeat(2000));
    let deeper = format!("{}1{}", r#"{"a":"#.repeat(500), "}".repeat(500));
    let table = [
        ("nothing", ""),
        ("half an object", "{"),
        ("half a string", "\""),
        ("array", "[]"),
        ("null", "null"),
        ("number", "1"),
        ("trailing text", "{} x"),
        ("two objects", "{}{}"),
        ("comment", "{/**/}"),
        ("trailing comma", r#"{"a":1,}"#),
        ("1e400", r#"{"a":1e400}"#),
        ("-1e400 in capabilities", r#"{"capabilities":{"max_msg_fds":-1e400}}"#),
        ("NaN", r#"{"a":NaN}"#),
        ("lone surrogate", r#"{"a":"\ud800"}"#),
        ("control character", "{\"a\":\"\n\"}"),
        ("2000 arrays deep", &deep),
        ("500 objects deep", &deeper),
    ];
    for (name, json) in table {
        assert_eq!(propose(json), Err(Refusal::VersionJson), "{name}");
    }
}

#[test]
fn capabilities_that_are_no_object_are_refused() {
    for value in [r#""23""#, "null", "[]", "1", "true"] {
        let refusal = propose(&format!(r#"{{"capabilities":{value}}}"#));
        assert_eq!(refusal, Err(Refusal::Capability { name: "capabilities" }), "{value}");
    }
}

/// Conformance: B16.
#[test]
fn capabilities_of_the_wrong_type_or_range_are_refused() {
    let table: &[(&str, &[&str])] = &[
        (
            "max_msg_fds",
            &[r#""foo""#, "-1", "1025", "1.5", "null", "true", "[]", "9223372036854775808"],
        ),
        (
            "max_data_xfer_size",
            &[r#""1""#, "-1", "0.5", "1e30", "18446744073709551616", "null", "{}"],
        ),
        ("max_dma_maps", &["-1", "[]", "false", r#""""#]),
        ("pgsizes", &["0", "1", "4095", "-4096", "4096.5", r#""4096""#, "null"]),
        ("write_multiple", &["1", "0", r#""true""#, "null", "{}"]),
        ("twin_socket", &["true", "null", "[]", r#""x""#]),
        ("migration", &[r#""23""#, "null", "4096", "[]"]),
    ];
    for &(name, values) in table {
        for value in values {
            let refusal = capable(&format!(r#""{name}":{value}"#));
            assert_eq!(refusal, Err(Refusal::Capability { name }), "{name} {value}");
        }
    }
}

#[test]
fn members_of_capability_objects_are_checked_as_well() {
    let table = [
        ("supported", r#""twin_socket":{"supported":1}"#),
        ("supported", r#""twin_socket":{"supported":null}"#),
        ("fd_index", r#""twin_socket":{"supported":true,"fd_index":"0"}"#),
        ("fd_index", r#""twin_socket":{"supported":true,"fd_index":-1}"#),
        ("pgsize", r#""migration":{"pgsize":"foo"}"#),
        ("pgsize", r#""migration":{"pgsize":4095}"#),
        ("pgsize", r#""migration":{"pgsize":0}"#),
        ("max_bitmap_size", r#""migration":{"max_bitmap_size":-1}"#),
    ];
    for (name, json) in table {
        assert_eq!(capable(json), Err(Refusal::Capability { name }), "{json}");
    }
}

#[test]
fn every_refusal_of_a_version_is_einval_and_ends_the_session() {
    for refused in [
        parse(&[]),
        parse(&body(1, 0, b"")),
        parse(&body(0, 0, b"x")),
        propose("x"),
        capable(r#""pgsizes":0"#),
    ] {
        let refusal = refused.unwrap_err();
        assert_eq!((refusal.errno(), refusal.ends_session()), (22, true), "{refusal}");
    }
}

/// Conformance: S15.
#[test]
fn no_prefix_and_no_flipped_byte_of_a_proposal_panics() {
    let whole = body(0, 0, &[QEMU.as_bytes(), b"\0"].concat());
    for size in 0..whole.len() {
        assert!(parse(&whole[..size]).is_err() || size == 4, "{size} bytes");
    }
    for at in 0..whole.len() {
        for byte in 0..=255 {
            let mut changed = whole.clone();
            changed[at] = byte;
            let _ = parse(&changed);
        }
    }
}

/// Conformance: S20.
#[test]
fn what_is_left_out_has_the_spec_s_default() {
    assert_eq!(parse(&body(0, 0, b"")), Ok(DEFAULTS));
    for json in [
        "{}",
        r#"{"capabilities":{}}"#,
        r#" { "capabilities" : { "twin_socket":{}, "migration":{} } } "#,
    ] {
        assert_eq!(propose(json), Ok(DEFAULTS), "{json}");
    }
}

/// Conformance: S21.
#[test]
fn unknown_keys_are_ignored() {
    assert_eq!(propose(r#"{"max_msg_fds":"foo","x":[{}]}"#), Ok(DEFAULTS));
    assert_eq!(capable(r#""x":1e300,"y":{"z":null},"write_multiple ":3"#), Ok(DEFAULTS));
}

/// Conformance: B16.
#[test]
fn of_a_key_given_twice_the_last_counts() {
    let twice = capable(r#""max_msg_fds":"foo","max_msg_fds":3"#);
    assert_eq!(twice, Ok(Proposal { max_msg_fds: 3, ..DEFAULTS }));
    let name = "max_msg_fds";
    assert_eq!(capable(r#""max_msg_fds":3,"max_msg_fds":-3"#), Err(Refusal::Capability { name }));
}

#[test]
fn what_qemu_proposes_is_taken() {
    assert_eq!(propose(QEMU), Ok(Proposal { max_msg_fds: 16, write_multiple: true, ..DEFAULTS }));
}

#[test]
fn what_cloud_hypervisor_proposes_is_taken() {
    let json = r#"{"capabilities":{"max_msg_fds":16,"max_data_xfer_size":1048576,"migration":{"pgsize":4096}}}"#;
    let proposal = parse(&body(0, 1, &[json.as_bytes(), b"\0"].concat())).unwrap();
    assert_eq!(proposal, Proposal { minor: 1, max_msg_fds: 16, ..DEFAULTS });
    assert_eq!(answer(&proposal)[..4], [0; 4]);
}

#[test]
fn extreme_but_possible_values_are_taken() {
    let proposal = capable(
        r#""max_msg_fds":1024,"max_data_xfer_size":0,"max_dma_maps":18446744073709551615,
           "pgsizes":9223372036854775808,"twin_socket":{"supported":true,"fd_index":9}"#,
    );
    let expected = Proposal {
        max_msg_fds: 1024,
        max_data_xfer_size: 0,
        max_dma_maps: u64::MAX,
        pgsizes: 1 << 63,
        twin_socket: true,
        ..DEFAULTS
    };
    assert_eq!(proposal, Ok(expected));
    assert_eq!(capable(r#""max_msg_fds":0"#).map(|proposal| proposal.max_msg_fds), Ok(0));
}

/// Conformance: S19.
#[test]
fn the_answer_is_version_0_0_whatever_minor_was_proposed() {
    for minor in [0, 1, 2, u16::MAX] {
        let proposal = parse(&body(0, minor, b"")).unwrap();
        assert_eq!(proposal.minor, minor);
        assert_eq!(answer(&proposal)[..4], [0; 4]);
    }
}

/// Conformance: S22.
#[test]
fn the_answer_names_what_this_server_takes() {
    let expected = serde_json::json!({
        "max_msg_fds": 16, "max_data_xfer_size": 1048576, "max_dma_maps": 65535, "pgsizes": 4096,
    });
    assert_eq!(capabilities(&DEFAULTS), expected);
}

/// Conformance: S22.
#[test]
fn write_multiple_is_answered_only_if_proposed_and_twin_socket_never() {
    let expected = serde_json::json!({
        "max_msg_fds": 16, "max_data_xfer_size": 1048576, "max_dma_maps": 65535, "pgsizes": 4096,
        "write_multiple": true,
    });
    assert_eq!(
        capabilities(&Proposal { write_multiple: true, twin_socket: true, ..DEFAULTS }),
        expected
    );
}

/// Conformance: S25.
#[test]
fn the_page_size_answered_is_one_of_those_proposed() {
    for (pgsizes, answered) in
        [(4096, 4096), (0x4020_1000, 4096), (0x1_0000, 0x1_0000), (0x1_0800, 0x1_0000)]
    {
        assert_eq!(
            capabilities(&Proposal { pgsizes, ..DEFAULTS })["pgsizes"],
            answered,
            "{pgsizes:#x}"
        );
    }
}

#[test]
fn the_answer_fits_into_the_214_bytes_that_qemu_reserves() {
    let longest = Proposal { pgsizes: 1 << 63, write_multiple: true, ..DEFAULTS };
    let bytes = answer(&longest);
    assert!(16 + bytes.len() <= 214, "{} bytes", bytes.len());
    assert_eq!(bytes.iter().filter(|byte| **byte == 0).count(), 5, "the numbers and one NUL");
}

#[test]
fn an_answer_that_does_not_fit_is_not_given() {
    let size = answer(&DEFAULTS).len();
    for room in 0..size {
        assert_eq!(reply(&DEFAULTS, &mut vec![0; room]), None, "{room} bytes");
    }
    assert_eq!(reply(&DEFAULTS, &mut vec![0; size]), Some(size));
}
