# For a person at the terminal. When they leave the shell, the guest powers off.

cat /greeting
sh
poweroff -f
