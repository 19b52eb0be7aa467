package autorestart

import "strconv"

// credentials are what decides whom a process has to be protected from.
type credentials struct {
	euid uint32

	// privileged: the process has more rights than its user. It is root's, or
	// setuid, or has capabilities.
	privileged bool
}

// checkTrust returns an *RejectedError if a process with such credentials could be
// made to run, by way of the candidate, what others have written: whoever can
// write the file has the rights of the process. What was so already with the
// running image is not held against the candidate.
func checkTrust(self credentials, candidate, running fileID) error {
	const groupWrite, otherWrite = 0o020, 0o002
	var found, expected string
	switch {
	case !self.privileged:
		return nil
	case candidate.uid != 0 && candidate.uid != self.euid && candidate.uid != running.uid:
		expected = "one that belongs to root"
		if running.uid != 0 {
			expected += " or UID " + formatID(running.uid) + ", the owner of the running image"
		}
		found = "a file that belongs to UID " + formatID(candidate.uid)
		expected += ": chown it"
	case candidate.perm&otherWrite != 0 && running.perm&otherWrite == 0:
		found = "a file that everybody can write"
		expected = "one that only its owner can write: chmod o-w it"
	case candidate.perm&groupWrite != 0 && (running.perm&groupWrite == 0 || candidate.gid != running.gid):
		found = "a file that GID " + formatID(candidate.gid) + " can write"
		expected = "one that only its owner can write: chmod g-w it"
	default:
		return nil
	}
	return unfit(found, expected+", or set TrustAnyOwner (this process has more rights than its user)")
}

func formatID(id uint32) string { return strconv.FormatUint(uint64(id), 10) }
