# On the host: drives a guest's console. `console PROGRAM CONTROL-SOCKET`; what it prints was on the port.
set -e
expect() { "$program" expect -c "$control" 0 "$@" --timeout 60s; }
send() { "$program" send -c "$control" 0 "$1" --timeout 60s; }
# Without $: behind it busybox asks the terminal where the cursor is.
prompt='guest# '
program=$1 control=$2

# The kernel's own words, of the beginning and of the end of its boot.
expect 'Linux version [^ ]+'
expect 'Run /init as init process'
expect "$prompt"

send 'echo $((6 * 7)) bottles\n'
expect '^42 bottles$'
expect "$prompt"

# How a command ended.
send 'ls /proc/self/no-such-file; echo "status $?"\n'
expect '^ls: .*: No such file or directory$'
expect '^status 1$'
expect "$prompt"

# A command that has to be interrupted.
send 'sh -c "echo sleeps; exec sleep 1000"\n'
expect '^sleeps$'
send '\x03'
expect '^\^C'
expect "$prompt"
send 'echo "status $?"\n'
expect '^status 130$'
expect "$prompt"

# The line before the last one, by two arrows up, with another end.
send 'echo one\n'
expect '^one$'
expect "$prompt"
send 'echo two\n'
expect '^two$'
expect "$prompt"
send '\e[A\e[A\b\bnly\n'
expect '^only$'
expect "$prompt"
