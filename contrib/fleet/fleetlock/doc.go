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
//   - A member that keeps a slot can still restart into another version, because the server gives a
//     member the slot that it holds already. When that version is ready, the slot is released. So
//     the fixed version needs no operator.
//   - A process that was started afresh releases the slot of its ID when it is ready.
//
// The last rule is also that of a member that has kept its slot. If its supervisor or a reboot starts
// it afresh, the file at the path decides. The old version, put back there, is ready and releases the
// slot. A version that failed before Ready fails again, and the slot stays locked. A version that has
// failed its health check only is ready at a fresh start, where there is no trial, and the slot is
// released: then another member may execute it. So put the old version back before such a service
// is started again.
//
// The protocol has no time after which a slot is free, and no list of slots. If a machine never comes
// back, an operator releases its slot, by a request with its ID:
//
//	curl -H 'fleet-lock-protocol: true' -d '{"client_params":{"id":"ID","group":"web"}}' https://airlock.example.org/v1/steady-state
//
// # Answers of the server
//
//   - Status 200 is leave.
//   - An error of the protocol with a status of 500 or more, or with 409, 423 or 429, says that there
//     is no slot for now. Servers answer the same if they can't lock for another reason.
//   - An error of the protocol with another status from 400 on, such as that for an unknown group,
//     rejects the version.
//   - With any other answer the server counts as not reached. This is so for redirects, which are not
//     followed, and for errors of a proxy.
//
// A request has 10 seconds. The gate sends one request at a time: the next one follows when the one
// before is answered, or its time is over. If the server asks for a pause by Retry-After, the pause is
// at least that long, up to 10 minutes.
//
// # Secrets
//
// Log lines and errors contain the scheme, host and path of URL, the group, and what the server answers. They
// contain no user, no password, and no query.
package fleetlock
