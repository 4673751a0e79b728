# Two displays, and a text console of the kernel on each of them. Each function fails if what it shows does not hold.

# load_drivers: mdpy's display becomes fb0, mbochs's fb1.
load_drivers() { load mdpy-fb && load bochs; }

show_displays() {
    dmesg | sed 's/^\[[^]]*\] //' | grep -e 'mdpy-fb 0' -e 'bochs' -e '\[drm\] F'
    for fb in /sys/class/graphics/fb[0-9]; do
        echo "$(basename $fb)  $(cat $fb/name), $(tr , x <$fb/virtual_size), $(cat $fb/bits_per_pixel) bits a pixel"
    done
    [ "$(cat /sys/class/graphics/fb0/name)" = mdpy-fb ] && [ "$(cat /sys/class/graphics/fb1/name)" = bochs-drmdrmfb ]
}

# type_in COMMAND: what it looks like to run it.
type_in() {
    printf '\033[1m# %s\033[0m\n' "$1"
    eval "$1"
}

# console N TEXT: brings the text console N to its display, and shows something of the guest there.
console() {
    chvt $1
    {
        printf '\033[2J\033[H\033[1;37;44m %s \033[0m\n\n' "$2"
        type_in 'uname -srm'
        type_in 'cat /proc/fb'
        type_in 'cat /proc/iomem | grep -e 0000:00:0'
        type_in 'cat /proc/tty/driver/serial'
        echo
        for colour in 1 2 3 4 5 6 7; do printf "\033[4${colour}m        "; done
        printf '\033[0m\n\n# '
    } >/dev/tty$1 2>&1
}
