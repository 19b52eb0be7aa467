// Plugin exports Own.
package main

import "github.com/autorestart-go/autorestart/verify/internal/firstprocess"

func Own() bool { return firstprocess.Own() }

func main() {}
