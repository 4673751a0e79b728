# Runs the scripts that the host sends: a line with the script's number, the script, a line with a dot and the number.
# What it prints stands between two marks with that number; the second has its exit status.

if [ "$1" != again ]; then
    stty raw -echo # as it is, in both directions, at any length
    printf '\036ready\036'
    # A script that exits takes its shell along; functions and variables live until then.
    while :; do sh /console again; done
fi

trap 'printf "\036end %s %s\036" "$guest_kit" "$?"' EXIT
# Not by `read`: busybox's forgets what it has of a line when a child ends meanwhile.
guest_kit_next() { awk 'NR == 1 { end = "." $0 } { print } $0 == end { exit }'; }
while guest_kit_script=$(guest_kit_next) && [ -n "$guest_kit_script" ]; do
    guest_kit=${guest_kit_script##*.}
    guest_kit_script=${guest_kit_script#"$guest_kit"}
    printf '\036begin %s\036' "$guest_kit"
    eval "${guest_kit_script%."$guest_kit"}" </dev/null
    printf '\036end %s %s\036' "$guest_kit" "$?"
done
