// Package fleetlock has a gate that asks a FleetLock server for leave to restart. So at most N members
// of a group restart at the same time, where N is the number of slots that the group has at the
// server. Servers are airlock, and others that Zincati can ask.
//
//	id, err := fleet.ID("web")
//	if err != nil {
//		log.Panic(err)
//	}
//	r := autorestart.Restarter{
//		ReadyTimeout: 30 * time.Second,
//		Gate: &fleetlock.Gate{
//			URL:    "https://airlock.example.org",
//			Group:  "web",
//			ID:     id,
//			Logger: slog.Default(),
//		},
//		Logger: slog.Default(),
//	}
//	log.Panic(r.Run(context.Background()))
//
// # When a member holds a slot
//
//   - A member locks a slot before it is drained. While there is none, the old version serves, and
//     asks again after a random pause.
//   - It releases the slot when the new version is ready, and healthy if it was on trial. It also
//     releases the slot if the restart was called off before the exec.
//   - It keeps the slot if the new version was rolled back. So a version that does not work stops by
//     itself: N members have executed it, and each of them holds a slot.
//   - A member that keeps its slot can restart into another version, because the server gives a member
//     the slot that it holds already. The slot is released when that version is ready. So the fixed
//     version reaches all members without an operator.
//   - A process that was started afresh releases the slot of its ID when it is ready.
//
// The new version needs a Gate for the same server, because the version that runs after the restart
// releases the slot. It does so by the ID and the group of the version that has locked it.
//
// # A fresh start after a rollback
//
// A supervisor or a reboot may start a member afresh that keeps its slot. Then the file at the path
// decides, because the server remembers the slot only:
//   - The version before, if it was put back, is ready. The slot is released.
//   - A version that fails before Ready fails again. The slot stays locked.
//   - A version that has failed its health check only is ready, because a fresh start has no trial. The
//     slot is released, and another member may execute that version. It keeps its slot then.
//
// So put the version before back at the path of a member before the member is started afresh.
//
// # Machines that do not come back
//
// The protocol has no time after which a slot is free, and no list of members. An operator releases
// the slot of a machine that does not come back, by the ID of the member:
//
//	curl -H 'fleet-lock-protocol: true' -d '{"client_params":{"id":"ID","group":"web"}}' \
//		https://airlock.example.org/v1/steady-state
//
// # Answers of the server
//
//   - Status 200 is leave, or says that the slot is released.
//   - An error of the protocol with a status from 500 on, or 409, 423 or 429, says that there is no slot
//     for now. Airlock answers a member that has lost a race in the same way.
//   - An error of the protocol with another status from 400 on rejects the version until its file
//     changes. Such an error is about the group, which the server does not know, or the request.
//   - With any other answer, the server counts as out of reach. Such answers are a redirect, which is
//     not followed, an error of a proxy, and an error that says that the server can't reach its own
//     store.
//
// A request has 10 seconds. The Gate sends one request at a time, and waits for its answer or the end
// of its time, also if the answer is of no use any more. Otherwise the server could lock a slot after it
// has got the request to release it. If the server asks for a pause by Retry-After, the pause is at
// least that long, up to 10 minutes.
//
// # Secrets
//
// Log lines and errors have the scheme, host and path of the URL, the group, and the text of the
// server's error. They have no user, no password and no query.
package fleetlock
