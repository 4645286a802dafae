//go:build !linux && !darwin

// Command emulators runs DynamoDB Local and ElasticMQ; on this system it can't.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "emulators: only for Linux and macOS; elsewhere use the compose file in localstack/docker")
	os.Exit(1)
}
