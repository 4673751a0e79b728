//! The program `mdev-user`; all of it is in the library, where its fuzz targets and tests find it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    mdev_user::main()
}
