// Package dynamo is Amazon DynamoDB in memory.
package dynamo

import (
	"net/http"

	"github.com/truora/minidyn/server"
)

// Target is what the X-Amz-Target header of a request for DynamoDB begins with.
const Target = "DynamoDB_20120810."

// Options change what a Server claims to be.
type Options struct {
	Region     string
	Account    string
	WriteUnits int
}

// Server is an http.Handler with the tables behind it.
type Server struct{ http.Handler }

// NewServer makes a Server without tables.
func NewServer(Options) *Server { return &Server{server.NewServer()} }
