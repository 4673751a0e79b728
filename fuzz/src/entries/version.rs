//! VERSION: what a client proposes, and what it is answered.

use serde_json::Value;
use vfio_user_server::version::{Proposal, parse, reply};

/// The body of the message.
pub fn version(data: &[u8]) {
    let result = parse(data);
    assert_eq!(result, parse(data), "the same bytes");
    let proposal = match result {
        Ok(proposal) => proposal,
        Err(refusal) => {
            assert!(refusal.errno() == 22 && !refusal.to_string().is_empty());
            return;
        }
    };
    assert!((4..=4096).contains(&data.len()) && data[..2] == [0, 0]);
    bounds(&proposal);
    let mut out = [0xa5; 256];
    let size = reply(&proposal, &mut out).expect("room");
    // QEMU has room for 214 bytes, header included.
    assert!(size <= 198 && reply(&proposal, &mut out[..size - 1]).is_none());
    assert_eq!(reply(&proposal, &mut out), Some(size));
    let answered = parse(&out[..size]).expect("our own words");
    assert_eq!((answered.minor, answered.max_data_xfer_size), (0, 1 << 20));
    assert!(answered.pgsizes & !proposal.pgsizes == 0 && answered.pgsizes.is_power_of_two());
    assert_eq!(answered.write_multiple, proposal.write_multiple);
    assert!(!answered.twin_socket);
    deaf_to_others(data, &proposal);
}

fn bounds(proposal: &Proposal) {
    assert!(proposal.max_msg_fds <= 1024 && proposal.pgsizes >= 4096, "{proposal:?}");
}

/// What it does not know changes nothing.
fn deaf_to_others(data: &[u8], proposal: &Proposal) {
    let Some(text) = data.get(4..data.len() - 1).filter(|text| !text.is_empty()) else { return };
    let Ok(Value::Object(mut top)) = serde_json::from_slice(text) else { return };
    top.insert("another".into(), 1.into());
    if let Some(Value::Object(capabilities)) = top.get_mut("capabilities") {
        capabilities.insert("another".into(), Value::Null);
    }
    let body = [&data[..4], Value::Object(top).to_string().as_bytes(), &[0]].concat();
    assert!(body.len() > 4096 || parse(&body).as_ref() == Ok(proposal));
}
