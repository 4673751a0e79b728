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
# A console that the kernel did not find is none: without these three, pipes would take their numbers.
[ -e /proc/self/fd/1 ] || exec </dev/null >/dev/null 2>&1
dmesg -n 1 # the kernel's messages would come between the console's lines; dmesg has them

echo 'ttyS0::once:/bin/sh /console' >/etc/inittab
# Where the kernel's console is elsewhere, a shell for people is there, the leader of its own session.
echo "PS1='guest# '" >/etc/profile
tty=$(sed -n 's/.*console=\(tty[^ ,]*\).*/\1/p' /proc/cmdline)
# The serial driver has names for ports that are not there, which nothing would ever come from.
is_there() {
    case $tty in
        ttyS*) grep "^${tty#ttyS}: uart:" /proc/tty/driver/serial | grep -qv uart:unknown ;;
        *) [ -c "/dev/$tty" ] ;;
    esac
}
if [ "$tty" = ttyS0 ]; then
    : # the shell that is there already
elif is_there; then
    echo "$tty::respawn:-/bin/sh" >>/etc/inittab
else
    echo "the guest has no hardware for a console on $tty: the first port of a card is ttyS1" >/no-console
fi
exec busybox init
