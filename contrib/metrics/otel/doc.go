// Package autorestartotel makes OpenTelemetry spans of the restarts of a program that uses package autorestart.
//
//	restarter := autorestart.Restarter{Observe: autorestartotel.Observer(provider)}
//
// # Spans
//
// A restart is one span, autorestart.restart, from the moment when the new version was noticed until the outcome is
// known. It is made then, with the real times. Its children are the phases that the restart has come
// through, each named by the step that ends it: autorestart.judged, allowed (by the Gate), quiesced, drained,
// executed, started, ready, see [autorestart.RestartTimes]; and autorestart.rollback, until the previous version has
// started again. The span has these attributes:
//
//	autorestart.outcome          ready, rolled_back, replaced, called_off, rejected
//	autorestart.reason           of called_off and rejected: as the label of the metric autorestart_rejections_total
//	autorestart.path             of the executable
//	autorestart.generation       of the version that has made the span
//	autorestart.old.version      of the version before the restart; also old.build_id
//	autorestart.new.version      of the new version; also new.build_id
//	autorestart.unfinished       the work that the exec has cut off, in words, if there was any
//	autorestart.connections_cut  how many connections of package sockets were among it
//
// The outcome is ready if the new version has called Ready and is healthy, if there is a HealthTimeout. It is
// replaced if a further version was executed before. The status is an error for rolled_back, called_off and rejected,
// with the reason as its description.
//
// # Which version makes the span
//
// The version that runs after the exec makes the span of a restart: the new version, or the previous one that runs
// again. What it must know from before the exec is in memory that crosses it. The version that
// runs makes the spans of restarts that are called off, and of versions that are rejected.
//
// A batch processor exports a span some seconds after its end, and an exec ends the processor. Flush the
// provider in [autorestart.Restarter.BeforeExec]. Return nil there even if that fails: an error would call the
// restart off. Clients wait meanwhile, so give the processor a short export timeout.
package autorestartotel
