#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mdev_user_fuzz::entries::config_space::config_space(
    data
));
