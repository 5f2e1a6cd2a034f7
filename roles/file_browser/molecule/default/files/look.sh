#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# What the page's process is, what it sees of the worker, and what of the network.
set -eu
process=$(systemctl show --property MainPID --value mayfly-browser.service)
stat -c 'owner %U' "/proc/$process"
for name in CapEff CapBnd CapAmb NoNewPrivs Seccomp; do
    awk -v name="$name:" '$1 == name { print $1, $2 }' "/proc/$process/status"
done
ls -1 "/proc/$process/root" "/proc/$process/root/run"
nsenter --target "$process" --net ip -brief link
