package simulation

// watchFaults are those of the watcher and of what it makes of a candidate.
var watchFaults = []plantedFault{
	{
		name: "Arm without its second walk", pkg: "internal/watch", file: "internal/watch/directories.go",
		old: "		if same {\n", new: "		if same || true {\n", within: 10000,
	},
	{
		name: "EMFILE taken as final", pkg: "internal/watch", file: "internal/watch/watcher.go",
		old: "!errors.Is(err, errors.ErrUnsupported) {", new: "!errors.Is(err, errors.ErrUnsupported) && err.Error() != \"too many open files\" {",
		within: 10000,
	},
	{
		name: "no look after events were lost", pkg: "internal/watch", file: "internal/watch/directories.go",
		old: "	if event.Lost {\n		return true", new: "	if event.Lost {\n		return false", within: 10000,
	},
	{
		name: "no last look", pkg: "internal/watch", file: "internal/candidate/rules.go",
		old: "	if err == nil && now == c.ID {\n", new: "	if err == nil && now != (ID{}) {\n", within: 10000,
	},
	{
		name: "a delay that never ends", pkg: "internal/watch", file: "internal/watch/watcher.go",
		old:    "	w.outside = candidate.ID{}\n	if err == nil && id == w.settled {\n		return nil\n	}\n",
		new:    "	if err == nil && id == w.settled {\n		return nil\n	}\n	w.outside = candidate.ID{}\n",
		within: 10000,
	},
	{
		name: "directories of any owner", pkg: "internal/watch", file: "internal/candidate/trust.go",
		old: "if rejection = t.check(path, &e); rejection != nil {", new: "if rejection = t.check(path, &e); rejection != nil && !e.Directory {",
		within: 10000,
	},
}
