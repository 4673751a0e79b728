//! Command lines that are refused, and kernels that have not all of it.

use std::process::Command;
use std::thread;

use nix::libc::{ENOSYS, SYS_landlock_create_ruleset, SYS_seccomp};
use seccompiler::{SeccompAction, SeccompFilter, apply_filter};

use crate::managed::{end, program};
use crate::server::Server;

#[track_caller]
fn complaint(command: &mut Command, status: i32) -> String {
    end(command.spawn().unwrap()).refused(status)
}

/// Does `work` where a kernel has no Landlock: what is started there finds none either.
pub fn without_landlock<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    without(SYS_landlock_create_ruleset, work)
}

/// The same without this system call.
fn without<T: Send>(call: i64, work: impl FnOnce() -> T + Send) -> T {
    let filtered = move || {
        let absent = [(call, Vec::new())].into_iter().collect();
        let refuse = SeccompAction::Errno(ENOSYS.cast_unsigned());
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(absent, SeccompAction::Allow, refuse, arch).unwrap();
        apply_filter(&Vec::try_from(filter).unwrap()).unwrap();
        work()
    };
    thread::scope(|scope| scope.spawn(filtered).join()).unwrap()
}

#[test]
fn options_that_are_none_or_contradict_each_other_end_with_2() {
    for (options, words) in [
        (&["--sandbox", "on"][..], "invalid value 'on' for '--sandbox <auto|strict|off>'"),
        (&["--seccomp", "trap"], "invalid value 'trap' for '--seccomp <kill|log|off>'"),
        (&["--sandbox", "off", "--seccomp", "kill"], "--sandbox off has no filter of system calls"),
        (&["--sandbox", "off", "--seccomp", "log"], "--sandbox off has no filter of system calls"),
        (&["--sandbox", "strict", "--seccomp", "log"], "--sandbox strict is all of it"),
        (&["--sandbox", "strict", "--seccomp", "off"], "--sandbox strict is all of it"),
    ] {
        for command in [
            &["serve", "mtty-1", "--socket-path", "/no/such/socket"][..],
            &["manage", "--run-dir", "/no/such/directory/run"],
            &["run", "mtty-1"],
        ] {
            let words_of_it = [command, options].concat();
            let mut line = program();
            line.args(&words_of_it);
            if command[0] == "run" {
                line.args(["--", "true"]);
            }
            let complaint = complaint(&mut line, 2);
            assert!(complaint.contains(words), "{words_of_it:?}: {complaint}");
        }
    }
    let mut line = program();
    line.args(["serve", "mtty-1", "--socket-path", "x", "--allow-path", "/no/such"]);
    assert!(complaint(&mut line, 1).starts_with("--allow-path /no/such: "));
}

#[test]
fn a_strict_one_does_not_start_where_something_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for (call, lacks) in [
        (SYS_landlock_create_ruleset, "Landlock (Linux 5.13 has it)"),
        (SYS_seccomp, "seccomp (Linux 3.17 has it)"),
    ] {
        without(call, || {
            for command in [
                &["serve", "mtty-1", "--sandbox", "strict", "--socket-path", &place("socket")][..],
                &["manage", "--sandbox", "strict", "--run-dir", &place("run")],
                &["run", "mtty-1", "--sandbox", "strict", "--", "touch", &place("started")],
            ] {
                let complaint = complaint(program().args(command), 1);
                let expected = format!(
                    "--sandbox strict: this kernel lacks {lacks}; \
                     use another kernel, or --sandbox auto, which does without"
                );
                assert_eq!(complaint, expected, "{command:?}");
            }
        });
    }
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "nothing has been begun");
}

#[test]
fn an_auto_one_does_without_what_is_missing_and_says_so_once() {
    let server = without_landlock(|| Server::start(&["mtty-1", "--control-path", "DIR/control"]));
    let missing = "Landlock (Linux 5.13 has it)";
    let line = format!("sandbox: this kernel lacks {missing}; going on without");
    assert_eq!(server.log().matches(&line).count(), 1, "{}", server.log());
    let sandbox = server.sandbox();
    assert_eq!(sandbox["missing"], serde_json::json!([missing]), "{sandbox}");
    assert!(sandbox["landlock"].is_null(), "{sandbox}");
    assert_eq!((&sandbox["seccomp"], &sandbox["no_new_privs"]), (&"kill".into(), &true.into()));
    // `run` says less than others, and this.
    let run = ["run", "mtty-1", "--", "true"];
    let said = without_landlock(|| end(program().args(run).spawn().unwrap()));
    assert!(said.status.success() && said.err.matches(&line).count() == 1, "{said:?}");
}

#[test]
fn without_a_filter_the_rest_of_the_sandbox_is_there() {
    let server =
        without(SYS_seccomp, || Server::start(&["mtty-1", "--control-path", "DIR/control"]));
    let sandbox = server.sandbox();
    assert_eq!(sandbox["missing"], serde_json::json!(["seccomp (Linux 3.17 has it)"]), "{sandbox}");
    // The filter that this test has put there is none of its own.
    assert_eq!((&sandbox["seccomp"], &sandbox["no_new_privs"]), (&"off".into(), &true.into()));
    assert!(sandbox["landlock"].is_object(), "{sandbox}");
}

#[test]
fn a_strict_one_starts_where_all_is_there() {
    let server = Server::start(&["mtty-1", "--sandbox", "strict", "--control-path", "DIR/control"]);
    let sandbox = server.sandbox();
    assert_eq!(sandbox["missing"], serde_json::json!([]), "{sandbox}");
    assert_eq!(sandbox["mode"], "strict");
}
