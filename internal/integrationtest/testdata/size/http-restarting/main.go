// A program that serves net/http and restarts.
package main

import (
	"net/http"

	"github.com/autorestart-go/autorestart"
)

func main() {
	go autorestart.RestartOnChange()
	http.ListenAndServe("localhost:0", nil)
}
