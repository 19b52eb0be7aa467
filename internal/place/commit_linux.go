package place

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// KeepPrevious has the file with the previous version stay if that runs, and the version that is replaced does not:
// the latter has failed.
func (p *Placement) KeepPrevious(runs func(*os.File) bool) {
	previous, err := p.openAt(p.name + PreviousSuffix)
	if err != nil {
		return
	}
	defer previous.Close()
	if old, err := p.openAt(p.name); err == nil {
		p.keeps = runs(previous) && !runs(old)
		old.Close()
	}
}

// Commit puts the file in its place. The previous version gets its name right after that.
func (p *Placement) Commit(ctx context.Context) (r Result, err error) {
	defer unix.Flock(int(p.dir.Fd()), unix.LOCK_UN)
	st, err := p.stat(p.name)
	switch {
	case err != nil:
		return r, &fs.PathError{Op: "stat", Path: p.Target(), Err: err}
	case uint64(st.Dev) != p.oldID.Dev || st.Ino != p.oldID.Ino:
		return r, &foundError{p.Target(), "a file that was replaced meanwhile", "the file as it was; deploy again"}
	}
	previous := []string{p.name}
	for _, suffix := range signatureSuffixes {
		if _, err := p.stat(p.name + suffix); err == nil {
			previous = append(previous, p.name+suffix)
		}
	}
	for _, name := range previous {
		if err := p.keep(ctx, name); err != nil {
			return r, err
		}
	}
	for _, suffix := range signatureSuffixes {
		if err := p.rename(p.name + suffix); err != nil {
			p.restoreSignatures()
			return r, err
		}
	}
	if err := p.rename(p.name); err != nil {
		p.restoreSignatures()
		return r, err
	}
	r = Result{Target: p.Target(), Mark: p.mark, Previous: p.Target() + PreviousSuffix}
	for _, suffix := range [...]string{"", signatureSuffixes[0], signatureSuffixes[1]} {
		if p.keeps {
			break // Close removes the links
		}
		name := p.previousOf(p.name + suffix)
		if _, kept := p.temps[name]; !kept {
			unix.Unlinkat(int(p.dir.Fd()), name, 0) // a signature of the version before the previous one
		} else if err := p.rename(name); err != nil {
			p.warned = append(p.warned, "the previous version is not kept: "+err.Error())
		}
	}
	if err := p.dir.Sync(); err != nil {
		p.warned = append(p.warned, "the new file may be lost in a crash of the system: "+err.Error())
	}
	r.Warnings = p.warned
	return r, nil
}

// restoreSignatures puts the signatures of an executable that stays back in their places.
func (p *Placement) restoreSignatures() {
	for _, suffix := range signatureSuffixes {
		name := p.name + suffix
		if !slices.Contains(p.placed, name) {
			continue
		}
		if old, kept := p.temps[p.previousOf(name)]; kept {
			unix.Renameat(int(p.dir.Fd()), old, int(p.dir.Fd()), name)
		} else {
			unix.Unlinkat(int(p.dir.Fd()), name, 0)
		}
	}
}

// previousOf returns the name that a file gets when it is replaced.
func (p *Placement) previousOf(name string) string {
	return p.name + PreviousSuffix + name[len(p.name):]
}

// keep makes a hard link to a file that is about to be replaced, or a copy.
func (p *Placement) keep(ctx context.Context, name string) error {
	previous := p.previousOf(name)
	if err := unix.Linkat(int(p.dir.Fd()), name, int(p.dir.Fd()), p.temp(previous), 0); err == nil {
		return nil
	}
	delete(p.temps, previous)
	old, err := p.openAt(name)
	if err != nil {
		return err
	}
	defer old.Close()
	like, err := p.openPath(name)
	if err != nil {
		return err
	}
	defer like.Close()
	_, err = p.copy(ctx, old, previous, like)
	return err
}

// rename gives a temporary file, if there is one, its name.
func (p *Placement) rename(name string) error {
	temp, ok := p.temps[name]
	if !ok {
		return nil
	}
	if err := unix.Renameat(int(p.dir.Fd()), temp, int(p.dir.Fd()), name); err != nil {
		return &os.LinkError{Op: "rename", Old: filepath.Join(p.path, temp), New: filepath.Join(p.path, name), Err: err}
	}
	unix.Unlinkat(int(p.dir.Fd()), temp, 0) // it is still there if both were links to one file
	delete(p.temps, name)
	p.placed = append(p.placed, name)
	return nil
}
