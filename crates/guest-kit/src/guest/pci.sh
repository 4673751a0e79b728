# A PCI device's registers from the shell, without a driver. Numbers are the shell's: 0x10, 16, $((a + b)).

# 1 MiB that the kernel leaves alone.
FREE_MEMORY=0x10000000

# pci_list: address, identity and class of each device.
pci_list() {
    for pci in /sys/bus/pci/devices/*; do
        echo "$(basename $pci)  $(cut -c 3- $pci/vendor):$(cut -c 3- $pci/device)  class $(cut -c 3- $pci/class)"
    done
}

# pci_find VENDOR:DEVICE: sets $pci to its sysfs directory; turns on its BARs, unless a driver has it, and lets it send messages.
pci_find() {
    for pci in /sys/bus/pci/devices/*; do
        [ "$(cat $pci/vendor $pci/device | xargs)" = "0x${1%:*} 0x${1#*:}" ] || continue
        [ -e $pci/driver ] || echo 1 >$pci/enable
        config_write 4 $(($(config 4 2) | 4)) 2
        return
    done
    pci=
    echo "no PCI device $1 in this guest"
    return 1
}

# bar N: the physical address of a memory BAR, for devmem.
bar() { sed -n "$(($1 + 1))s/ .*//p" $pci/resource; }

# config OFFSET BYTES: 1, 2 or 4 bytes of configuration space.
config() { hexdump -v -s $(($1)) -n $2 -e "1/$2 \"0x%0$(($2 * 2))x\n\"" $pci/config; }

# config_write OFFSET VALUE BYTES
config_write() {
    value=$2 bytes=
    for byte in $(seq $3); do
        bytes="$bytes\\x$(printf %02x $((value & 0xff)))"
        value=$((value >> 8))
    done
    printf "$bytes" | dd of=$pci/config bs=$3 seek=$(($1)) oflag=seek_bytes conv=notrunc 2>/dev/null
}

# capability ID: the offset of a capability in configuration space; fails if there is none.
capability() {
    at=$(config 0x34 1)
    while [ $((at)) != 0 ]; do
        [ $(($(config $at 1))) = $(($1)) ] && echo $at && return
        at=$(config $((at + 1)) 1)
    done
    return 1
}

# intx: 1 if the device asserts INTx, else 0: the status register knows.
intx() { echo $(($(config 6 2) >> 3 & 1)); }

# expect WHAT WANTED FOUND: fails unless both are the same number.
expect() {
    if [ $(($2)) = $(($3)) ]; then
        echo "$1: $3"
    else
        echo "$1: $3 and not $2"
        return 1
    fi
}

# eventually COMMAND...: waits until it succeeds, a minute at most.
eventually() {
    for tenth in $(seq 600); do
        "$@" && return
        usleep 100000
    done
    echo "in vain: $*"
    return 1
}
