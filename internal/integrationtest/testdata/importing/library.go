//go:build importing_library

package main

import (
	_ "github.com/autorestart-go/autorestart"
	_ "github.com/autorestart-go/autorestart/httpserve"
	_ "github.com/autorestart-go/autorestart/sockets"
	_ "github.com/autorestart-go/autorestart/verify"
)
