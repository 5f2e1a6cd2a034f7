# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine image: Debian with systemd, sshd and cloud-init, built once, kept in the cache as an ext4 file."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mayfly_lab.addresses import RESOLVER
from mayfly_lab.commands import CommandFailed, run

SIZE_GIB = 8
_LIMIT = 1800.0  # seconds of a build
SUITE = "bookworm"
PACKAGES = [
    "systemd-sysv",
    "dbus",
    "libpam-systemd",
    "openssh-server",
    "cloud-init",
    "python3",
    "iproute2",
    "ca-certificates",
    "sudo",
    "procps",
    "netbase",
    "e2fsprogs",
    "xfsprogs",
    "btrfs-progs",
    "util-linux",
    "fdisk",
    "kmod",
    "nftables",
]

# All that cloud-init is told: it reads this about ten times in a boot, with a parser written in Python.
_CLOUD_CONFIG = """\
# The lab lays the network itself.
datasource_list: [Ec2]
datasource: {Ec2: {timeout: 5, max_wait: 20}}
network: {config: disabled}
users: [default]
disable_root: true
ssh_genkeytypes: [ed25519]
manage_etc_hosts: localhost
cloud_init_modules: [bootcmd, write-files, set_hostname, update_hostname, update_etc_hosts, users-groups, ssh]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user]
log_cfgs: [/etc/cloud/logging.conf]
output: {all: ">> /var/log/cloud-init-output.log"}
system_info:
  distro: debian
  default_user: {name: admin, lock_passwd: true, shell: /bin/bash, sudo: ["ALL=(ALL) NOPASSWD:ALL"]}
  paths: {cloud_dir: /var/lib/cloud/, templates_dir: /etc/cloud/templates/}
  ssh_svcname: ssh
"""
_CLOUD_LOGGING = """\
[loggers]
keys=root
[handlers]
keys=console,file
[formatters]
keys=plain
[logger_root]
level=DEBUG
handlers=console,file
[handler_console]
class=StreamHandler
level=WARNING
formatter=plain
args=(sys.stderr,)
[handler_file]
class=FileHandler
level=DEBUG
formatter=plain
args=('/var/log/cloud-init.log', 'a', 'UTF-8')
[formatter_plain]
format=%(asctime)s - %(filename)s[%(levelname)s]: %(message)s
"""
# All stages in one process, as later releases have them (cloud-init --all-stages): a start is 0.25 CPU s of imports.
# The first one is left out: it would ask for an address, which the lab has given already. What it removes is removed
# here, so that a machine from another one's image sees that it is new. The last one has a process of its own, after the
# system has started, where the user data have left it a script to run.
_CLOUD_STAGES = """\
import sys
from pathlib import Path

from cloudinit.cmd.main import main

state = Path("/var/lib/cloud")
for name in ("instance", "data/status.json", "data/result.json"):
    (state / name).unlink(missing_ok=True)
failed = [main(["cloud-init", "init"]), main(["cloud-init", "modules", "--mode=config"])]
if not any((state / "instance/scripts").glob("*")):
    failed.append(main(["cloud-init", "modules", "--mode=final"]))
sys.exit(any(failed))
"""
_CLOUD_START = """\
[Service]
ExecStart=
ExecStart=/usr/bin/python3 /usr/local/lib/cloud-init-stages.py
"""
_CLOUD_FINAL = """\
[Unit]
After=cloud-init.service
ConditionDirectoryNotEmpty=/var/lib/cloud/instance/scripts
"""
# cloud-init tells EC2 by the machine's firmware tables, which a container does not have.
_FIRMWARE = """

def read_dmi_data(key):
    return {"system-uuid": "ec2" + "0" * 29, "system-serial-number": "ec2" + "0" * 29}.get(key)
"""
_FILES = {
    "etc/cloud/cloud.cfg": _CLOUD_CONFIG,
    "etc/cloud/logging.conf": _CLOUD_LOGGING,
    "etc/cloud/ds-identify.cfg": "policy: enabled\n",
    "etc/systemd/system/cloud-init.service.d/lab.conf": _CLOUD_START,
    "etc/systemd/system/cloud-final.service.d/lab.conf": _CLOUD_FINAL,
    "usr/local/lib/cloud-init-stages.py": _CLOUD_STAGES,
    "etc/ssh/sshd_config.d/lab.conf": "UseDNS no\n",
    "etc/resolv.conf": f"nameserver {RESOLVER}\n",
    "etc/machine-id": "",
    "etc/fstab": "",
    "etc/hostname": "",
}
# What a machine without a kernel, a console and devices of its own has no use for: each is some milliseconds of a boot.
_MASKED = [
    "cloud-config.service",
    "cloud-init-hotplugd.socket",
    "cloud-init-local.service",
    "console-getty.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-fs-fuse-connections.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-pstore.service",
    "systemd-remount-fs.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
    "e2scrub_reap.service",
    "e2scrub_all.timer",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "fstrim.timer",
]
# All that systemd runs at each boot and each daemon-reload but that for /etc/fstab and that which heeds systemd.mask=,
# with which faults are played. What cloud-init's would decide is decided here.
_GENERATORS = [
    "cloud-init-generator",
    "systemd-cryptsetup-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-system-update-generator",
    "systemd-sysv-generator",
    "systemd-veritysetup-generator",
]


def ensure_image(cache: Path) -> Path:
    """The path of the machine image, built if this recipe has not been built yet (about a minute).

    Whoever calls this where others may do the same holds a lock. Raises CommandFailed.
    """
    authority = (cache / "ca.pem").read_text()
    recipe = repr((SUITE, PACKAGES, sorted(_FILES.items()), _FIRMWARE, _MASKED, _GENERATORS, SIZE_GIB, authority))
    return ensure(named(cache, "debian-12", recipe, ".img"), "mayfly_lab.image")


def named(cache: Path, name: str, recipe: str, suffix: str = "") -> Path:
    """Where what is built by a recipe lies; another recipe has another place."""
    return cache / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}{suffix}"


def ensure(image: Path, builder: str) -> Path:
    """``image``, made by ``python -m BUILDER FOLDER CACHE IMAGE`` where it is missing; raises CommandFailed."""
    if not image.exists():
        cache = image.parent
        remove_unfinished(cache)
        print(f"building the machine image {image.name} (once, one to two minutes)", flush=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as folder:
            # Whatever kills this process ends the whole build, with its mounts.
            with_it = ["setpriv", "--pdeathsig", "KILL"]
            apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
            build = [sys.executable, "-m", builder, folder, str(cache), str(image)]
            command = [*with_it, *apart, *build]
            try:
                done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False, timeout=_LIMIT)
            except subprocess.TimeoutExpired:
                raise CommandFailed(f"the machine image was not built in {_LIMIT:.0f} s") from None
            if done.returncode or not image.exists():
                raise CommandFailed(f"the machine image was not built: exit code {done.returncode}")
    return image


def remove_unfinished(cache: Path) -> None:
    """Remove what builds that were killed have left; raises CommandFailed when something of it is still in use."""
    for folder in sorted(cache.glob("build-*")):
        lines = Path("/proc/self/mounts").read_text().splitlines()
        below = [target for target in (line.split()[1] for line in lines) if target.startswith(f"{folder}/")]
        for target in reversed(below):
            run("umount", target)  # else the removal would go on in this machine's own /dev
        shutil.rmtree(folder)


def bootstrap(root: Path, packages: list[str], files: dict[str, str], masked: list[str], authority: str) -> None:
    """Debian with these packages, text files and masked units, without an identity, that trusts the lab's authority."""
    run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}", SUITE, root, wait=900)
    for name, text in files.items():
        (root / name).unlink(missing_ok=True)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "etc/mtab").unlink(missing_ok=True)
    (root / "etc/mtab").symlink_to("/proc/self/mounts")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    run("systemctl", f"--root={root}", "mask", *masked)
    shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
    certificates = root / "usr/local/share/ca-certificates"
    certificates.mkdir(parents=True, exist_ok=True)
    (certificates / "mayfly-lab.crt").write_text(authority)
    run("chroot", root, "update-ca-certificates", wait=120)
    (root / "dev").chmod(0o755)


def make_disk(root: Path, disk: Path, label: str) -> None:
    """A whole-disk ext4 of `SIZE_GIB` that holds a root file system."""
    with disk.open("wb") as stream:
        stream.truncate(SIZE_GIB << 30)
    options = "lazy_itable_init=1,lazy_journal_init=1"
    run("mkfs.ext4", "-q", "-L", label, "-E", options, "-d", root, disk, wait=300)


def _build(folder: Path, authority: str, image: Path) -> None:
    root = folder / "root"
    bootstrap(root, PACKAGES, _FILES, _MASKED, authority)
    for file in (root / "etc/cloud/cloud.cfg.d").iterdir():
        if str(file.relative_to(root)) not in _FILES:
            file.unlink()
    run("systemctl", f"--root={root}", "add-wants", "multi-user.target", "cloud-init.target")
    generators = root / "etc/systemd/system-generators"
    generators.mkdir()
    for name in _GENERATORS:
        (generators / name).symlink_to("/dev/null")
    for name in ("etc", "var"):  # what a first boot does after a change of /usr has been done
        (root / name / ".updated").touch()
    with (root / "usr/lib/python3/dist-packages/cloudinit/dmi.py").open("a") as firmware:
        firmware.write(_FIRMWARE)
    unfinished = folder / "image"
    make_disk(root, unfinished, "root")
    unfinished.replace(image)


if __name__ == "__main__":
    _build(Path(sys.argv[1]), (Path(sys.argv[2]) / "ca.pem").read_text(), Path(sys.argv[3]))
