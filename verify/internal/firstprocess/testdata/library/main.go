// Library is a C library that exports Own.
package main

import "C"

import "github.com/autorestart-go/autorestart/verify/internal/firstprocess"

//export Own
func Own() int {
	if firstprocess.Own() {
		return 1
	}
	return 0
}

func main() {}
