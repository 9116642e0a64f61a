package github

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"strings"
	"sync"
)

// SignatureHeader carries the signature that Verifier checks.
const SignatureHeader = "X-Hub-Signature-256"

// Errors of Verifier.
var (
	// ErrNoSignature is returned for a delivery without a signature: the
	// webhook was set up without a secret, or the sender is not GitHub.
	ErrNoSignature = errors.New("the delivery is not signed: it has no " + SignatureHeader + " header")
	// ErrBadSignature is returned for a signature that none of the secrets explains.
	ErrBadSignature = errors.New("the signature does not match the body")
	// ErrNoSecret is returned by NewVerifier.
	ErrNoSecret = errors.New("no webhook secret: set GITHUB_WEBHOOK_SECRET to the secret in the GitHub App's webhook settings " +
		"(several, separated by commas, while rotating)")
)

// Verifier checks the signatures of webhook deliveries: HMAC-SHA256 over the
// body's raw bytes, as GitHub documents it. It is safe for concurrent use and
// never shows its secrets, whatever it is formatted with.
type Verifier struct {
	count int
	pool  sync.Pool // of *verification
}

// verification is one goroutine's keyed hashes; keying them costs as much as
// hashing a short body, so they are kept and reset.
type verification struct {
	macs []hash.Hash
	sum  [sha256.Size]byte
}

// SplitSecrets reads the comma-separated list of GITHUB_WEBHOOK_SECRET. Spaces
// around a secret and empty places in the list do not count.
func SplitSecrets(list string) []string {
	var secrets []string
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s != "" {
			secrets = append(secrets, s)
		}
	}
	return secrets
}

// NewVerifier accepts a delivery signed with any of the secrets. Without a
// non-empty one it returns ErrNoSecret: unsigned webhooks are never accepted.
func NewVerifier(secrets ...string) (*Verifier, error) {
	keys := make([][]byte, 0, len(secrets))
	for _, s := range secrets {
		if s != "" {
			keys = append(keys, []byte(s))
		}
	}
	if len(keys) == 0 {
		return nil, ErrNoSecret
	}
	v := &Verifier{count: len(keys)}
	v.pool.New = func() any {
		run := &verification{macs: make([]hash.Hash, len(keys))}
		for i, key := range keys {
			run.macs[i] = hmac.New(sha256.New, key)
		}
		return run
	}
	return v, nil
}

// Verify checks the value of SignatureHeader, "sha256=" and 64 hexadecimal
// digits, against the body. It returns ErrNoSignature for an empty value and
// ErrBadSignature for anything that does not match. Every secret is tried in
// full and compared in constant time, so that neither which secret matched nor
// how nearly can be measured.
func (v *Verifier) Verify(body []byte, signature string) error {
	if signature == "" {
		return ErrNoSignature
	}
	var want [sha256.Size]byte
	var digits [2 * sha256.Size]byte
	encoded, ok := strings.CutPrefix(signature, "sha256=")
	if !ok || copy(digits[:], encoded) != len(encoded) {
		return ErrBadSignature
	}
	if _, err := hex.Decode(want[:], digits[:]); err != nil {
		return ErrBadSignature
	}
	run := v.pool.Get().(*verification)
	defer v.pool.Put(run)
	matched := false
	for _, mac := range run.macs {
		mac.Reset()
		mac.Write(body)
		if hmac.Equal(mac.Sum(run.sum[:0]), want[:]) {
			matched = true
		}
	}
	if !matched {
		return ErrBadSignature
	}
	return nil
}

// Sign is the value of SignatureHeader that GitHub would send with the body:
// for tests, simulations and load generators.
func Sign(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// String tells how many secrets there are and nothing about them.
func (v *Verifier) String() string { return fmt.Sprintf("webhook verifier with %d secret(s)", v.count) }

// GoString hides the secrets from %#v too.
func (v *Verifier) GoString() string { return v.String() }

// LogValue hides the secrets from structured logs.
func (v *Verifier) LogValue() slog.Value { return slog.StringValue(v.String()) }
