// A program that serves net/http.
package main

import "net/http"

func main() { http.ListenAndServe("localhost:0", nil) }
