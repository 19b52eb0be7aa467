module github.com/autorestart-go/autorestart/examples/streams

go 1.26.0

replace github.com/autorestart-go/autorestart => ../..

require (
	github.com/autorestart-go/autorestart v0.0.0-00010101000000-000000000000
	github.com/coder/websocket v1.8.15
	github.com/gorilla/websocket v1.5.3
)

require golang.org/x/sys v0.49.0 // indirect
