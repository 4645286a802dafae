package admin

import (
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"tributary/internal/base/loopback"
)

// hosts are the host names that requests may use. A page in a browser can have its own name resolve to the address of a worker (DNS
// rebinding) and read the answers, but its requests carry that name. So only names that can't be registered are accepted:
//
//   - this machine's own names and addresses;
//   - off loopback also every IP address, as probes and Prometheus use, names without a dot, and names that end in
//     a domain that the public DNS doesn't have (privateDomains);
//   - the names that the operator gave.
type hosts struct {
	loopback bool     // the server listens on a loopback address
	own      string   // the machine's host name
	given    []string // lower case
}

// privateDomains are endings of names that can't be registered: those of Kubernetes and AWS, and those of RFC 6761,
// RFC 6762, RFC 8375 and ICANN's resolution 2024.07.29.06.
var privateDomains = []string{".svc", ".cluster.local", ".local", ".internal", ".home.arpa", ".localhost", ".test"}

func newHosts(onLoopback bool, given []string) hosts {
	own, _ := os.Hostname() // without it, the operator must give the name
	h := hosts{loopback: onLoopback, own: strings.ToLower(own)}
	for _, name := range given {
		h.given = append(h.given, canonical(name))
	}
	return h
}

// allows says whether a request with this Host header may be answered. Browsers always send one, old probes don't.
func (h hosts) allows(header string) bool {
	if header == "" || loopback.Asked(header) {
		return true
	}
	name := header
	if host, _, err := net.SplitHostPort(header); err == nil {
		name = host
	}
	name = canonical(name)
	if slices.Contains(h.given, name) {
		return true
	}
	if h.loopback {
		return false
	}
	if name == h.own || net.ParseIP(name) != nil || !strings.Contains(name, ".") {
		return true
	}
	return slices.ContainsFunc(privateDomains, func(domain string) bool { return strings.HasSuffix(name, domain) })
}

// canonical writes a host name in the one way in which names are compared.
func canonical(name string) string {
	return strings.ToLower(strings.TrimSuffix(strings.Trim(strings.TrimSpace(name), "[]"), "."))
}

// onlyFor turns requests away that ask for another host.
func onlyFor(h hosts, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.allows(r.Host) {
			message := "This server answers only to addresses and private names; --admin-hosts adds others."
			if h.loopback {
				message = "This server answers only to localhost."
			}
			http.Error(w, message, http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
