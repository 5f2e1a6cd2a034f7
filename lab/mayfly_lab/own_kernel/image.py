# SPDX-License-Identifier: GPL-3.0-or-later
"""The image with a kernel of its own: a folder of the cache with the disk, and the kernel that runs it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from mayfly_lab.addresses import RESOLVER
from mayfly_lab.commands import run
from mayfly_lab.image import SIZE_GIB, SUITE, bootstrap, ensure, make_disk, named

LABEL = "own-kernel"  # of the root file system: what tells that a volume boots so
AMI_OWNER, AMI_NAME = "999900001111", "lab-debian-12-own-kernel-amd64"  # the account is nobody's
DISK, KERNEL = "own-kernel.img", "linux"
PACKAGES = [
    "systemd-sysv",
    "dbus",
    "udev",
    "openssh-server",
    "python3",
    "python3-certifi",  # botocore trusts what this names, else a list of its own without the lab's authority
    "iproute2",
    "ca-certificates",
    "sudo",
    "procps",
    "netbase",
    "kmod",
    "nftables",
    "util-linux",
    "fdisk",
    "user-mode-linux",
    "lvm2",
    "cryptsetup-bin",
    "e2fsprogs",
    "xfsprogs",
    "btrfs-progs",
    "dosfstools",
    "ntfs-3g",
    "fuse3",
    "nfs-common",
    "acl",
    "attr",
]
_TREE = Path(__file__).parent / "files"
_FILES = {
    "etc/resolv.conf": f"nameserver {RESOLVER}\n",
    "etc/ssh/sshd_config.d/lab.conf": "UseDNS no\n",
    "etc/machine-id": "",
    "etc/fstab": "",
    "etc/hostname": "",
    # Nobody logs in before it is allowed, and nothing says when it is: sshd is up long before the rest.
    "etc/tmpfiles.d/systemd-nologin.conf": "",
}
_UNITS = ("lab-start.service", "lab-script.service", "lab-disks.service")
# A process takes a hundredth of a second to start on this kernel: what nobody needs here stays away. *Measured* on two
# busy cores: 20 s until SSH answers with all of it, 8 s without.
_MASKED = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "getty@.service",
    "lvm2-monitor.service",
    "modprobe@configfs.service",
    "modprobe@dm_mod.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
    "proc-sys-fs-binfmt_misc.automount",
    "rpc-statd-notify.service",
    "rpcbind.service",
    "rpcbind.socket",
    "serial-getty@.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-hwdb-update.service",
    "systemd-journal-flush.service",
    "systemd-logind.service",
    "systemd-machine-id-commit.service",
    "systemd-modules-load.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-sysctl.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-udev-trigger.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
    "systemd-user-sessions.service",
]


def place(cache: Path) -> Path:
    """The folder that holds `DISK` and `KERNEL` once they are built."""
    tree = [(str(path.relative_to(_TREE)), path.read_text()) for path in sorted(_TREE.rglob("*")) if path.is_file()]
    authority = (cache / "ca.pem").read_text()
    recipe = repr((SUITE, PACKAGES, tree, sorted(_FILES.items()), _UNITS, _MASKED, SIZE_GIB, authority))
    return named(cache, "debian-12-own-kernel", recipe)


def ensure_own_kernel(cache: Path) -> Path:
    """`place`, built if this recipe has not been built yet (about two minutes).

    Whoever calls this where others may do the same holds a lock. Raises CommandFailed.
    """
    return ensure(place(cache), "mayfly_lab.own_kernel.image")


def _build(folder: Path, authority: str, image: Path) -> None:
    root, made = folder / "root", folder / "image"
    made.mkdir()
    bootstrap(root, PACKAGES, _FILES, _MASKED, authority)
    shutil.copytree(_TREE, root, dirs_exist_ok=True)
    run("systemctl", f"--root={root}", "enable", *_UNITS)
    system = root / "etc/systemd/system"
    (system / "ctrl-alt-del.target").symlink_to("/lib/systemd/system/poweroff.target")  # the power button
    (root / "etc/systemd/system-generators").mkdir()
    for generator in (root / "lib/systemd/system-generators").iterdir():
        (root / "etc/systemd/system-generators" / generator.name).symlink_to("/dev/null")
    # The kernel's modules come with the very kernel that boots.
    modules = next((root / "usr/lib/uml/modules").iterdir())
    shutil.copytree(modules, root / "lib/modules" / modules.name, symlinks=True)
    run("chroot", root, "depmod", modules.name)
    shutil.copy2(root / "usr/bin/linux.uml", made / KERNEL)
    shutil.rmtree(modules)
    (root / "usr/bin/linux.uml").unlink()
    make_disk(root, made / DISK, LABEL)
    made.replace(image)


if __name__ == "__main__":
    _build(Path(sys.argv[1]), (Path(sys.argv[2]) / "ca.pem").read_text(), Path(sys.argv[3]))
