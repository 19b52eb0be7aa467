package telemetry_test

import (
	"os"
	"testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/autorestarttest"
	"github.com/autorestart-go/autorestart/internal/telemetry"
)

func wantValue(t *testing.T, v *telemetry.Values, name, want string) {
	t.Helper()
	if got := string(v.Get(name)); got != want {
		t.Errorf("value %s is %q, want %q", name, got, want)
	}
}

func TestValuesGoOn(t *testing.T) {
	p := autorestarttest.NewProcess(t)
	v := telemetry.Open("test")
	wantValue(t, v, "a", "")
	v.Set("a", []byte("1"))
	v.Set("b", []byte("2"))
	p.Restart(nil)
	v = telemetry.Open("test")
	wantValue(t, v, "a", "1")
	v.Set("a", []byte("3"))
	autorestart.Ready()
	p.Restart(nil)
	v = telemetry.Open("test")
	wantValue(t, v, "a", "3")
	wantValue(t, v, "b", "2")
}

// Values of other names are others.
func TestValuesHaveNames(t *testing.T) {
	autorestarttest.NewProcess(t)
	telemetry.Open("one").Set("a", []byte("1"))
	wantValue(t, telemetry.Open("other"), "a", "")
	defer func() {
		if recover() == nil {
			t.Error("the values of one name are open twice")
		}
	}()
	telemetry.Open("one")
}

// A version that does not open the values ends them.
func TestUnclaimedValuesAreLost(t *testing.T) {
	p := autorestarttest.NewProcess(t)
	telemetry.Open("test").Set("a", []byte("1"))
	p.Restart(nil)
	autorestart.Ready()
	p.Restart(nil)
	wantValue(t, telemetry.Open("test"), "a", "")
}

// Values that are damaged, or of which one file is missing, begin anew, and cross the next exec.
func TestDamagedValues(t *testing.T) {
	for name, damage := range map[string]func(files [2]string){
		"other content": func(files [2]string) {
			for _, name := range files {
				f, err := autorestart.Inherited(name)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if _, err := f.WriteAt([]byte("something else"), 0); err != nil {
					t.Fatal(err)
				}
			}
		},
		"one file": func(files [2]string) { autorestart.Unpass(files[1]) },
		"a pipe": func(files [2]string) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			defer w.Close()
			for _, name := range files {
				if err := autorestart.Pass(name, r); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := autorestarttest.NewProcess(t)
			telemetry.Open("test").Set("a", []byte("1"))
			p.Restart(nil)
			damage([2]string{"autorestart.test.0", "autorestart.test.1"})
			v := telemetry.Open("test")
			wantValue(t, v, "a", "")
			v.Set("a", []byte("2"))
			wantValue(t, v, "a", "2")
			autorestart.Ready()
			p.Restart(nil)
			wantValue(t, telemetry.Open("test"), "a", "2")
		})
	}
}
