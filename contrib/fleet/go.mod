module github.com/autorestart-go/autorestart/contrib/fleet

go 1.26.0

require github.com/autorestart-go/autorestart v0.1.0

require golang.org/x/sys v0.49.0 // indirect

replace github.com/autorestart-go/autorestart => ../..
