module github.com/autorestart-go/autorestart/benchmarks

go 1.26.0

replace (
	github.com/autorestart-go/autorestart => ..
	github.com/autorestart-go/autorestart/contrib/grpcserve => ../contrib/grpcserve
	github.com/autorestart-go/autorestart/examples/http3 => ../examples/http3
)

require (
	github.com/autorestart-go/autorestart v0.1.0
	github.com/autorestart-go/autorestart/contrib/grpcserve v0.1.0
	github.com/autorestart-go/autorestart/examples/http3 v0.0.0-00010101000000-000000000000
	github.com/cloudflare/tableflip v1.2.3
	github.com/coder/websocket v1.8.15
	github.com/hashicorp/go-reap v0.0.0-20170704170343-bf58d8a43e7b
	github.com/jpillora/overseer v1.1.6
	github.com/quic-go/quic-go v0.65.0
	github.com/ramr/go-reaper v0.2.1
	github.com/tillberg/autorestart v0.0.0-20220524165049-22c3f5bc7fce
	google.golang.org/grpc v1.85.0
)

require (
	github.com/StackExchange/wmi v0.0.0-20190523213315-cbe66965904d // indirect
	github.com/go-ole/go-ole v1.2.4 // indirect
	github.com/jpillora/s3 v1.1.4 // indirect
	github.com/quic-go/qpack v0.6.0 // indirect
	github.com/tillberg/stringset v0.0.0-20220429204947-12df33ab1cd6 // indirect
	github.com/tillberg/watcher v0.0.0-20200309151633-e9412552417a // indirect
	golang.org/x/crypto v0.57.0 // indirect
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260817212433-ac3dfec99bb1 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
	gopkg.in/fsnotify/fsnotify.v1 v1.4.7 // indirect
)
