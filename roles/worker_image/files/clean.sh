# Takes away what makes this machine the one that it is, before an image is made of it. The lease goes on from memory:
# only the image must not begin with it.
set -eu

# Ways in, and the keys that this machine is known by
rm -f /etc/ssh/ssh_host_* /etc/ssh/mayfly_host_key* /etc/ssh/sshd_config.d/00-mayfly.conf /etc/sudoers.d/mayfly
for home in /root /home/*; do
  rm -rf "$home/.ssh" "$home/.ansible" "$home/.cache" "$home"/.*_history "$home/.lesshst"
done

# The lease, and what this worker has lived
rm -f /etc/systemd/system/sysinit.target.wants/mayfly-lease.service /etc/systemd/system/mayfly-lease.service
rm -rf /usr/local/sbin/mayfly-lease /var/lib/mayfly

# Its identity. cloud-init keeps user data, with the first host key, until it is cleaned.
command -v cloud-init >/dev/null && cloud-init clean --logs
rm -rf /var/lib/cloud/instance /var/lib/cloud/instances /var/lib/cloud/data /var/lib/cloud/sem /var/lib/cloud/scripts
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /var/lib/dhcp/*.leases

# Logs and temporary files
find /var/log -type f -delete
find /tmp /var/tmp -mindepth 1 -delete || :
sync
