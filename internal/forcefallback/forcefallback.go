//go:build linux

// Package forcefallback takes features of the kernel away from a thread, and from the
// processes that the thread starts or executes. Tests then see what the library does
// without a system call or a file. An error says why a feature can't be taken away here.
//
// The caller locks the goroutine to its thread, and never unlocks it.
package forcefallback

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// NoPidfds denies every system call about pidfds.
func NoPidfds(errno unix.Errno) error {
	return Deny(
		Denial{Call: unix.SYS_WAITID, Arg: 0, Value: unix.P_PIDFD, Errno: errno},
		Denial{Call: unix.SYS_PIDFD_OPEN, Arg: -1, Errno: errno},
		Denial{Call: unix.SYS_PIDFD_SEND_SIGNAL, Arg: -1, Errno: errno},
	)
}

// NoProc hides /proc.
func NoProc() error {
	if err := PrivateMounts(); err != nil {
		return err
	}
	return Hide("/proc")
}

// ClosedProc hides /proc by a directory that can't be searched, as InaccessiblePaths= in
// systemd.exec(5) does. It takes away the capabilities to search it all the same.
func ClosedProc() error {
	if err := NoProc(); err != nil {
		return err
	}
	const dac = 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	err := unix.Capget(&header, &sets[0])
	sets[0].Effective &^= dac
	sets[0].Permitted &^= dac
	return errors.Join(err,
		os.Chmod("/proc", 0),
		unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_DAC_OVERRIDE, 0, 0, 0),
		unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_DAC_READ_SEARCH, 0, 0, 0),
		unix.Capset(&header, &sets[0]))
}

// PrivateMounts gives the calling thread mounts of its own.
func PrivateMounts() error {
	if os.Geteuid() != 0 {
		return errors.New("needs root for a mount namespace")
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w", err)
	}
	return nil
}

// Hide mounts an empty file system over a directory. The thread needs
// [PrivateMounts], or it hides the directory from every process.
func Hide(path string) error {
	if err := unix.Mount("none", path, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mounting over %s: %w", path, err)
	}
	return nil
}

// ReadOnly makes all file systems read-only. The thread needs [PrivateMounts], or it does so
// for every process.
func ReadOnly() error {
	err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	return nil
}

// OwnUserNamespace makes a process that is about to be started root of a user
// namespace of its own, which has limits of its own.
func OwnUserNamespace(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
}

// UserNamespaces returns an error where there are no user namespaces.
func UserNamespaces() error {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	return cmd.Run()
}
