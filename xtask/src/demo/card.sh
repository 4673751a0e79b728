# Shows mtty's card and sends through its ports. Each function fails if what it shows does not hold.

card=
for device in /sys/bus/pci/devices/*; do
    if [ "$(cat $device/vendor $device/device | xargs)" = '0x4348 0x3253' ]; then card=$device; fi
done
if [ -z "$card" ]; then
    echo 'no PCI device 4348:3253 in this guest'
    false
fi

# port N: its device node. The kernel numbers the ports as it finds them.
port() {
    find $card/ -path '*/tty/ttyS*' -prune | sort | sed -n "$1s:.*/:/dev/:p"
}

show_card() {
    echo "address            $(basename $card)"
    for attribute in vendor device class revision subsystem_vendor subsystem_device irq; do
        printf '%-18s %s\n' $attribute $(cat $card/$attribute)
    done
    echo "driver             $(basename $(readlink $card/driver))"
    echo "ports              $(port 1) $(port 2)"
    echo 'configuration space:'
    hexdump -C $card/config
    [ "$(basename $(readlink $card/driver))" = serial ] && [ -c "$(port 1)" ] && [ -c "$(port 2)" ]
}

# pass N FILE: FILE through port N, to /tmp/received. In a subshell, which keeps its job to itself.
pass() (
    exec 3<>$(port $1)
    # Without -echo the line discipline would send back what comes back, for ever.
    stty raw -echo clocal -crtscts 115200 <&3
    timeout 30 head -c $(stat -c %s $2) <&3 >/tmp/received &
    cat $2 >&3
    wait $!
    exec 3>&-
    cmp $2 /tmp/received
)

echo_text() {
    printf %s "$2" >/tmp/sent
    pass $1 /tmp/sent
    status=$?
    echo "$(port $1)  sent      $(cat /tmp/sent)"
    echo "            received  $(cat /tmp/received)"
    return $status
}

echo_random() {
    head -c $2 /dev/urandom >/tmp/sent
    pass $1 /tmp/sent
    status=$?
    for file in sent received; do
        echo "$(port $1)  $file  $(stat -c %s /tmp/$file) bytes, md5 $(md5sum </tmp/$file | cut -c 1-32)"
    done
    return $status
}

show_counters() {
    for n in 1 2; do
        tty=$(basename $(port $n))
        line=$(grep "^${tty#ttyS}:" /proc/tty/driver/serial)
        echo "$line"
        # Counters of errors are shown when they are not 0.
        echo "$line" | awk '{
            for (i = 1; i <= NF; i++) {
                split($i, pair, ":")
                if (pair[1] == "tx") tx = pair[2]
                if (pair[1] == "rx") rx = pair[2]
                if (pair[1] ~ /^(oe|fe|pe|brk)$/) exit 1
            }
            exit tx == "" || tx != rx
        }' || return 1
    done
}
