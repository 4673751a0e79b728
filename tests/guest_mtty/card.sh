# The guest's half of the tests. Each function fails if what it does does not succeed.

# Sets $card to the sysfs directory of mtty's card.
find_card() {
    for card in /sys/bus/pci/devices/*; do
        [ "$(cat $card/vendor $card/device | xargs)" = '0x4348 0x3253' ] && return
    done
    card=
    echo 'no PCI device 4348:3253'
    return 1
}

driver_is() { [ "$(basename "$(readlink $card/driver)")" = "$1" ]; }

# The names of its ports' ttys, in the ports' order. The kernel numbers them as it finds them.
ttys() { find $card/ -path '*/tty/ttyS*' -prune | sort | sed 's:.*/::'; }

tty() { ttys | sed -n $1p; }

attribute() { cat /sys/class/tty/$(tty $1)/$2; }

set_trigger() {
    echo $2 >/sys/class/tty/$(tty $1)/rx_trig_bytes && [ "$(attribute $1 rx_trig_bytes)" = $2 ]
}

# The driver's line for port N: "1: uart:16550A port:0000C000 irq:20 tx:0 rx:0 CTS|DSR|CD".
counters() {
    name=$(tty $1)
    grep "^${name#ttyS}:" /proc/tty/driver/serial
}

# pass N BYTES SPEED: random bytes through port N, and back out of it.
pass() (
    head -c $2 /dev/urandom >/tmp/sent$1
    exec 3<>/dev/$(tty $1)
    # Without -echo the line discipline would send back what comes back, for ever.
    stty raw -echo clocal -crtscts $3 <&3
    head -c $2 <&3 >/tmp/received$1 &
    cat /tmp/sent$1 >&3
    wait $!
    exec 3>&-
    cmp /tmp/sent$1 /tmp/received$1
)

unbind() { echo $(basename $card) >/sys/bus/pci/drivers/serial/unbind && [ ! -e $card/driver ]; }

bind() { echo $(basename $card) >/sys/bus/pci/drivers/serial/bind && driver_is serial; }

open_and_close() { : <>/dev/$(tty $1); }

# A byte of the I/O BAR of port 1, 0 to 7, without a driver.
inb() { dd if=$card/resource0 bs=1 skip=$1 count=1 2>/dev/null | hexdump -v -e '1/1 "%02x"'; }

outb() { printf "\\x$2" | dd of=$card/resource0 bs=1 seek=$1 count=1 conv=notrunc 2>/dev/null; }

hex() { hexdump -v -e '1/1 "%02x"' "$@"; }
