package protocol

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/step"
)

func TestLabel(t *testing.T) {
	want := Label{Version: 1234567, Fault: FaultInitPanic, Socket: "@autorestarttest-" + strings.Repeat("X", 26)}
	label := want.Bytes()
	if len(label) != LabelSize {
		t.Fatalf("the label has %d bytes", len(label))
	}
	got, ok := ReadLabel(strings.NewReader("a program" + string(label)))
	if got != want || !ok {
		t.Errorf("got %+v, %v", got, ok)
	}
	for _, content := range []string{"", "short", strings.Repeat("a program ", 100), string(label) + "more", strings.Replace(string(label), "{", "[", 1)} {
		if got, ok := ReadLabel(strings.NewReader(content)); ok || got != (Label{}) {
			t.Errorf("%.40q...: got %+v", content, got)
		}
	}
}

func TestReceiver(t *testing.T) {
	r := NewReceiver(strings.NewReader(`{"Start":{"PID":7,"Version":2}}` + "\n" + `{"Step":"rejected","Error":"why"}` + "\n{"))
	if m, err := r.Start(); err != nil || m.Start.PID != 7 || m.Start.Version != 2 {
		t.Fatalf("got %+v, %v", m, err)
	}
	if m, err := r.Step(); err != nil || m.Step != step.Rejected || m.Error != "why" {
		t.Errorf("got %+v, %v", m, err)
	}
	if _, err := r.Step(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after half a message: %v", err)
	}
	if _, err := NewReceiver(strings.NewReader(`{"Step":"ready"}`)).Start(); err != errNoStart {
		t.Errorf("without a start: %v", err)
	}
}
