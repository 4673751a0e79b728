//! What people write: ends of streams, devices, faults.

use std::fmt::Write as _;

use chardev::{Backend, LogSpec, Role, Spec};
use mdev_user::fuzzing;
use vfio_user_server::Fault;

/// The first byte says which sort, the rest is the text.
pub fn specs(data: &[u8]) {
    let Some((which, text)) = data.split_first() else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    match which % 3 {
        0 => chardev(text),
        1 => device(text),
        _ => fault(text),
    }
}

/// What is refused is told why, and shortly: a quotation of what was written is all that may be long.
fn is_said(error: &str, text: &str) {
    assert!(!error.is_empty() && error.len() <= 600 + 12 * text.len(), "{error}");
}

fn chardev(text: &str) {
    match text.parse::<Spec>() {
        Err(error) => is_said(&error.to_string(), text),
        Ok(spec) => {
            assert!(!text.contains('\0') && spec.history <= 16 << 20);
            let written = written(&spec);
            assert_eq!(written.parse(), Ok(spec), "{written:?}");
        }
    }
}

/// All of it written out.
fn written(spec: &Spec) -> String {
    let word = |text: &str| text.replace(',', ",,");
    let path = |path: &std::path::Path| word(path.to_str().expect("it came from text"));
    let switch = |set: bool| if set { "on" } else { "off" };
    let role = |role: &Role| match role {
        Role::Server { wait } => format!(",server=on,wait={}", switch(*wait)),
        Role::Client { reconnect } => {
            let pause = reconnect.map_or(0, |pause| pause.as_millis());
            format!(",server=off,reconnect-ms={pause}")
        }
        other => panic!("a role that this test does not know: {other:?}"),
    };
    let append = |name: &str, append: &Option<bool>| {
        append.map_or(String::new(), |set| format!(",{name}={}", switch(set)))
    };
    let mut text = match &spec.backend {
        Backend::Loopback => "loopback".into(),
        Backend::Crossover => "crossover".into(),
        Backend::Null => "null".into(),
        Backend::Stdio => "stdio".into(),
        Backend::Pty { link: None } => "pty".into(),
        Backend::Pty { link: Some(link) } => format!("pty,path={}", path(link)),
        Backend::Unix { path: at, role: who } => format!("unix:{}{}", path(at), role(who)),
        Backend::Tcp { host, port, role: who, nodelay } => {
            let (host, port, who) = (word(host), word(port), role(who));
            format!("tcp:[{host}]:{port}{who},nodelay={}", switch(*nodelay))
        }
        Backend::File { path: at, append: how } => {
            format!("file:{}{}", path(at), append("append", how))
        }
        Backend::Pipe { path: at } => format!("pipe:{}", path(at)),
        other => panic!("an end that this test does not know: {other:?}"),
    };
    if let Some(LogSpec { path: at, append: how, timestamp, .. }) = &spec.log {
        let (how, timestamp) = (append("logappend", how), switch(*timestamp));
        write!(text, ",logfile={}{how},logtimestamp={timestamp}", path(at)).expect("text");
    }
    text + &format!(",history={}", spec.history)
}

fn device(text: &str) {
    // A file that is named is read here, and what is in it is not the text's.
    if text.contains("edid=") {
        return;
    }
    match fuzzing::device(text) {
        Err(error) => is_said(&error, text),
        Ok((kind, options)) => {
            let word = |text: &str| text.replace(',', ",,");
            let options_written =
                options.iter().map(|(name, value)| format!(",{}={}", word(name), word(value)));
            let written = kind.clone() + &options_written.collect::<String>();
            assert_eq!(fuzzing::device(&written), Ok((kind, options)), "{written:?}");
        }
    }
}

fn fault(text: &str) {
    match text.parse::<Fault>() {
        Err(error) => is_said(&error.to_string(), text),
        Ok(fault) => assert_eq!(fault.to_string().parse(), Ok(fault)),
    }
}
