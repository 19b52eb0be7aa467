//go:build !autorestart_portable

package inspect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/files"
)

// A kind is what verdicts of processes depend on.
type kind struct {
	credentials string
	user        string // namespace
	root, image candidate.ID
	mounts      string // namespace
	path        string
}

// Check returns what the processes that run the executable at the path would do with the file in its
// place. The judge is this program, called with the given arguments, that calls [Judge]. The error says
// why there is no report.
func Check(ctx context.Context, file, path string, judge ...string) ([]Report, error) {
	c, rejection := candidate.Open(new(files.View), file)
	if rejection != nil {
		return nil, errors.New(rejection.String())
	}
	defer c.Close()
	e, err := findExecutable(path)
	if err != nil {
		return nil, err
	}
	processes, hidden, err := find(e)
	if err != nil {
		return nil, err
	}
	defer closeAll(processes)
	j := judging{ctx: ctx, file: c.File.(*os.File), command: judge}
	var reports []Report
	index := map[kind]int{}
	for _, p := range processes {
		k, q, err := p.prepare()
		switch {
		case err != nil && p.hasEnded():
			continue
		case err != nil:
			reports = append(reports, Report{PIDs: []int{p.pid}, Err: err})
			continue
		}
		i, known := index[k]
		if !known {
			i = len(reports)
			index[k] = i
			reports = append(reports, j.report(q))
		}
		reports[i].PIDs = append(reports[i].PIDs, p.pid)
		q.close()
	}
	for _, err := range hidden {
		reports = append(reports, Report{Err: err})
	}
	if len(reports) > 0 {
		return reports, nil
	}
	q, err := ownQuestion(e)
	if err != nil {
		return nil, err
	}
	defer q.close()
	return []Report{j.report(q)}, nil
}

// judging is what all questions have in common.
type judging struct {
	ctx     context.Context
	file    *os.File // the candidate
	command []string // the arguments of the judge
}

func (j *judging) report(q *question) (r Report) {
	r.Verdict, r.Err = j.judge(q)
	return r
}

// judge has the candidate judged.
func (j *judging) judge(q *question) (Verdict, error) {
	input, err := json.Marshal(request{Path: q.path, Busy: new(files.View).OpenForWriting(j.file), Become: q.become})
	if err != nil {
		return Verdict{}, err
	}
	var output, failure bytes.Buffer
	cmd := exec.CommandContext(j.ctx, "/proc/self/exe", j.command...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &output, &failure
	cmd.ExtraFiles = []*os.File{j.file, q.root, q.mounts, q.image}
	if q.otherUsers {
		cmd.SysProcAttr = q.likeNamespace()
	}
	if err := cmd.Run(); j.ctx.Err() != nil {
		return Verdict{}, context.Cause(j.ctx)
	} else if err != nil {
		return Verdict{}, fmt.Errorf("cannot judge with the credentials of the process: %w %s", err, strings.TrimSpace(failure.String()))
	}
	var r reply
	if err := json.Unmarshal(output.Bytes(), &r); err != nil {
		return Verdict{}, err
	}
	if r.Failed != "" {
		return Verdict{}, errors.New("cannot judge with the credentials of the process: " + r.Failed)
	}
	return r.Verdict, nil
}
