#!/bin/sh
# Serves SSH on many loopback addresses, a server each. Whoever logs in sees this machine's file system; what is written to it stays in
# memory and is gone with the namespaces that hosts.rs runs this in.
#
#   hosts.sh FOLDER PACKAGE PORT ADDRESS...
#
# FOLDER has the servers' key `host` and the public half `user.pub` of the key that may log in as root; PACKAGE is openssh-server
# unpacked.
set -eu
folder=$1 package=$2 port=$3
shift 3

memory=$folder/memory
root=$memory/root
mkdir -p "$memory"
mount -t tmpfs -o mode=0700 tmpfs "$memory"
mkdir "$memory/written" "$memory/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$memory/written,workdir=$memory/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
# A home without anybody's shell start-up files.
mount -t tmpfs -o mode=0700 tmpfs "$root/root"

cp -a "$package/usr/." "$root/usr/"
mkdir "$root/run/sshd"
grep -q '^sshd:' "$root/etc/passwd" ||
    echo 'sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin' >>"$root/etc/passwd"
# A root whose password is locked may not log in with a key either.
sed -i 's/^root:[^:]*:/root:*:/' "$root/etc/shadow"
cp "$folder/host" "$folder/user.pub" "$root/etc/ssh/"
cat >"$root/etc/ssh/hosts_config" <<CONFIG
Port $port
HostKey /etc/ssh/host
AuthorizedKeysFile /etc/ssh/user.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
PrintMotd no
LogLevel ERROR
CONFIG

# -r: a server goes on with a connection in a copy of itself, not in its program started anew. Hosts have processors of their own; here all
# share this machine's, and starting 200 programs was a third of what kubezt waited for, and next to nothing of what Ansible did.
exec chroot "$root" /bin/sh -c '
for address; do
    /usr/sbin/sshd -D -r -f /etc/ssh/hosts_config -o "ListenAddress=$address" &
done
wait' hosts "$@"
