package etcdgate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"os"
	"runtime/debug"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/group"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/pace"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/rollout"
)

// A Gate is the [autorestart.Gate] of one member of a group, for one [autorestart.Restarter]. Client and Group
// have to be set. Set the fields before the first call. A process has one Gate of a group.
type Gate struct {
	// Client is connected to etcd. The program makes it, with its endpoints, certificates and user, and closes
	// it after the Gate. Package go.etcd.io/etcd/client/v3/namespace gives it a namespace. Set its
	// DialKeepAliveTime, so that it leaves a node that does not answer any more. If etcd has users, that of
	// Client needs the permission to read and write all keys that begin with Prefix/Group/.
	Client *clientv3.Client

	// Prefix is where the keys of groups are. If empty, Prefix is "/autorestart".
	Prefix string

	// Group is the name of the group. All members of a group run the same program, see Service.
	Group string

	// Member is the name of this member in its group. It has to be another one for each process of the group,
	// and the same one after each restart, also after a crash. If empty, Member is a hash of the machine ID
	// (see machine-id(5)), Service, and the name that this program was started by. Two processes of one
	// machine that were started by the same name need a Member each.
	Member string

	// Service is the program of the group. A member with another Service gets no leave. If empty, Service is
	// the path of the main package of this program.
	Service string

	// Max is how many members of the group may restart at once, Canaries how many execute a version before
	// it is proven, and HealthyFor how long each of them runs it to prove it. If zero, Max is one, no canaries
	// are needed, and a canary has proven the version once it is ready. The first member of a group writes
	// these settings into etcd. From then on those in etcd count: change them by autorestart-fleet set. A
	// member with other settings logs that.
	Max        int
	Canaries   int
	HealthyFor time.Duration

	// WaitTTL is how long a member that has ended while it waited for leave keeps its place in the queue. If
	// zero, WaitTTL is 15 seconds.
	WaitTTL time.Duration

	// VanishTimeout is how long this member keeps its slot after etcd has had the last sign of life from it. It
	// has to be longer than a restart takes from its beginning until the new version is ready, and healthy: in
	// that time there is no sign of life. If zero, the slot is kept until the next process of this member is
	// ready, or an operator takes the slot away.
	VanishTimeout time.Duration

	// Deadline is how long etcd may fail to answer in one call of Acquire or Release until OnDeadline counts. If
	// zero, the new version waits until etcd answers. After a rollback, it waits in any case until the group knows
	// of that. An error of etcd, such as a missing permission, counts as no answer. Time in which the version
	// waits for a slot does not count.
	Deadline time.Duration

	// OnDeadline says what becomes of the new version at the Deadline. If zero, it is Refuse.
	OnDeadline Action

	// Logger receives why a version waits, since when etcd does not answer and why, and what becomes of
	// canaries and of versions that fail. If nil, the Gate is silent.
	Logger autorestart.Logger

	once       sync.Once
	configErr  error
	group      *group.Group
	member     string
	host       string
	settings   rollout.Document // those of the fields
	background background
	outage     pace.Notice // etcd does not answer, in however many calls

	// Only tests set these.
	timeout     time.Duration // of a request
	beforeGrant func()        // before the transaction that gives a slot

	// One call of Acquire or Release is under way at a time.
	leave   string          // the hash of the version that this image has leave for
	refused map[string]bool // versions whose rejection was returned
	warned  bool            // that the settings differ
	running string          // the hash of this image; "" as long as it is not known

	// living is held from the time when a slot gets the lease of this member's key of life until it is known to
	// have it, and from the end of a slot until its lease is not used any more. It is above mu.
	living sync.Mutex

	mu       sync.Mutex
	life     *group.Lease       // of this member's key of life
	observed context.CancelFunc // ends the observation of a canary
}

var _ autorestart.Gate = (*Gate)(nil)

// An Action says what becomes of a new version at the [Gate.Deadline].
type Action int

const (
	// Refuse rejects the version for now, which is logged and observed. Then etcd is asked again.
	Refuse Action = iota

	// Go lets the restart begin without leave, but for a version that the group has refused to this
	// process. Then more than Max members may restart at the same time.
	Go
)

// waitTTL is the WaitTTL of a Gate that has none.
const waitTTL = 15 * time.Second

// requestTimeout is how long a request may take. The next one goes to another node.
const requestTimeout = 5 * time.Second

// configure interprets the fields.
func (g *Gate) configure() error {
	g.once.Do(func() {
		g.timeout = cmp.Or(g.timeout, requestTimeout)
		g.settings = rollout.Document{
			Format: rollout.Format, Service: g.Service, Max: cmp.Or(g.Max, 1), Canaries: g.Canaries,
			HealthyFor: rollout.Duration(g.HealthyFor), Versions: map[string]*rollout.Version{},
		}
		if g.settings.Service == "" {
			if info, ok := debug.ReadBuildInfo(); ok {
				g.settings.Service = info.Path
			}
		}
		g.refused = make(map[string]bool)
		g.host, _ = os.Hostname()
		g.group, g.configErr = group.New(g.Client, cmp.Or(g.Prefix, group.DefaultPrefix), g.Group)
		if g.configErr == nil {
			g.configErr = g.checkFields()
		}
		if g.configErr != nil {
			g.configErr = errors.New("etcdgate: " + g.configErr.Error())
		}
	})
	return g.configErr
}

func (g *Gate) checkFields() error {
	switch {
	case g.settings.Service == "":
		return errors.New("the main package of this program is not known; set Service")
	case g.settings.Max < 0 || g.Canaries < 0 || g.HealthyFor < 0 || g.VanishTimeout < 0 || g.Deadline < 0 || g.WaitTTL < 0:
		return errors.New("a setting is negative")
	}
	if g.member = g.Member; g.member == "" {
		var err error
		if g.member, err = defaultMember(g.settings.Service); err != nil {
			return errors.New("there is no machine ID to make a name of: " + err.Error() + "; set Member")
		}
	}
	return group.CheckName("member", g.member)
}

// defaultMember returns the ID of the service on this machine, which differs for each path that it is started by.
func defaultMember(service string) (string, error) { return fleet.ID(service + "\x00" + os.Args[0]) }

// Close ends what goes on after Acquire and Release have returned: attempts to give back a slot while etcd
// does not answer, and the wait until a canary is healthy. A slot that this member holds then stays taken
// until its next process is ready. Close the Gate when Run has returned, and no earlier than that. Close
// always returns nil.
func (g *Gate) Close() error {
	g.background.close()
	return nil
}

// hashOf returns the hash of an executable.
func hashOf(exe io.ReaderAt) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(exe, 0, math.MaxInt64)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// versionOf identifies a version.
func versionOf(exe io.ReaderAt, build autorestart.BuildInfo) (rollout.ID, error) {
	hash, err := hashOf(exe)
	return rollout.ID{Hash: hash, Build: build.ID, Name: build.String()}, err
}
