//! Boots a Linux guest in QEMU and talks to it, on any Debian machine and as any user. Development only.
//!
//! ```no_run
//! use std::{path::Path, time::Duration};
//! use guest_kit::{Guest, Tools, vfio_user_device};
//!
//! let tools = Tools::prepare()?;
//! let mut guest = Guest::builder(&tools).device(&vfio_user_device(Path::new("/run/mtty.sock"))).boot()?;
//! let ports = guest.check("cat /proc/tty/driver/serial", Duration::from_secs(5))?;
//! guest.power_off(Duration::from_secs(30))?;
//! assert_eq!(guest.qemu_messages(), "");
//! # Ok::<(), guest_kit::Error>(())
//! ```
//!
//! # Where QEMU, the kernel and busybox come from
//!
//! [`Tools::prepare`] takes a QEMU with `vfio-user-pci` (10.1 or later) from `PATH`. Otherwise it fetches Debian's from
//! trixie-backports, and always the kernel and the static busybox of trixie, through an apt of its own: nothing on the
//! machine changes. They are kept in `$MDEV_USER_CACHE`, else `$XDG_CACHE_HOME/mdev-user`, else `~/.cache/mdev-user`;
//! to have them anew, remove that directory. `MDEV_USER_QEMU`, `MDEV_USER_KERNEL` and `MDEV_USER_BUSYBOX` name others,
//! `MDEV_USER_MODULES` the directory of that kernel's modules.
//!
//! [`Tools::with_mdpy_fb`] builds mdpy's driver, which Debian's kernels leave out, unless `MDEV_USER_MDPY_FB` names it.
//! It takes Debian's compiler and sources for that, in a root of its own: as root by `unshare --root` alone, else in a
//! user namespace.
//!
//! # The guest
//!
//! All of its user space is busybox in an initramfs. Its console is ttyS0, so that serial ports on PCI begin at ttyS1.
//! Scripts run one after another in one shell there, `guest/console.sh`; their stdin is empty. The kernel's messages do
//! not come between their output: `dmesg` has them. [`Builder::kernel_module`] brings drivers, [`program`] programs of
//! a test's own; [`Builder::registers`] lets them at a device's registers without a
//! driver. [`Builder::console`] puts the kernel's console on another tty, and a shell for people there. [`Builder::slot`] is
//! for devices that come and go while the guest runs: [`Guest::plug`], [`Guest::unplug`].
#![forbid(unsafe_code)]

mod apt;
mod builder;
mod cache;
mod console;
mod error;
mod guest;
mod initramfs;
mod mdpy_fb;
mod mirror;
mod modules;
mod monitor;
mod program;
mod progress;
mod qemu;
mod tools;
mod tty;

pub use builder::{Builder, FREE_MEMORY};
pub use console::{Output, Running};
pub use error::{Error, Result};
pub use guest::Guest;
pub use program::{FLIP, program, program_to_debug};
pub use qemu::{Qemu, Version, vfio_user_device};
pub use tools::Tools;
pub use tty::Tty;
