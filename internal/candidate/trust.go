package candidate

import "strconv"

const (
	groupWrite = 0o020
	otherWrite = 0o002
)

// checkTrust rejects a candidate by which other users could have a process with such
// credentials run what they have written: a user who can write the file gets the
// rights of the process. What is so with the running image, too, does not count
// against the candidate.
func checkTrust(self Credentials, candidate, running ID) *Rejection {
	var found, expected string
	switch {
	case !self.Privileged:
		return nil
	case candidate.UID != 0 && candidate.UID != self.EUID && candidate.UID != running.UID:
		expected = "one that belongs to root"
		if running.UID != 0 {
			expected += " or UID " + formatID(running.UID) + ", the owner of the running image"
		}
		found = "a file that belongs to UID " + formatID(candidate.UID)
		expected += ": chown it"
	case candidate.Perm&otherWrite != 0 && running.Perm&otherWrite == 0:
		found = "a file that everybody can write"
		expected = "one that only its owner can write: chmod o-w it"
	case candidate.Perm&groupWrite != 0 && (running.Perm&groupWrite == 0 || candidate.GID != running.GID):
		found = "a file that GID " + formatID(candidate.GID) + " can write"
		expected = "one that only its owner can write: chmod g-w it"
	default:
		return nil
	}
	return rejected(found, expected+", or set TrustAnyOwner (this process has more rights than its user)")
}

func formatID(id uint32) string { return strconv.FormatUint(uint64(id), 10) }
