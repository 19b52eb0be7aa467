package etcdgate_test

import (
	"context"
	"crypto/tls"
	"log"
	"log/slog"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/etcdgate"
)

func Example() {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:         []string{"https://etcd1:2379", "https://etcd2:2379", "https://etcd3:2379"},
		TLS:               &tls.Config{MinVersion: tls.VersionTLS13},
		Username:          "web",
		Password:          os.Getenv("ETCD_PASSWORD"),
		DialKeepAliveTime: 5 * time.Second, // leaves a node that does not answer any more
	})
	if err != nil {
		log.Panic(err)
	}
	r := &autorestart.Restarter{
		ReadyTimeout: 30 * time.Second,
		Logger:       slog.Default(),
		Gate: &etcdgate.Gate{
			Client:     client,
			Group:      "web",
			Max:        3,
			Canaries:   1,
			HealthyFor: 10 * time.Minute,
			Deadline:   time.Hour,
			OnDeadline: etcdgate.Refuse,
			Logger:     slog.Default(),
		},
	}
	autorestart.Ready()
	log.Print(r.Run(context.Background()))
}

// All keys are below team/, which a user of etcd may have the only permission for.
func ExampleGate_namespace() {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"etcd:2379"}})
	if err != nil {
		log.Panic(err)
	}
	client.KV = namespace.NewKV(client.KV, "team")
	client.Watcher = namespace.NewWatcher(client.Watcher, "team")
	client.Lease = namespace.NewLease(client.Lease, "team")
	r := &autorestart.Restarter{Gate: &etcdgate.Gate{Client: client, Group: "web"}}
	log.Print(r.Run(context.Background()))
}

// An operator decides what becomes of a new version while etcd does not answer.
func ExampleAction() {
	actions := map[string]etcdgate.Action{"refuse": etcdgate.Refuse, "go": etcdgate.Go}
	action, ok := actions[os.Getenv("WITHOUT_ETCD")]
	if !ok {
		log.Panic("WITHOUT_ETCD is neither refuse nor go")
	}
	g := &etcdgate.Gate{Group: "web", Deadline: time.Hour, OnDeadline: action}
	defer g.Close()
}
