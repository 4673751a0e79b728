#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mdev_user_fuzz::entries::version::version(data));
