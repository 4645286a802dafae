package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // makes crypto.SHA256
	_ "crypto/sha512" // makes crypto.SHA384 and crypto.SHA512
	"math/big"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// hashes are the signature algorithms that may be configured, by the hash that each is of ("RFC 7518", "RFC 8037", "RFC 9864").
// All check with a public key: a token signed with HS256 and the public key as its secret, or with none, is refused by name.
var hashes = map[string]crypto.Hash{
	"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512,
	"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512,
	"ES256": crypto.SHA256, "ES384": crypto.SHA384, "ES512": crypto.SHA512,
	"EdDSA": 0, "Ed25519": 0, // of the text itself
}

// curves are the curves of the algorithms that have one.
var curves = map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

// publicKey is a key of an issuer's.
type publicKey struct {
	id        string // kid, or "": it fits every token
	algorithm string // alg, or "": it fits every algorithm of its type
	key       crypto.PublicKey
}

// parseKey reads a JWK. Ok is false where it is not a public key for signatures.
func parseKey(text string) (_ publicKey, ok bool) {
	members, err := readObject(text)
	if err != nil {
		return publicKey{}, false
	}
	use, ok := members.text("use")
	operations, ok2 := members.texts("key_ops")
	kid, ok3 := members.text("kid")
	algorithm, ok4 := members.text("alg")
	switch {
	case !ok || !ok2 || !ok3 || !ok4:
		return publicKey{}, false
	case use != "" && use != "sig", len(operations) > 0 && !slices.Contains(operations, "verify"):
		return publicKey{}, false
	}
	key, ok := readJWK(members)
	return publicKey{kid, algorithm, key}, ok
}

// same says whether two keys are one, listed twice.
func (k publicKey) same(other publicKey) bool {
	own, ok := k.key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.id == other.id && k.algorithm == other.algorithm && own.Equal(other.key)
}

// fits says whether the key may check the algorithm: by its own alg where it has one, and by its type and curve.
func (k publicKey) fits(algorithm string) bool {
	if k.algorithm != "" && k.algorithm != algorithm {
		return false
	}
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		return curves[algorithm] == key.Params().Name
	case ed25519.PublicKey:
		return strings.HasPrefix(algorithm, "Ed")
	}
	return false
}

// verify says whether the key, which fits the algorithm, made the signature.
func (k publicKey) verify(algorithm, signed, signature string) bool {
	hash, sum := hashes[algorithm], []byte(signature)
	var digest []byte
	if hash != 0 {
		h := hash.New()
		h.Write([]byte(signed))
		digest = h.Sum(nil)
	}
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		if strings.HasPrefix(algorithm, "PS") {
			return rsa.VerifyPSS(key, hash, digest, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(key, hash, digest, sum) == nil
	case *ecdsa.PublicKey:
		half := (key.Params().BitSize + 7) / 8
		if len(sum) != 2*half {
			return false
		}
		return ecdsa.Verify(key, digest, new(big.Int).SetBytes(sum[:half]), new(big.Int).SetBytes(sum[half:]))
	case ed25519.PublicKey:
		return ed25519.Verify(key, []byte(signed), sum)
	}
	return false
}

// readJWK reads the key itself. It hands on no member but those that make it, so that nothing else of a key set, such as a
// certificate that does not fit, can spoil a key.
func readJWK(members object) (crypto.PublicKey, bool) {
	var b strings.Builder
	for _, name := range [...]string{"kty", "crv", "x", "y", "n", "e"} {
		if value, there := members[name]; there {
			b.WriteString(`,"` + name + `":` + value)
		}
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON([]byte("{" + strings.TrimPrefix(b.String(), ",") + "}")); err != nil {
		return nil, false
	}
	switch key := parsed.Key.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		return key, true
	}
	return nil, false // a secret, or a kind to come
}
