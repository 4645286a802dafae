package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"tributary/internal/base/files"
	"tributary/internal/messages"
)

const (
	// tokenPrefix lets secret scanners, and people, recognise a token.
	tokenPrefix = "tributary_"
	// tokenBytes of randomness can't be guessed, so a plain SHA-256 protects the token.
	tokenBytes = 32
	// maxTokensBytes bounds the tokens file.
	maxTokensBytes = 4 << 20
	// tokensCheck is how often, at most, a request looks whether the file has changed.
	tokensCheck = time.Second
)

// Entry is one static token in the tokens file. The token itself is not in it.
type Entry struct {
	Name      string    `json:"name"`       // who holds it; for logs and for people
	SHA256    string    `json:"sha256"`     // of the token's text, hexadecimal
	Tenants   []string  `json:"tenants"`    // what it may read; AllTenants for everything
	ExpiresAt time.Time `json:"expires_at"` // from then on it is refused
}

// file is the tokens file.
type file struct {
	Tokens []Entry `json:"tokens"`
}

// NewToken makes a token and the entry that lets it in. The token is returned once and kept nowhere.
func NewToken(name string, tenants []string, expires time.Time) (token string, _ Entry, _ error) {
	secret := make([]byte, tokenBytes)
	_, _ = rand.Read(secret) // never fails: "crypto/rand" ends the program instead
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	digest := sha256.Sum256([]byte(token))
	entry := Entry{Name: name, SHA256: hex.EncodeToString(digest[:]), Tenants: tenants, ExpiresAt: expires.UTC().Truncate(time.Second)}
	if _, err := parseEntry(entry); err != nil {
		return "", Entry{}, err
	}
	return token, entry, nil
}

// AddToFile adds an entry to the tokens file at path, which need not exist, without ever leaving a half-written
// file, with the mode of the old one, or 0600. Entries that expired before now are dropped on the way. Two calls at once may lose one's entry.
func AddToFile(path string, entry Entry, now time.Time) error {
	var f file
	text, err := files.Read(path, maxTokensBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("read tokens: %w", err)
	default:
		if f, err = decodeFile(text); err != nil {
			return fmt.Errorf("read tokens %s: %w", path, err)
		}
	}
	f.Tokens = slices.DeleteFunc(f.Tokens, func(e Entry) bool { return !now.Before(e.ExpiresAt) })
	f.Tokens = append(f.Tokens, entry)
	out, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("encode tokens: %w", err)
	}
	if err := files.Replace(path, append(out, '\n')); err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	return nil
}

type token struct {
	digest   [sha256.Size]byte
	identity Identity
	expires  time.Time
}

func parseEntry(e Entry) (token, error) {
	var t token
	digest, err := hex.DecodeString(e.SHA256)
	if err != nil || len(digest) != sha256.Size {
		return token{}, fmt.Errorf("token %q: sha256 must have %d hexadecimal digits", e.Name, 2*sha256.Size)
	}
	copy(t.digest[:], digest)
	switch {
	case e.Name == "":
		return token{}, errors.New("a token has no name")
	case len(e.Tenants) == 0:
		return token{}, fmt.Errorf("token %q: no tenants", e.Name)
	case e.ExpiresAt.IsZero():
		return token{}, fmt.Errorf("token %q: no expires_at", e.Name)
	}
	for _, tenant := range e.Tenants {
		if tenant == AllTenants {
			continue
		}
		if err := messages.CheckTenantID(tenant); err != nil {
			return token{}, fmt.Errorf("token %q: %w", e.Name, err)
		}
	}
	t.identity = Identity{Subject: e.Name, Tenants: slices.Clone(e.Tenants)}
	t.expires = e.ExpiresAt
	return t, nil
}

func decodeFile(text []byte) (file, error) {
	var f file
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return file{}, err
	}
	if d.More() {
		return file{}, errors.New("there is more after the object")
	}
	return f, nil
}

// tokenFile holds the tokens of a file and reads it again when it has changed.
type tokenFile struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex // guards what follows
	watch  *files.Watch
	tokens []token
	stale  bool // the file could not be read or understood when it was looked at last
}

func openTokens(path string, now time.Time, log *slog.Logger) (*tokenFile, error) {
	f := &tokenFile{path: path, watch: files.NewWatch(tokensCheck, path), log: log}
	if _, err := f.refresh(now); err != nil {
		return nil, err
	}
	return f, nil
}

// refresh reads the file if it changed; the caller holds mu, or is alone.
func (f *tokenFile) refresh(now time.Time) (changed bool, _ error) {
	looked, changed, err := f.watch.Update(now, func() error {
		text, err := files.Read(f.path, maxTokensBytes)
		if err != nil {
			return err
		}
		decoded, err := decodeFile(text)
		if err != nil {
			return fmt.Errorf("%s: %w", f.path, err)
		}
		tokens := make([]token, 0, len(decoded.Tokens))
		for _, e := range decoded.Tokens {
			t, err := parseEntry(e)
			if err != nil {
				return fmt.Errorf("%s: %w", f.path, err)
			}
			tokens = append(tokens, t)
		}
		f.tokens = tokens
		return nil
	})
	if looked {
		f.stale = err != nil
	}
	if err != nil {
		return false, fmt.Errorf("read tokens: %w", err)
	}
	return changed, nil
}

// current returns the tokens in force. A file that is broken for a moment must not lock everybody out: the tokens read last stay good.
func (f *tokenFile) current(now time.Time) (_ []token, stale bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch changed, err := f.refresh(now); {
	case err != nil:
		f.log.Error("tokens file not read, its last good state stays in force", "error", err)
	case changed:
		f.log.Info("tokens file read again", "tokens", len(f.tokens))
	}
	return f.tokens, f.stale
}

// find returns the holder of a token. known is false if the file does not have the token. Every entry is compared in constant time,
// so that the time taken tells nothing about them.
func (f *tokenFile) find(text string, now time.Time) (_ Identity, known bool, _ error) {
	tokens, _ := f.current(now)
	digest := sha256.Sum256([]byte(text))
	found := -1
	for i := range tokens {
		if subtle.ConstantTimeCompare(digest[:], tokens[i].digest[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Identity{}, false, nil
	}
	t := &tokens[found]
	if !now.Before(t.expires) {
		return Identity{}, true, &Denied{Reason: ReasonExpired, Subject: t.identity.Subject,
			Err: fmt.Errorf("the token expired at %s", t.expires.Format(time.RFC3339))}
	}
	return t.identity, true, nil
}
