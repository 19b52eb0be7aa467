module github.com/autorestart-go/autorestart/examples/http3

go 1.26.0

replace github.com/autorestart-go/autorestart => ../..

require (
	github.com/autorestart-go/autorestart v0.0.0-00010101000000-000000000000
	github.com/quic-go/quic-go v0.65.0
	golang.org/x/net v0.56.0
)

require (
	github.com/quic-go/qpack v0.6.0 // indirect
	golang.org/x/crypto v0.54.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.40.0 // indirect
)
