#!/usr/bin/env bash
# Makes a bare node of one operating system, which labs start from.
#
#   box.sh SYSTEM OUTPUT_FOLDER PUBLIC_KEY_FILE
#
# SYSTEM                   debian-12 or debian-13
#
# OUTPUT_FOLDER/rootfs     the node's file system, for quick resets
# OUTPUT_FOLDER/node.box   the same as a box for Vagrant's LXC provider
#
# Needs root, debootstrap and network access to a Debian mirror. There is nothing of Kubernetes in the box, and nothing is hardened:
# that is the installer's work. The packages are those that the nodes could not fetch later, for they have no way to a mirror.
set -euo pipefail

case $1 in
  debian-12) suite=bookworm ;;
  debian-13) suite=trixie ;;
  *) echo "there is no box $1: debian-12 or debian-13" >&2; exit 2 ;;
esac
output=$(realpath -m "$2")
public_key=$(realpath "$3")
here=$(dirname "$(realpath "$0")")
root=$output/rootfs

packages=(
  systemd systemd-sysv dbus                    # an init that the installer can manage
  openssh-server sudo doas                     # how the installer gets in
  iproute2 iptables nftables ipset conntrack ethtool socat kmod   # what kubelet and the network plug-in call
  procps ca-certificates auditd libseccomp2    # sysctl, trust, audit rules, the container runtime's filter
)

mkdir -p "$output"
if ! debootstrap --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" "$suite" "$root" >"$output/debootstrap.log" 2>&1; then
  tail -n 15 "$output/debootstrap.log" >&2
  exit 1
fi
# debootstrap leaves mounted what is busy when it ends; nothing of the host's may get into the box.
for folder in proc sys; do
  if mountpoint --quiet "$root/$folder"; then umount --lazy "$root/$folder"; fi
done

# Login: an ordinary user with the lab's key and sudo without a password. No password is set anywhere.
chroot "$root" useradd --create-home --shell /bin/bash vagrant
echo 'vagrant ALL=(ALL) NOPASSWD:ALL' >"$root/etc/sudoers.d/vagrant"
chmod 0440 "$root/etc/sudoers.d/vagrant"
owner=$(chroot "$root" id -u vagrant)
install -d -m 0700 -o "$owner" -g "$owner" "$root/home/vagrant/.ssh"
install -m 0600 -o "$owner" -g "$owner" "$public_key" "$root/home/vagrant/.ssh/authorized_keys"

# Identity: each node makes its own at first boot. debootstrap copies the build host's name, and both systemd and dbus leave a machine-id.
rm -f "$root"/etc/ssh/ssh_host_*_key* "$root/var/lib/dbus/machine-id" "$root/etc/hostname"
: >"$root/etc/machine-id"
# No name server can be reached: an empty list fails at once where a wrong one would make sudo wait.
: >"$root/etc/resolv.conf"
echo '127.0.0.1 localhost' >"$root/etc/hosts"

cat >"$root/etc/systemd/system/node-identity.service" <<'UNIT'
[Unit]
Description=Host key and resolvable name of this node
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key.pub

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo "127.0.1.1 $(uname -n)" >>/etc/hosts'
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -C "" -f /etc/ssh/ssh_host_ed25519_key

[Install]
WantedBy=multi-user.target
UNIT

# In a container systemd leaves `/` private; pods whose mounts propagate need it shared, as it is on any other machine.
cat >"$root/etc/systemd/system/shared-root.service" <<'UNIT'
[Unit]
Description=Shared mount propagation of the root file system
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/mount --make-rshared /

[Install]
WantedBy=sysinit.target
UNIT

# Whoever sees sshd answer may log in: before this unit pam_nologin still turns ordinary users away.
mkdir -p "$root/etc/systemd/system/ssh.service.d"
printf '[Unit]\nAfter=systemd-user-sessions.service\n' >"$root/etc/systemd/system/ssh.service.d/after-user-sessions.conf"

chroot "$root" systemctl enable node-identity.service shared-root.service >/dev/null 2>&1
# Units that wait for hardware, for a network that a container has from the start, or for the kernel's audit trail.
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-networkd-wait-online.service \
  getty@tty1.service console-getty.service apt-daily.timer apt-daily-upgrade.timer auditd.service audit-rules.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*

install -m 0644 "$here/lxc/metadata.json" "$output/metadata.json"
install -m 0644 "$here/lxc/config" "$output/lxc-config"
# Compressed as lightly as can be: the box never leaves this machine.
tar -C "$output" --numeric-owner -I 'gzip -1' -cf "$output/rootfs.tar.gz" ./rootfs
tar -C "$output" -cf "$output/node.box" ./metadata.json ./lxc-config ./rootfs.tar.gz
rm -f "$output/rootfs.tar.gz" "$output/lxc-config" "$output/metadata.json" "$output/debootstrap.log"
