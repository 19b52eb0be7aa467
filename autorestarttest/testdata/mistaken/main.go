// Mistaken does not compile.
package main

import "github.com/autorestart-go/autorestart"

func main() { autorestart.Ready(missing) }
