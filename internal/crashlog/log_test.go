package crashlog

import (
	"maps"
	"slices"
	"testing"
)

// checkContent compares a log, opened anew, with what it should contain.
func checkContent(t *testing.T, files [2]File, want map[string]string) *Log {
	t.Helper()
	l, content, err := Open(files)
	if err != nil {
		t.Fatal(err)
	}
	if got := texts(content); !maps.Equal(got, want) {
		t.Fatalf("read %q, want %q", got, want)
	}
	return l
}

func texts(content map[string][]byte) map[string]string {
	m := make(map[string]string, len(content))
	for name, value := range content {
		m[name] = string(value)
	}
	return m
}

func TestWrite(t *testing.T) {
	files := [2]File{new(memory), new(memory)}
	l, err := New(files, []Change{{"a", []byte("1")}, {"", []byte{}}})
	if err != nil {
		t.Fatal(err)
	}
	checkContent(t, files, map[string]string{"a": "1", "": ""})
	steps := []struct {
		changes []Change
		want    map[string]string
	}{
		{nil, map[string]string{"a": "1", "": ""}},
		{[]Change{{"a", []byte("2")}}, map[string]string{"a": "2", "": ""}},
		{[]Change{{"", nil}, {"b\x00", []byte{0, 0xff}}}, map[string]string{"a": "2", "b\x00": "\x00\xff"}},
		{[]Change{{"a", nil}, {"a", []byte("3")}, {"absent", nil}}, map[string]string{"a": "3", "b\x00": "\x00\xff"}},
		{[]Change{{"a", []byte("4")}, {"a", nil}}, map[string]string{"b\x00": "\x00\xff"}},
	}
	for _, step := range steps {
		if err := l.Write(step.changes...); err != nil {
			t.Fatal(err)
		}
		l = checkContent(t, files, step.want)
	}
	for _, step := range slices.Backward(steps) {
		if err := l.Replace(step.changes); err != nil {
			t.Fatal(err)
		}
	}
	checkContent(t, files, map[string]string{})
}
