package auth

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"tributary/internal/base/rawjson"
)

// object are the members of a JSON object, as text.
type object map[string]string

// readObject reads a JSON object. A name that is there twice is refused: others may read the other one.
func readObject(text string) (object, error) {
	s := rawjson.New(text)
	o := object{}
	for s.Open('{'); s.More('}'); {
		name := s.Name()
		if _, twice := o[name]; twice {
			return nil, fmt.Errorf("the member %.60q is there twice", name)
		}
		o[name] = s.Skip()
	}
	if err := s.End(); err != nil {
		return nil, err
	}
	if s.NotText() {
		return nil, errors.New("it is no Unicode text")
	}
	return o, nil
}

// text returns a member that is a string. One that is absent or null is "".
func (o object) text(name string) (_ string, ok bool) {
	value := o[name]
	if value == "" || value == "null" {
		return "", true
	}
	return stringOf(value)
}

func stringOf(value string) (_ string, ok bool) {
	if !strings.HasPrefix(value, `"`) {
		return "", false
	}
	s := rawjson.New(value)
	return s.String(), true
}

// texts returns a member that is a string or a list of strings. One that is absent or null is empty.
func (o object) texts(name string) (texts []string, ok bool) {
	value := o[name]
	switch {
	case value == "" || value == "null":
		return nil, true
	case value[0] == '[':
		s := rawjson.New(value)
		for s.Open('['); s.More(']'); {
			text, ok := stringOf(s.Skip())
			if !ok {
				return nil, false
			}
			texts = append(texts, text)
		}
		return texts, true
	}
	text, ok := stringOf(value)
	return []string{text}, ok
}

// maxTime is the last second that a claim may name, in the year 287396: far beyond any token, and safe to compute with.
const maxTime = 1 << 43

// time returns a member that is a NumericDate ("RFC 7519"), with a fraction or without, or one written as a string.
func (o object) time(name string) (_ time.Time, there bool, _ error) {
	value := o[name]
	if value == "" || value == "null" {
		return time.Time{}, false, nil
	}
	text, quoted := stringOf(value)
	if !quoted {
		text = value
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(math.Abs(seconds) <= maxTime) {
		return time.Time{}, false, fmt.Errorf("claim %s is %.40q, it must be a time in seconds", name, value)
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), true, nil
}

// claim is where a claim is: the names of the members that lead to it, from the outermost.
type claim []string

// parseClaim reads a claim's name, or a JSON pointer to it ("RFC 6901"), which begins with a slash.
func parseClaim(text string) (claim, error) {
	if text == "" {
		return nil, errors.New("is empty: name a claim")
	}
	pointer, ok := strings.CutPrefix(text, "/")
	if !ok {
		return claim{text}, nil
	}
	names := strings.Split(pointer, "/")
	for i, name := range names {
		if name == "" {
			return nil, fmt.Errorf("%q has an empty name in it", text)
		}
		names[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
	}
	return names, nil
}

func (c claim) String() string { return strings.Join(c, "/") }

// in returns the claim's value, or "" where it is not there.
func (c claim) in(claims object) (value string, _ error) {
	for i, name := range c {
		if value = claims[name]; i == len(c)-1 || !strings.HasPrefix(value, "{") {
			if i < len(c)-1 {
				value = ""
			}
			break
		}
		var err error
		if claims, err = readObject(value); err != nil {
			return "", fmt.Errorf("claim %s: %w", c, err)
		}
	}
	return value, nil
}

// maxTenantsInClaim bounds the tenants of one JWT.
const maxTenantsInClaim = 1000

// tenants reads the tenants that a claim's value names: a string, an integer, a list of these, or an object whose members' names are
// tenants and whose values are objects, as Keycloak's organizations are.
func (c claim) tenants(value string) (tenants []string, _ error) {
	if value == "" {
		return nil, fmt.Errorf("claim %s is missing", c)
	}
	switch value[0] {
	case '[':
		s := rawjson.New(value)
		for s.Open('['); s.More(']'); {
			tenant, ok := oneTenant(s.Skip())
			if !ok {
				return nil, fmt.Errorf("claim %s holds something else than strings and integers", c)
			}
			tenants = append(tenants, tenant)
		}
	case '{':
		members, err := readObject(value)
		if err != nil {
			return nil, fmt.Errorf("claim %s: %w", c, err)
		}
		for name, member := range members {
			if !strings.HasPrefix(member, "{") {
				return nil, fmt.Errorf("claim %s is an object whose members are not all objects, so their names are no tenants", c)
			}
			tenants = append(tenants, name)
		}
	default:
		tenant, ok := oneTenant(value)
		if !ok {
			return nil, fmt.Errorf("claim %s is neither a string nor an integer, nor a list or an object of tenants", c)
		}
		tenants = []string{tenant}
	}
	if len(tenants) > maxTenantsInClaim {
		return nil, fmt.Errorf("claim %s lists %d tenants, at most %d are read", c, len(tenants), maxTenantsInClaim)
	}
	// What an issuer lets users write must not make an operator.
	return slices.DeleteFunc(tenants, func(t string) bool { return t == AllTenants }), nil
}

// oneTenant reads a string, or an integer as its digits.
func oneTenant(value string) (_ string, ok bool) {
	if text, ok := stringOf(value); ok {
		return text, true
	}
	if strings.Trim(value, "0123456789") != "" {
		return "", false
	}
	return value, true
}

// operator says which JWTs are an operator's.
type operator struct {
	claim claim
	value string
}

// parseOperator reads CLAIM=VALUE.
func parseOperator(text string) (*operator, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || value == "" {
		return nil, fmt.Errorf("%q is not CLAIM=VALUE, such as /realm_access/roles=operator", text)
	}
	c, err := parseClaim(name)
	if err != nil {
		return nil, err
	}
	return &operator{c, value}, nil
}

// is says whether the claim is the value or lists it. A value that is no string is compared as it stands: true, 1.
func (o *operator) is(claims object) bool {
	if o == nil {
		return false
	}
	value, err := o.claim.in(claims)
	if err != nil || value == "" {
		return false
	}
	same := func(value string) bool {
		text, ok := stringOf(value)
		return ok && text == o.value || !ok && value == o.value
	}
	if value[0] != '[' {
		return same(value)
	}
	s := rawjson.New(value)
	for s.Open('['); s.More(']'); {
		if same(s.Skip()) {
			return true
		}
	}
	return false
}
