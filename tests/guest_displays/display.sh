# The guest's half of the tests. Each function fails if what it does does not succeed.

. /lib/pci.sh

unbind() { echo $(basename $pci) >$pci/driver/unbind && [ ! -e $pci/driver ]; }

bind() { echo $(basename $pci) >/sys/bus/pci/drivers/$1/bind && [ "$(basename $(readlink $pci/driver))" = $1 ]; }

# What the kernel has said of the display's drivers, without the times.
said() { dmesg | sed 's/^\[[^]]*\] //' | grep -e mdpy -e bochs -e '\[drm\]'; }

# /dev/fb0 as user space finds it: WIDTH,HEIGHT STRIDE BITS
framebuffer() { cat /sys/class/graphics/fb0/virtual_size /sys/class/graphics/fb0/stride /sys/class/graphics/fb0/bits_per_pixel | xargs; }

# draw FILE: a picture through /dev/fb0, in one write: the kernel misses one that ends a line within which it begins.
draw() { dd if=$1 of=/dev/fb0 bs=16M conv=notrunc 2>/dev/null; }

# pixel NUMBER: 32 bits of the first BAR, without a driver's help.
pixel() { devmem $(($(bar 0) + 4 * $1)) 32; }

# Takes the framebuffers from the kernel's text console, whose cursor would come between.
free_console() {
    for console in /sys/class/vtconsole/*; do
        case "$(cat $console/name)" in
            *frame*) echo 0 >$console/bind ;;
        esac
    done
}
