package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/zap"
)

// A connection says how etcd is reached.
type connection struct {
	endpoints, namespace string
	caCert, cert, key    string
	user, passwordFile   string
	password             string
}

func (c *connection) addFlags(flags *flag.FlagSet) {
	flags.StringVar(&c.endpoints, "endpoints", "http://127.0.0.1:2379", "of the cluster, separated by commas")
	flags.StringVar(&c.namespace, "namespace", "", "what all keys begin with, before the prefix")
	flags.StringVar(&c.caCert, "cacert", "", "a file with the certificates that sign those of etcd")
	flags.StringVar(&c.cert, "cert", "", "a file with the certificate of this client")
	flags.StringVar(&c.key, "key", "", "a file with the key of that")
	flags.StringVar(&c.user, "user", "", "the user of etcd")
	flags.StringVar(&c.passwordFile, "password-file", "", "a file with the password of the user; else it is in ETCD_PASSWORD")
}

func (c *connection) connect(ctx context.Context) (*clientv3.Client, error) {
	config := clientv3.Config{
		Endpoints: strings.Split(c.endpoints, ","), Context: ctx, Username: c.user, Password: c.password,
		DialKeepAliveTime: time.Second, DialKeepAliveTimeout: time.Second, Logger: zap.NewNop(),
	}
	if c.passwordFile != "" {
		password, err := os.ReadFile(c.passwordFile)
		if err != nil {
			return nil, err
		}
		config.Password = string(bytes.TrimRight(password, "\r\n"))
	}
	if c.user == "" {
		config.Password = ""
	}
	var err error
	if config.TLS, err = c.tlsConfig(); err != nil {
		return nil, err
	}
	client, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.endpoints, err)
	}
	if c.namespace != "" {
		client.KV = namespace.NewKV(client.KV, c.namespace)
		client.Watcher = namespace.NewWatcher(client.Watcher, c.namespace)
		client.Lease = namespace.NewLease(client.Lease, c.namespace)
	}
	return client, nil
}

// tlsConfig returns nil if TLS needs no configuration. The scheme of an endpoint says whether it has TLS.
func (c *connection) tlsConfig() (*tls.Config, error) {
	if c.caCert == "" && c.cert == "" && c.key == "" {
		return nil, nil
	}
	config := new(tls.Config)
	if c.caCert != "" {
		b, err := os.ReadFile(c.caCert)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("%s has no certificate", c.caCert)
		}
	}
	if c.cert != "" || c.key != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
