package reap

import "testing"

func TestClassify(t *testing.T) {
	ours := [2]int{10, 20}
	for _, tt := range []struct {
		name string
		e    evidence
		want verdict
	}{
		{"nothing known", evidence{pid: 99, session: -1, ours: ours}, orphanUnlessHeld},
		{"older than this image", evidence{pid: 99, session: 20, ours: ours, older: true}, orphan},
		{"our session", evidence{pid: 99, session: 20, ours: ours}, orphanUnlessHeld},
		{"our session at the start", evidence{pid: 99, session: 10, ours: ours}, orphanUnlessHeld},
		{"its own session", evidence{pid: 99, session: 99, ours: ours}, orphanUnlessHeld},
		{"a third session", evidence{pid: 99, session: 50, ours: ours}, orphan},
		{"a session outside of the PID namespace", evidence{pid: 99, session: 0, ours: ours}, orphan},
		{"ours is outside, too", evidence{pid: 99, session: 0, ours: [2]int{0, 1}}, orphanUnlessHeld},
		{"another thread's child", evidence{pid: 99, session: 20, ours: ours, list: listOther}, ownChild},
		{"the main thread's child", evidence{pid: 99, session: 20, ours: ours, list: listMain}, orphanUnlessHeld},
		{"missed in the lists", evidence{pid: 99, session: 20, ours: ours, list: listMissed}, undecided},
		{"inherited, whatever else", evidence{pid: 99, session: 20, ours: ours, kin: Traced, list: listMissed, inherited: true}, orphan},
		{"traced, of a third session", evidence{pid: 99, session: 50, ours: ours, kin: Traced}, ownChild},
		{"cloned without SIGCHLD, older", evidence{pid: 99, session: 20, ours: ours, kin: Cloned, older: true}, ownChild},
		{"a third session, and it can't be told whether it is traced", evidence{pid: 99, session: 50, ours: ours, kin: UnknownKin}, undecided},
		{"a third session, missed", evidence{pid: 99, session: 50, ours: ours, list: listMissed}, orphan},
	} {
		if got := classify(tt.e); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
