# Boots systemd as process 1. It runs in new namespaces, with the root directory of the
# machine and the terminal for its console as its arguments. That directory stays as it is: /usr is read-only, the rest is a copy.
# It is no overlay, since inotify(7) does not tell everything there.
root=$1 console=$2
mount --make-rprivate /

# /sys is not needed until there is another one.
mount -t tmpfs -o mode=755 tmpfs /sys
cd /sys
for directory in "$root"/*; do
	case $directory in
	*/usr) mkdir usr && mount --bind "$directory" usr && mount -o remount,bind,ro usr ;;
	*/proc | */sys | */dev) mkdir "${directory##*/}" ;;
	*) cp -a "$directory" . ;;
	esac
done

mount -t proc proc proc
# Most variables below /proc/sys are those of the whole machine.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
for device in null zero full random urandom tty; do cp -a "/dev/$device" dev/; done
touch dev/console
mount --bind "$console" dev/console
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd

# What a first boot would set up, and units that have nothing to do here.
echo 0123456789abcdef0123456789abcdef >etc/machine-id
for unit in systemd-logind systemd-modules-load systemd-remount-fs systemd-sysctl systemd-binfmt \
	systemd-journal-catalog-update systemd-sysusers systemd-update-utmp systemd-tmpfiles-setup-dev-early; do
	ln -sf /dev/null "etc/systemd/system/$unit.service"
done
for unit in dev-hugepages dev-mqueue sys-kernel-debug sys-kernel-tracing sys-fs-fuse-connections; do
	ln -sf /dev/null "etc/systemd/system/$unit.mount"
done
for unit in 'modprobe@.service' getty.target timers.target systemd-ask-password-console.path systemd-ask-password-wall.path; do
	ln -sf /dev/null "etc/systemd/system/$unit"
done
mkdir -p etc/systemd/journald.conf.d etc/systemd/system-generators
for generator in usr/lib/systemd/system-generators/*; do # each daemon-reload would run them
	ln -s /dev/null "etc/systemd/system-generators/${generator##*/}"
done
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n' >etc/systemd/journald.conf.d/test.conf

mkdir old
pivot_root . old
umount -l old
rmdir old
exec env -i container=oci PATH=/usr/sbin:/usr/bin /sbin/init systemd.unit=multi-user.target
