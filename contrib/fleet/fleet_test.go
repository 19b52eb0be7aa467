package fleet

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The IDs of machine 00112233445566778899aabbccddeeff. A release that made others would leave slots locked.
func TestServiceID(t *testing.T) {
	machine, err := parseMachineID("00112233445566778899aabbccddeeff\n")
	if err != nil {
		t.Fatal(err)
	}
	for service, want := range map[string]string{
		"web":   "e61dd466489a7440b37412db3b192d70",
		"web@2": "af8f3b19cd9b6cdd3ab758bbcf3928df",
	} {
		if got := serviceID(machine, service); got != want {
			t.Errorf("%s: %s, want %s", service, got, want)
		}
	}
	other, err := parseMachineID("00112233445566778899AABBCCDDEEFE")
	if err != nil {
		t.Fatal(err)
	}
	if serviceID(machine, "web") == serviceID(other, "web") {
		t.Error("two machines have the same ID")
	}
}

func TestParseMachineID(t *testing.T) {
	for content, want := range map[string]string{
		"":                                     "found 0 characters of another form, expected 32 hexadecimal digits",
		"uninitialized\n":                      "found 13 characters of another form, expected 32 hexadecimal digits",
		"00112233":                             "found 8 characters of another form, expected 32 hexadecimal digits",
		"00112233-4455-6677-8899-aabbccddeeff": "found 36 characters of another form, expected 32 hexadecimal digits",
		strings.Repeat("0", 32):                "found only zeros, expected an ID",
		strings.Repeat("g", 32):                "found 32 characters of another form, expected 32 hexadecimal digits",
	} {
		if id, err := parseMachineID(content); err == nil || err.Error() != want {
			t.Errorf("%q: %x, %v; want %s", content, id, err, want)
		}
	}
}

func TestID(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	defer func(files []string) { machineIDFiles = files }(machineIDFiles)
	missing := filepath.Join(dir, "missing")
	first, second := write("first", "00112233445566778899aabbccddeeff\n"), write("second", strings.Repeat("1", 32)+"\n")
	empty := write("empty", "")

	ids := map[string]bool{}
	for _, files := range [][]string{{first}, {first, second}, {missing, first}, {second}} {
		machineIDFiles = files
		id, err := ID("web")
		if err != nil || !regexp.MustCompile("^[0-9a-f]{32}$").MatchString(id) {
			t.Errorf("%v: %q, %v", files, id, err)
		}
		ids[id] = true
	}
	if len(ids) != 2 {
		t.Errorf("two machines have the IDs %v", ids)
	}
	const advice = "; set the field ID of the gate to another name for this service on this machine"
	for _, tt := range []struct {
		files   []string
		service string
		want    string
	}{
		{[]string{first}, "", "fleet: the name of the service is empty"},
		{[]string{missing, missing + "2"}, "web", "fleet: this machine has no ID: open " + missing + ": no such file or directory" + advice},
		{[]string{empty, first}, "web", "fleet: this machine has no ID: " + empty +
			": found 0 characters of another form, expected 32 hexadecimal digits" + advice},
	} {
		machineIDFiles = tt.files
		if id, err := ID(tt.service); err == nil || err.Error() != tt.want {
			t.Errorf("%v: %q, %v\nwant %s", tt.files, id, err, tt.want)
		}
	}
}
