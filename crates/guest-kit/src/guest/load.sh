#!/bin/sh
# load MODULE [PARAMETER=VALUE]...: loads a kernel module that was laid into the guest, after those that it depends on.

order=/lib/modules/$1.order
shift
for module in $(cat $order); do
    name=$(basename $module .ko | tr - _)
    grep -q "^$name " /proc/modules && continue
    case $module in
        "$(tail -n 1 $order)") insmod $module "$@" ;;
        *) insmod $module ;;
    esac || exit
done
