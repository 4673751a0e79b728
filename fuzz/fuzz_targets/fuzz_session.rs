#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mdev_user_fuzz::entries::session::session(data));
