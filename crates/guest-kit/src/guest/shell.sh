# For a person at the terminal. When they leave the shell, the guest powers off.

cat /greeting
[ ! -e /no-console ] || cat /no-console
sh
poweroff -f
