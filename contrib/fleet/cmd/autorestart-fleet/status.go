package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/autorestart-go/autorestart/contrib/fleet/internal/group"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/rollout"
)

func status(ctx context.Context, g *group.Group, stdout io.Writer, asJSON bool) error {
	s, err := g.Read(ctx)
	if err != nil {
		return err
	}
	if s.Document == nil {
		return errNoGroup
	}
	if asJSON {
		return writeJSON(stdout, s)
	}
	return writeText(stdout, s)
}

// writeJSON writes the document as it is in etcd, with the queue.
func writeJSON(stdout io.Writer, s *group.Snapshot) error {
	e := json.NewEncoder(stdout)
	e.SetIndent("", "\t")
	return e.Encode(struct {
		*rollout.Document
		Waiting []rollout.Waiting `json:"waiting"`
	}{s.Document, s.Queue})
}

func writeText(stdout io.Writer, s *group.Snapshot) error {
	d := s.Document
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "service %s, max %d, canaries %d, healthy for %v\n\n", d.Service, d.Max, d.Canaries, d.HealthyFor)
	fmt.Fprintln(w, "STATE\tMEMBER\tHOST\tVERSION\tSINCE")
	for _, h := range d.Holders {
		state := string(h.State)
		if h.Vanishes && !s.IsAlive(h.Member) {
			state = "vanished"
		}
		row(w, state, h.Member, h.Host, name(d, h.Version), h.Since)
	}
	for _, q := range s.Queue {
		state := "waiting"
		if v := d.Versions[q.Version.Hash]; v != nil && v.Failed != nil {
			state = "refused"
		}
		row(w, state, q.Member, q.Host, label(q.Version.Name, q.Version.Hash), q.Since)
	}
	fmt.Fprintln(w, "\nVERSION\tSTATE\tCANARIES")
	hashes := slices.SortedFunc(maps.Keys(d.Versions), func(a, b string) int {
		return cmp.Compare(d.Versions[b].Granted, d.Versions[a].Granted)
	})
	for _, hash := range hashes {
		v := d.Versions[hash]
		fmt.Fprintf(w, "%s\t%s\t%s\n", name(d, hash), versionState(d, v), strings.Join(canaries(v), " "))
	}
	return w.Flush()
}

func row(w io.Writer, state, member, host, version string, since time.Time) {
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", state, member, cmp.Or(host, "-"), version, since.UTC().Format(time.RFC3339))
}

func versionState(d *rollout.Document, v *rollout.Version) string {
	switch f := v.Failed; {
	case f != nil:
		return fmt.Sprintf("failed on %s (%s) at %s: %s", cmp.Or(f.Host, "-"), f.Member, f.At.UTC().Format(time.RFC3339), printable(f.Reason))
	case d.IsProven(v):
		return "proven"
	default:
		return fmt.Sprintf("%d of %d canaries are healthy", len(v.Healthy), d.Canaries)
	}
}

// canaries returns the canaries of a version, with an exclamation mark for those that are not healthy yet.
func canaries(v *rollout.Version) (all []string) {
	for _, member := range v.Canaries {
		if !slices.Contains(v.Healthy, member) {
			member += "!"
		}
		all = append(all, member)
	}
	return all
}

// printable returns a text on one line, without what a terminal would interpret.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}

func name(d *rollout.Document, hash string) string {
	if v := d.Versions[hash]; v != nil {
		return label(v.Name, hash)
	}
	return label("", hash)
}

// label returns the name of a version, with the beginning of its hash.
func label(name, hash string) string {
	short := hash[:min(len(hash), 12)]
	if name == "" {
		return short
	}
	return printable(name) + " (" + short + ")"
}
