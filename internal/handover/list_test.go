package handover

import (
	"slices"
	"strings"
	"testing"
)

func TestListRoundTrip(t *testing.T) {
	for _, list := range [][]string{nil, {""}, {"", ""}, {"app", "-x=1,2", "a;b%0", "%", "\xff\n"}, {"A=b", "B=%1%2;,,"}} {
		text := FormatList(list)
		got, ok := parseList(text)
		if !ok || !slices.Equal(got, list) {
			t.Errorf("%q: became %q, %t; want %q", text, got, ok, list)
		}
		if strings.Contains(text, ",") {
			t.Errorf("%q: an older version takes what follows the comma for a key", text)
		}
	}
}

func TestParseListDamaged(t *testing.T) {
	for _, text := range []string{"", "a;", ";a", ";%", ";%3;", ";%", ";%/;"} {
		if list, ok := parseList(text); ok {
			t.Errorf("%q became %q", text, list)
		}
	}
}

// FuzzParseList: what is read is what was written.
func FuzzParseList(f *testing.F) {
	f.Add(";a;b%0%1%2;")
	f.Add(";;")
	f.Fuzz(func(t *testing.T, text string) {
		list, ok := parseList(text)
		if !ok {
			return
		}
		if again, ok := parseList(FormatList(list)); !ok || !slices.Equal(again, list) {
			t.Errorf("%q: %q became %q, %t", text, list, again, ok)
		}
	})
}
