#!/bin/busybox sh
# The guest's first process. /console, run on the serial line, is the whole of its user space.

/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=vt100

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t debugfs debugfs /sys/kernel/debug

dmesg -n emerg # other messages would come between the console's lines; dmesg has them
cd /root

# What busybox's poweroff and reboot ask of an init.
trap 'poweroff -f' USR2
trap 'reboot -f' TERM
sh /console </dev/console &
wait
