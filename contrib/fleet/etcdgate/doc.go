// Package etcdgate has a gate for package autorestart that keeps its records in etcd. The members of a group
// restart a few at a time, canaries first. A version that was rolled back on one member is refused by all.
//
//	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialKeepAliveTime: 5 * time.Second})
//	if err != nil {
//		log.Panic(err)
//	}
//	r := &autorestart.Restarter{
//		ReadyTimeout:  30 * time.Second,
//		HealthTimeout: time.Minute,
//		Check:         check,
//		Gate:          &etcdgate.Gate{Client: client, Group: "web", Max: 3, Canaries: 1, HealthyFor: 10 * time.Minute},
//	}
//
// The command autorestart-fleet shows which members hold a slot or wait, and which versions have failed.
//
// # Slots
//
// A member that restarts holds a slot of its group. It gets the slot before anything is drained, and gives it
// back when the new version is ready and its trial has ended, see [autorestart.Restarter.HealthTimeout], or
// when the restart was called off. At most Max members hold a slot. Members that wait get theirs in the order
// in which they have begun to wait. A member that waits for a version that can't be executed yet holds up no
// other one. The program serves while it waits.
//
// # Canaries
//
// While a version is not proven, at most Canaries members execute it. Each of them keeps its slot until it has
// run the version for HealthyFor, by its own clock, after its trial. Then the version is proven, once as many
// members have done so. A canary that ends meanwhile begins again when it is ready. Without canaries, Max is
// the only limit.
//
// # Versions that fail
//
// A version is the content of its file. If it is rolled back on any member, it has failed: the slot is given
// back in the same transaction. From then on no member gets a slot for it. Acquire of a member that
// is refused returns an [autorestart.RejectedError] once, so that a log line and the events name the reason.
// Then the member waits, and restarts when an operator has cleared the version, or another file is at the path.
// Members that have got their slot before may still execute the version: no more than Max.
//
// # Members that vanish
//
// A slot has no time limit: its holder may have executed the version, and may have ended because of that. If
// a process ends while it holds a slot, the slot stays taken until
//   - the next process of the member is ready; it says so whichever version it runs
//   - an operator releases it: autorestart-fleet release GROUP MEMBER
//   - the VanishTimeout is over, if one is set.
//
// With a VanishTimeout, the slot of a member is free when etcd has had no sign of life for that time. A sign
// of life comes from the version that waits for the exec, and from a canary while it is observed. None comes
// between the exec and the end of the trial. If that takes longer, the slot may be taken although the member
// lives, and more than Max members are in a restart. The member finds out when its restart has ended, and logs
// that. A canary that has vanished stays a canary: the version is not proven without it, until its next
// process is ready, or an operator releases the member. Then another member is a canary in its place.
//
// # While etcd does not answer
//
// The version that runs goes on serving. The log says since when etcd does not answer, and why: at once, after
// a minute, and then at intervals that double, up to an hour.
// After [Gate.Deadline] the version is rejected for now, or executed without leave, see [Gate.OnDeadline]. The
// outcome of a restart is written to etcd as soon as it answers. Without a Deadline, no further restart begins
// before that. A slot that a member may have got, although no answer has reached it, is found again, or
// given back.
//
// # What is in etcd
//
// One document for each group, and one key for each member that waits or has a VanishTimeout. The document
// has host names, build IDs, versions, and the reasons of rollbacks, which are errors of the program. It has no
// secret of the client.
package etcdgate
