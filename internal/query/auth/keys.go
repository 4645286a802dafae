package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"tributary/internal/base/files"
	"tributary/internal/base/rawjson"
)

const (
	// maxJWKSBytes bounds a key set, maxKeys what of it is used.
	maxJWKSBytes = 1 << 20
	maxKeys      = 100
	// keysTimeout is how long fetching a key set may take.
	keysTimeout = 5 * time.Second
	// keysAgain is how long after a fetch, good or bad, an unknown kid may cause the next: strangers can make up
	// as many kids as they like.
	keysAgain = 30 * time.Second
	// keysMaxAge is how long keys are trusted while their URL fails: a key that the issuer withdrew must end.
	keysMaxAge = 24 * time.Hour
	// keysFileCheck is how often, at most, a request looks whether a file of keys has changed.
	keysFileCheck = time.Second
)

// keySource holds the public keys of an issuer, from a file or a URL.
type keySource struct {
	log    *slog.Logger
	path   string // of the file
	url    Keys
	client *http.Client
	now    func() time.Time

	// fetching has one place, and its holder fetches. The others wait for it, so that one fetch finds a new key for all.
	fetching chan struct{}

	mu      sync.Mutex   // guards what follows
	file    *files.Watch // nil: keys come from a URL
	keys    []publicKey
	version int       // of keys: how often they were read
	loaded  time.Time // when keys were read last; zero: never
	fetched time.Time // when a fetch ended last, good or bad
	stale   bool      // the last attempt to read them failed
}

// keySet is an issuer's keys at one time. It does not change.
type keySet struct {
	keys    []publicKey
	version int
	loaded  bool // there are keys that may still be trusted
}

// named says whether a key has the kid.
func (k keySet) named(kid string) bool {
	return kid != "" && slices.ContainsFunc(k.keys, func(key publicKey) bool { return key.id == kid })
}

// newKeySource reads a file of keys, or fetches them once. Failing to fetch is not an error, only logged.
func newKeySource(ctx context.Context, where Keys, log *slog.Logger) (*keySource, error) {
	s := &keySource{log: log, now: time.Now, fetching: make(chan struct{}, 1)}
	if !where.isURL() {
		s.path, s.file = string(where), files.NewWatch(keysFileCheck, string(where))
		if err := s.readFile(s.now()); err != nil {
			return nil, err
		}
		return s, nil
	}
	s.url = where
	s.client = &http.Client{
		Timeout: keysTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the keys' URL redirects: name the place it leads to")
		},
	}
	if err := s.fetch(ctx); err != nil {
		log.Error("keys of JWTs not loaded, JWTs are refused until they are", "error", err)
	}
	return s, nil
}

// run fetches the keys again every so often until ctx ends. A file needs no run.
func (s *keySource) run(ctx context.Context, every time.Duration) {
	if s.url == "" {
		return
	}
	for {
		wait := every
		if s.missing() {
			wait = min(every, keysAgain)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		if err := s.fetch(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("keys of JWTs not fetched, the last ones stay in force", "error", err, "for", keysMaxAge)
		}
	}
}

func (s *keySource) missing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loaded.IsZero()
}

// current returns the keys in force.
func (s *keySource) current() keySet {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.file != nil {
		if err := s.readFile(now); err != nil {
			s.log.Error("keys of JWTs not read, their last good state stays in force", "error", err)
		}
	} else if s.loaded.IsZero() || now.Sub(s.loaded) > keysMaxAge {
		return keySet{version: s.version}
	}
	return keySet{s.keys, s.version, true}
}

// newer returns the keys that are in force after another fetch, within bounds, where old did not have the right one.
func (s *keySource) newer(ctx context.Context, old keySet) keySet {
	if s.url != "" && s.mayFetch() {
		if err := s.fetchOnce(ctx); err != nil {
			s.log.Error("keys of JWTs not fetched", "error", err)
		}
	}
	now := s.current() // somebody else may have fetched since
	if now.version == old.version {
		return old
	}
	return now
}

func (s *keySource) isStale() bool {
	s.current() // looks at a file
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stale
}

func (s *keySource) mayFetch() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().Sub(s.fetched) >= keysAgain
}

// fetchOnce fetches, or waits for the fetch that is under way.
func (s *keySource) fetchOnce(ctx context.Context) error {
	select {
	case s.fetching <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for keys: %w", context.Cause(ctx))
	}
	defer func() { <-s.fetching }()
	if !s.mayFetch() { // somebody has just done it
		return nil
	}
	return s.fetch(ctx)
}

func (s *keySource) fetch(ctx context.Context) error {
	// The request that waits for these keys may end, but other requests need them too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysTimeout)
	defer cancel()
	text, err := s.get(ctx)
	var keys []publicKey
	if err == nil {
		keys, err = parseKeys(text)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetched = s.now()
	s.stale = err != nil
	if err != nil {
		return fmt.Errorf("fetch keys from %s: %w", s.url, err)
	}
	s.keys, s.loaded = keys, s.fetched
	s.version++
	return nil
}

func (s *keySource) get(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, string(s.url), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := s.client.Do(request)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return nil, wrapped.Err // without the URL, whose query may hold a secret
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxJWKSBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxJWKSBytes {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxJWKSBytes)
	}
	return text, nil
}

// readFile reads the file if it changed; the caller holds mu, or is alone.
func (s *keySource) readFile(now time.Time) error {
	looked, _, err := s.file.Update(now, func() error {
		text, err := files.Read(s.path, maxJWKSBytes)
		if err != nil {
			return err
		}
		keys, err := parseKeys(text)
		if err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
		s.keys, s.loaded = keys, now
		s.version++
		return nil
	})
	if looked {
		s.stale = err != nil
	}
	if err != nil {
		return fmt.Errorf("read keys: %w", err)
	}
	return nil
}

// parseKeys takes from a JWK set the public keys that are for signatures. Secrets in it are left out: a published
// secret is not secret, and a public key must never serve as one. Keys that can't be read are left out too: a set may hold newer kinds of keys.
func parseKeys(text []byte) ([]publicKey, error) {
	set, err := readObject(string(text))
	if err != nil {
		return nil, fmt.Errorf("decode JWK set: %w", err)
	}
	var keys []publicKey
	add := func(value string) {
		if key, ok := parseKey(value); ok && len(keys) < maxKeys && !slices.ContainsFunc(keys, key.same) {
			keys = append(keys, key)
		}
	}
	switch list := set["keys"]; {
	case strings.HasPrefix(list, "["):
		s := rawjson.New(list)
		for s.Open('['); s.More(']'); {
			add(s.Skip())
		}
	case list == "":
		add(string(text)) // a key by itself
	}
	if len(keys) == 0 {
		return nil, errors.New("no public key for signatures is in the JWK set")
	}
	return keys, nil
}
