package execve

import (
	"strings"
	"testing"
)

func TestLinuxLimit(t *testing.T) {
	for _, test := range []struct {
		stack uint64
		all   int
	}{
		{0, 128 << 10}, {512 << 10, 128 << 10}, {8 << 20, 2 << 20}, {24 << 20, 6 << 20}, {1 << 40, 6 << 20}, {^uint64(0), 6 << 20},
	} {
		if l := linuxLimit(test.stack, 4096); l.all != test.all || l.one != 128<<10 {
			t.Errorf("stack %d: %+v, want %d", test.stack, l, test.all)
		}
	}
}

// TestSizeErrorSaysWhatIsTooLong: the operator has to find it.
func TestSizeErrorSaysWhatIsTooLong(t *testing.T) {
	l := execLimit{one: 100, all: 1000}
	long := strings.Repeat("x", 200)
	for want, err := range map[string]error{
		"argument 1 would take 201 bytes; the limit of execve(2) is 100, for each":       l.check("/app", []string{"app", long}, nil),
		"the variable BIG would take 205 bytes; the limit of execve(2) is 100, for each": l.check("/app", []string{"app"}, []string{"A=b", "BIG=" + long}),
		"arguments and environment would take":                                           l.check("/app", nil, strings.Split(strings.Repeat("A=b,", 200), ",")),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := l.check("/app", []string{"app"}, []string{"A=b"}); err != nil {
		t.Error(err)
	}
}
