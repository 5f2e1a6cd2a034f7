#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Installs packages by the names that the machine's own package manager knows, and package files by their paths or
# https addresses. Ansible's modules would need a library that small images lack, as python3-apt.
set -eu
exec </dev/null
# What timeout puts into the background is stopped when it turns to the terminal that Ansible has given it.
within='timeout --foreground'
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fetch='import shutil, sys, urllib.request as web
with web.urlopen(sys.argv[1], timeout=60) as answer, open(sys.argv[2], "wb") as file: shutil.copyfileobj(answer, file)'

names=
for each in "$@"; do
  shift
  case $each in
    https://*)
      file=$folder/${each##*/}
      $within 600 /usr/bin/python3 -c "$fetch" "$each" "$file"
      set -- "$@" "$file" ;;
    /*) set -- "$@" "$each" ;;
    *)
      names=yes
      set -- "$@" "$each" ;;
  esac
done

if command -v apt-get >/dev/null; then
  # Files need no lists, so that they can be installed where no mirror is reached.
  [ -z "$names" ] || $within 300 apt-get --quiet --yes update
  $within 1500 apt-get --quiet --yes --no-install-recommends --option DPkg::Lock::Timeout=120 install "$@"
  $within 60 apt-get --quiet clean
else
  $within 1500 dnf --quiet --assumeyes install "$@"
fi
