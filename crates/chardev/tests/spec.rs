#![cfg(test)]
//! What a user writes.

use std::time::Duration;

use chardev::{Backend, Role, Spec, SpecError};

fn refusal(text: &str) -> String {
    text.parse::<Spec>().expect_err(text).to_string()
}

fn backend(text: &str) -> Backend {
    text.parse::<Spec>().unwrap_or_else(|error| panic!("{text}: {error}")).backend
}

#[test]
fn each_refusal_says_in_one_sentence_what_would_be_right() {
    for (text, expected) in [
        ("", "\"\" is no back end; there are loopback, crossover, null, pty"),
        ("sokcet:/tmp/x", "\"sokcet\" is no back end; there are loopback, crossover, null, pty"),
        ("vc", "\"vc\" is no back end"),
        ("telnet::4444", "\"telnet\" is no back end"),
        ("unix", "unix needs the path of a socket: write unix:PATH"),
        ("unix:", "unix needs the path of a socket: write unix:PATH"),
        ("unix:,server=on", "unix needs the path of a socket: write unix:PATH"),
        ("file", "file needs the path of a file: write file:PATH"),
        ("file:", "file needs the path of a file: write file:PATH"),
        ("pipe:", "pipe needs the path of two FIFOs: write pipe:PATH"),
        ("tcp", "tcp needs a host and a port: write tcp:HOST:PORT"),
        ("tcp:4444", "tcp needs a host and a port: write tcp:HOST:PORT"),
        ("tcp:localhost:", "tcp needs a host and a port: write tcp:HOST:PORT"),
        ("tcp:::1:4444", "tcp needs a host and a port"),
        ("tcp::65536", "\"65536\" is no TCP port: a number from 0 to 65535"),
        ("null:x", "null takes nothing behind a colon: write null"),
        ("stdio:", "stdio takes nothing behind a colon: write stdio"),
        ("loopback:x", "loopback takes nothing behind a colon"),
        ("pty:", "path needs a value: write path=PATH"),
        ("pty,path=", "path needs a value: write path=PATH"),
        ("pty,path", "path needs a value: write path=PATH"),
        ("pty:/tmp/a,path=/tmp/b", "pty:LINK and path=LINK exclude each other"),
        ("null,path=x", "null has no option \"path\"; it takes logfile=PATH"),
        ("null,", "there is a comma too many: one between two options, two within a value"),
        ("null,,", "\"null,\" is no back end"),
        ("null,=on", "there is a comma too many"),
        ("unix:/tmp/a,server=on,", "there is a comma too many"),
        ("unix:/tmp/a,server=on,,wait=off", "server is on or off, not \"on,wait=off\""),
        ("pty,server=on", "pty has no option \"server\"; it takes path=LINK, logfile=PATH"),
        ("unix:/tmp/a,path=/b", "unix has no option \"path\"; it takes server=on|off, wait=on|off"),
        ("unix:/tmp/a,nodelay=on", "unix has no option \"nodelay\""),
        ("unix:/tmp/a,reconnect=1", "unix has no option \"reconnect\"; it takes server=on|off"),
        ("unix:/tmp/a,server=1", "server is on or off, not \"1\""),
        ("unix:/tmp/a,server=ON", "server is on or off, not \"ON\""),
        ("unix:/tmp/a,wait=", "wait is on or off, not \"\""),
        ("unix:/tmp/a,server=on,noserver", "server is on or off, not \"both\""),
        ("unix:/tmp/a,nowait=on", "wait is on or off, not \"on\""),
        ("unix:/tmp/a,server=on,reconnect-ms=9", "server=on and reconnect-ms exclude each other"),
        ("unix:/tmp/a,server=off,wait=on", "server=off and wait exclude each other"),
        ("unix:/tmp/a,server=off,wait=off", "server=off and wait exclude each other"),
        ("unix:/tmp/a,wait=off,reconnect-ms=5", "reconnect-ms and wait exclude each other"),
        (
            "unix:/tmp/a,reconnect-ms=soon",
            "reconnect-ms is a number from 0 to 86400000, not \"soon\"",
        ),
        ("unix:/tmp/a,reconnect-ms=-1", "reconnect-ms is a number from 0 to 86400000, not \"-1\""),
        ("tcp::1,nodelay=on,delay=off", "nodelay and delay exclude each other"),
        ("file:/tmp/a,append=maybe", "append is on or off, not \"maybe\""),
        ("null,logappend=on", "logappend says nothing without logfile=PATH"),
        ("null,logtimestamp=on", "logtimestamp says nothing without logfile=PATH"),
        ("null,logfile=", "logfile needs a value: write logfile=PATH"),
        ("null,logfile=/a,logappend=1", "logappend is on or off, not \"1\""),
        ("null,history=64k", "history is a number from 0 to 16777216, not \"64k\""),
        ("null,history=16777217", "history is a number from 0 to 16777216, not \"16777217\""),
        ("null,history=+5", "history is a number from 0 to 16777216, not \"+5\""),
        ("null,history=0x", "history is a number from 0 to 16777216, not \"0x\""),
        ("null,history=08", "history is a number from 0 to 16777216, not \"08\""),
        (
            "null,history=99999999999999999999",
            "history is a number from 0 to 16777216, not \"99999999999999999999\"",
        ),
        ("null,history", "history is a number from 0 to 16777216, not \"\""),
        ("unix:/tmp/a\0b", "there is a NUL in it"),
    ] {
        let found = refusal(text);
        assert!(found.contains(expected), "{text}: {found}");
        assert!(!found.contains('\n') && !found.ends_with('.'), "{text}: {found}");
    }
    assert_eq!("x".parse::<Spec>(), Err(SpecError::UnknownBackend { word: "x".into() }));
}

#[test]
fn a_comma_in_a_value_is_written_twice() {
    let expected = Backend::File { path: "/tmp/a,b".into(), append: Some(true) };
    assert_eq!(backend("file:/tmp/a,,b,append=on"), expected);
    assert_eq!(backend("pty,path=/tmp/,,"), Backend::Pty { link: Some("/tmp/,".into()) });
    // Three are one of the value's, and one behind it.
    let expected = Backend::File { path: "/tmp/a,".into(), append: Some(false) };
    assert_eq!(backend("file:/tmp/a,,,append=off"), expected);
}

#[test]
fn sockets_listen_unless_told_otherwise() {
    let server = |wait| {
        let Role::Server { wait: found } = wait else { panic!("{wait:?}") };
        found
    };
    let role = |text: &str| match backend(text) {
        Backend::Unix { role, .. } | Backend::Tcp { role, .. } => role,
        other => panic!("{other:?}"),
    };
    for head in ["unix:/tmp/a", "tcp::4444"] {
        let role = |options: &str| role(&format!("{head}{options}"));
        for options in [
            "",
            ",server=on",
            ",server",
            ",server=on,wait=off",
            ",server,nowait",
            ",server=y,wait=n",
        ] {
            assert!(!server(role(options)), "{options}");
        }
        for options in [",wait=on", ",server=true,wait=yes", ",server,wait"] {
            assert!(server(role(options)), "{options}");
        }
        for options in [",server=off", ",noserver", ",server=no", ",reconnect-ms=0"] {
            assert!(matches!(role(options), Role::Client { reconnect: None, .. }), "{options}");
        }
        let Role::Client { reconnect, .. } = role(",server=off,reconnect-ms=1500") else {
            panic!()
        };
        assert_eq!(reconnect, Some(Duration::from_millis(1500)));
        assert_eq!(role(",reconnect-ms=1500"), role(",server=off,reconnect-ms=1500"));
        // Of what is said twice the last counts.
        assert!(server(role(",wait=off,wait=on")));
    }
}

#[test]
fn tcp_is_for_this_host_alone_unless_another_is_named() {
    for (text, expected) in [
        ("tcp::4444", ("127.0.0.1", "4444", true)),
        ("tcp:0.0.0.0:0", ("0.0.0.0", "0", true)),
        ("tcp:[::1]:4444,nodelay=off", ("::1", "4444", false)),
        ("tcp:localhost:telnet,delay=on", ("localhost", "telnet", false)),
        ("tcp:localhost:telnet,delay=off", ("localhost", "telnet", true)),
    ] {
        let Backend::Tcp { host, port, nodelay, .. } = backend(text) else { panic!() };
        assert_eq!((host.as_str(), port.as_str(), nodelay), expected, "{text}");
    }
}

#[test]
fn every_end_can_have_a_log_and_a_history() {
    for head in
        ["loopback", "crossover", "null", "pty", "stdio", "unix:/a", "tcp::1", "file:/a", "pipe:/a"]
    {
        let plain: Spec = head.parse().unwrap();
        assert_eq!((plain.log, plain.history), (None, 65_536), "{head}");
        let text = format!("{head},logfile=/l,,og,logappend=off,logtimestamp=on,history=16777216");
        let full: Spec = text.parse().unwrap();
        let log = full.log.unwrap();
        assert_eq!((log.path.to_str(), log.append), (Some("/l,og"), Some(false)));
        assert_eq!((log.timestamp, full.history), (true, 16 << 20));
        let log = format!("{head},logfile=/log,history=0").parse::<Spec>().unwrap();
        assert_eq!((log.log.unwrap().timestamp, log.history), (false, 0));
    }
    assert_eq!(backend("pty:/tmp/link"), backend("pty,path=/tmp/link"));
    assert_eq!(backend("pty"), Backend::Pty { link: None });
}

#[test]
fn numbers_are_those_of_c() {
    for (text, expected) in [("0", 0), ("10", 10), ("0x10", 16), ("0XfF", 255), ("010", 8)] {
        assert_eq!(format!("null,history={text}").parse::<Spec>().unwrap().history, expected);
    }
}
