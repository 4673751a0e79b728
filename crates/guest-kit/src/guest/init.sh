#!/bin/busybox sh
# The guest's first process.

/bin/busybox --install -s /bin
export PATH=/bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t debugfs debugfs /sys/kernel/debug
dmesg -n 1 # the kernel's messages would come between the console's lines; dmesg has them

echo 'ttyS0::once:/bin/sh /console' >/etc/inittab
# Where the kernel's console is elsewhere, a shell for people is there, the leader of its own session.
echo "PS1='guest# '" >/etc/profile
sed -n 's/.*console=\(tty[^ ,]*\).*/\1/p' /proc/cmdline | grep -vx ttyS0 |
    sed 's|$|::respawn:-/bin/sh|' >>/etc/inittab
exec busybox init
