# What edu does, tried in a guest without a driver:
#   cargo xtask guest --socket /tmp/edu.sock --run examples/guest/edu.sh
. /lib/pci.sh

pci_find 1234:ed01
registers=$(bar 0) buffer=$(bar 2)
echo "edu is $(basename $pci), class $(cat $pci/class), registers at $registers, buffer at $buffer"

reg() { devmem $((registers + $1)) 32 $2; } # reg OFFSET [VALUE]: load or store
idle() { [ $(($(reg 0x08))) = 0 ]; }
expect 'ID' 0x31554445 $(reg 0x00)
reg 0x04 0x12345678
expect 'LIVENESS' 0xedcba987 $(reg 0x04)

echo '--- a job, and INTx at its end'
reg 0x0c 10
eventually idle
expect '10!' 3628800 $(reg 0x0c)
expect 'IRQ_STATUS' 1 $(reg 0x1c)
expect 'INTx' 1 $(intx)
reg 0x24 1
expect 'INTx' 0 $(intx)

echo '--- the buffer: the guest writes memory, the device changes it, the guest reads memory'
text='Hello from the guest'
at=$buffer
for byte in $(printf "$text" | hexdump -v -e '1/1 "%u "'); do
    devmem $at 8 $byte
    at=$((at + 1))
done
reg 0x10 ${#text}
reg 0x14 1
eventually idle
expect 'SUM' $(printf "$text" | hexdump -v -e '1/1 "%u\n"' | awk '{ sum += $1 } END { print sum }') $(reg 0x18)
reg 0x14 2
eventually idle
found=$(for at in $(seq ${#text}); do printf "\\x$(devmem $((buffer + at - 1)) 8 | cut -c 3-)"; done)
echo "$text -> $found"
[ "$found" = "$(echo $text | tr a-z A-Z)" ]
reg 0x24 2

echo '--- MSI-X: a message is a store of 4 bytes, here into memory where we can see it arrive'
message() { echo $((FREE_MEMORY + 4 * $1)); }          # where vector $1 goes
control() { devmem $((registers + 0x800 + 16 * $1 + 12)) 32 $2; } # its Vector Control: 1 masks it
arrived() { [ $(($(devmem $(message $1) 32))) = $((0xbe00 + $1)) ]; }
for vector in 0 1 2 3; do
    devmem $(message $vector) 32 0
    entry=$((0x800 + 16 * vector))
    reg $entry $(message $vector)
    reg $((entry + 4)) 0
    reg $((entry + 8)) $((0xbe00 + vector))
    control $vector 0
done
msix=$(capability 0x11)
config_write $((msix + 2)) 0x8000 2 # MSI-X Enable
for vector in 0 1 2 3; do
    reg 0x20 $((1 << vector))
    eventually arrived $vector
    echo "vector $vector: $(devmem $(message $vector) 32)"
    reg 0x24 0xf
    devmem $(message $vector) 32 0
done

echo '--- MSI-X: vector 2 is masked, and comes when it is unmasked'
control 2 1
reg 0x20 0xc
eventually arrived 3
expect 'where vector 2 goes' 0 $(devmem $(message 2) 32)
control 2 0
eventually arrived 2
reg 0x24 0xf

echo '--- MSI-X: all are masked; they are pending'
config_write $((msix + 2)) 0xc000 2 # MSI-X Enable, Function Mask
devmem $(message 1) 32 0
reg 0x20 2
expect 'pending bits' 2 $(reg 0xc00)
expect 'where vector 1 goes' 0 $(devmem $(message 1) 32)
config_write $((msix + 2)) 0x8000 2
eventually arrived 1
expect 'pending bits' 0 $(reg 0xc00)
config_write $((msix + 2)) 0 2

echo '--- a reset, asked for by the guest'
echo 1 >$pci/reset
expect 'LIVENESS' 0xffffffff $(reg 0x04)
expect 'IRQ_STATUS' 0 $(reg 0x1c)
