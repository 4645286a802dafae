//go:build !unix

package main

func foreground() (status int, done bool) { return 0, false }
