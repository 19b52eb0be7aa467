// The smallest program that restarts.
package main

import "github.com/autorestart-go/autorestart"

func main() { autorestart.RestartOnChange() }
