// Package autorestartprom has Prometheus metrics about the restarts of a program that uses package
// autorestart, and has the program's own counters go on over a restart.
//
//	metrics := autorestartprom.NewCollector()
//	prometheus.MustRegister(metrics)
//	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "http_requests_total"}, []string{"code"})
//	prometheus.MustRegister(requests)
//	metrics.KeepVec("http_requests_total", requests)
//	restarter := autorestart.Restarter{Observe: metrics.Observe}
//
// The program must call [autorestart.Ready] in every version. A restart has no outcome before, and the next
// one waits for it, see [autorestart.Restarter.Run].
//
// # Metrics
//
//	autorestart_restarts_total{outcome}                 restarts; each has one outcome:
//	    ready        the new version is ready, and healthy if there is a HealthTimeout
//	    rolled_back  the new version has failed, and the previous one runs again
//	    replaced     a further version was executed before this one was ready, and healthy
//	    called_off   there was no exec, although the program was drained
//	autorestart_rejections_total{reason}                versions that were not executed, see below
//	autorestart_restart_phase_duration_seconds{phase}   histogram, of restarts with outcome ready; the phases are
//	                                                    judged, quiesced, drained, executed, started, ready,
//	                                                    named by the step that ends them, see autorestart.RestartTimes
//	autorestart_restart_duration_seconds                histogram of the whole: from Seen to Ready, but for
//	                                                    the wait for the Gate
//	autorestart_gate_wait_seconds                       histogram: how long restarts have waited for the Gate
//	autorestart_gate_waiting_start_time_seconds         since when one waits; absent if none does
//	autorestart_connections_cut_total                   connections of package sockets that were cut off
//	autorestart_unfinished_restarts_total               restarts that have cut off any work
//	autorestart_events_lost_total                       events that these metrics lack
//	autorestart_generation                              autorestart.Generation
//	autorestart_image_start_time_seconds                when this image has started
//	autorestart_ready                                   1 if this version has called Ready
//	autorestart_rolled_back                             1 if this version runs again after a rollback
//
// The reasons of a rejection are
//
//	not_ready    the file is being written, or its mode is still being set
//	format       not a program for this machine
//	permission   the file may not be read or executed
//	untrusted    a user who is not trusted can change the file or its path
//	verify       Verify, or a function of package verify, has rejected the version
//	failed       the version was executed before, and rolled back
//	stand_in     with Overlap: the version has failed as a stand-in
//	no_rollback  the version can't be on trial
//	shortage     memory, descriptors, processes or space are short
//	exec_plan    BeforeExec has left arguments or variables that execve(2) does not take
//	gate         the Gate gives no leave
//	exec         execve(2) has failed
//	ended        Run or Restart has ended
//	other        an error of BeforeExec, or a RejectedError of the program's own
//
// A reason is counted as often as [autorestart.EventRejected] reports it. docs/operate.md, in the repository, has
// rules for alerts.
//
// # Over a restart
//
// The image before an exec begins a restart, and the image after it knows the outcome. A counter that began at
// 0 in each image would never show an increase. So the metrics of a Collector, and the counters that it
// keeps, are in memory that crosses each exec. They go on after a rollback, too, with what the version
// that failed has counted. A version without a Collector ends that: the next one begins at 0. So does a
// process that is started afresh. Prometheus takes a smaller value for the restart of a counter.
//
// With [autorestart.Restarter.Overlap], a stand-in has a Collector of its own, whose metrics begin at 0, and
// are lost. Serve metrics on a listener of their own, and not in a stand-in: a scrape waits there until the
// new version serves.
package autorestartprom
