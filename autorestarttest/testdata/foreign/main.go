// Foreign is a program without the library.
package main

func main() {}
