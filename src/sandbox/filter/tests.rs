//! The list, written out once more: whoever makes it longer does so twice.

use super::*;

/// Those that every server has, whatever the arguments.
const EVERY: &str = "0 1 2 3 4 5 6 7 8 11 12 13 14 15 17 18 19 20 21 24 25 26 28 32 33 35 39 43 44 45 46 47 48 51 52 \
    54 55 60 63 73 74 75 77 79 82 83 84 86 87 88 89 95 96 98 99 102 104 107 108 110 111 115 121 \
    127 128 131 137 138 186 201 202 204 206 207 208 209 210 217 219 228 229 230 231 232 233 257 258 \
    262 263 264 265 266 267 269 271 273 281 285 288 290 291 292 293 295 296 299 307 309 316 318 319 \
    324 332 334 436 439 441";
/// Those that every server has with some arguments: mmap, mprotect, ioctl, socketpair, clone, kill, fcntl, prctl, tgkill,
/// prlimit64, process_vm_writev.
const ASKED: &str = "9 10 16 53 56 62 72 157 234 302 311";

fn numbers(text: &str) -> Vec<i64> {
    text.split_whitespace().map(|it| it.parse().unwrap()).collect()
}

/// What a server with these needs has beside what all have, and those of which arguments are asked.
#[track_caller]
fn are(needs: Needs, more: &str, asked: &str) {
    let rules = rules(needs).unwrap();
    let (any, some): (Vec<_>, Vec<_>) = rules.into_iter().partition(|(_, rules)| rules.is_empty());
    let calls = |rules: Vec<(i64, Vec<SeccompRule>)>| rules.into_iter().map(|(it, _)| it).collect();
    let (any, some): (Vec<i64>, Vec<i64>) = (calls(any), calls(some));
    let mut asked = numbers(&format!("{ASKED} {asked}"));
    asked.sort_unstable();
    assert_eq!(some, asked, "{needs:?}");
    let mut expected = numbers(&format!("{EVERY} {more}"));
    expected.retain(|it| !asked.contains(it));
    expected.sort_unstable();
    assert_eq!(any, expected, "{needs:?}");
}

#[test]
fn each_server_has_the_calls_that_are_written_here_and_no_others() {
    const SOCKETS: &str = "42 49 50"; // connect, bind, listen
    let none = Needs::default();
    are(none, "", "");
    are(Needs { unix: true, ..none }, SOCKETS, "41");
    are(Needs { notify: true, ..none }, "", "41");
    // sendto, sendmsg, sendmmsg
    are(Needs { has_tcp: true, ..none }, "", "44 46 307");
    are(Needs { tcp: true, ..none }, SOCKETS, "41 44 46 307");
    // inotify_add_watch, inotify_init1, inotify_rm_watch
    // and fchmod
    are(Needs { names: true, has_tcp: true, ..none }, &format!("{SOCKETS} 254 255 294"), "41 91");
    // chown, fchownat; chmod, fchmodat
    are(Needs { shares: true, ..none }, "92 260", "90 268");
    // fchmod
    are(Needs { saves: true, ..none }, "", "91");
    // wait4, waitid
    are(Needs { child: Some(1), ..none }, "61 247", "");
}
