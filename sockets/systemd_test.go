package sockets

import (
	"os"
	"slices"
	"testing"
)

// TestGoldenPlaceholder: other versions of this library know a placeholder by its
// content. A golden file is never changed.
func TestGoldenPlaceholder(t *testing.T) {
	if b, err := os.ReadFile("testdata/placeholder-1.golden"); err != nil || string(b) != placeholderText {
		t.Errorf("%q, %v; this version writes %q", b, err, placeholderText)
	}
}

func TestParseActivation(t *testing.T) {
	for _, test := range []struct {
		activation
		want []string
		err  error
	}{
		{activation{}, nil, nil},
		{activation{"100", "2", "a:b"}, []string{"a", "b"}, nil},
		{activation{"100", "2", ""}, []string{"", ""}, nil},
		{activation{"100", "3", "a::"}, []string{"a", "", ""}, nil},
		{activation{"100", "1", "a:b:c"}, []string{"a"}, nil},
		{activation{"100", "0", ""}, []string{}, nil},
		{activation{"99", "2", ""}, nil, errOtherProcess},
		{activation{"100", "-1", ""}, nil, errMalformed},
		{activation{"100", "1000000", ""}, nil, errMalformed},
		{activation{"100", "", ""}, nil, errMalformed},
		{activation{"", "1", ""}, nil, errMalformed},
		{activation{"100 ", "1", ""}, nil, errMalformed},
		{activation{"4294967396", "1", ""}, nil, errMalformed}, // 100 in 32 bits
	} {
		names, err := test.parse(100)
		if !slices.Equal(names, test.want) || err != test.err {
			t.Errorf("%+v: %q, %v; expected %q, %v", test.activation, names, err, test.want, test.err)
		}
	}
}
