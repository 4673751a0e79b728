# The guest's half of the tests. Each function fails if what it does does not succeed.

# The number of the framebuffer that a driver has, in /dev/fbN.
fb() { sed -n "s/ $1\$//p" /proc/fb | grep .; }

has_ports() { find_card >/dev/null && [ "$(ttys | wc -l)" = $1 ] && [ -c /dev/$(tty $1) ]; }

has_fb() { [ -c /dev/fb$(fb $1) ]; }

# draw DRIVER FILE PIXEL: a picture in one write, and behind that its first pixel.
draw() {
    dd if=$2 of=/dev/fb$(fb $1) bs=16M conv=notrunc 2>/dev/null && printf "$3" >/dev/fb$(fb $1)
}

# The driver sets a mode for a console, which only one of the framebuffers has, or for whoever asks.
set_mode() { at=/sys/class/graphics/fb$(fb $1)/bits_per_pixel && echo $(cat $at) >$at; }

# What the kernel says when something is wrong with itself.
complaints() { dmesg | grep -e BUG: -e Oops -e WARNING: -e 'protection fault' -e 'hung_task' -e 'blocked for more'; }
