// Package loopback tells the machine's own names and addresses from others. A server that anybody on this machine may ask
// must look at the Host of a request: a page in a browser here could have its own name resolve to 127.0.0.1 (DNS
// rebinding), and says that name.
package loopback

import (
	"net"
	"strings"
)

// Is says whether a host is this machine's own, by name or address. An empty host is every address.
func Is(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Asked says whether a request with this Host header asks for this machine by its own name or address, with a port or without.
func Asked(hostHeader string) bool {
	if name, _, err := net.SplitHostPort(hostHeader); err == nil {
		return Is(name)
	}
	return Is(strings.Trim(hostHeader, "[]"))
}
