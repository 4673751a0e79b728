# What tally does, tried in a guest without a driver:
#   cargo xtask guest --socket /tmp/tally.sock --run examples/guest/tally.sh
. /lib/pci.sh

pci_find 1234:7a11
echo "tally is $(basename $pci), class $(cat $pci/class), its registers are at $(bar 0)"
id=$(bar 0) count=$(($(bar 0) + 4)) limit=$(($(bar 0) + 8))

expect 'class' 0x088000 $(cat $pci/class)
expect 'ID' 0x594c4154 $(devmem $id 32)
start=$(devmem $count 32)
devmem $limit 32 $((start + 2))
expect 'LIMIT' $((start + 2)) $(devmem $limit 32)

for more in 1 2 3; do
    devmem $count 32 0
    expect 'COUNT' $((start + more)) $(devmem $count 32)
    expect 'INTx' $((more == 2)) $(intx)
done
