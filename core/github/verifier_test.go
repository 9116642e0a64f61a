package github

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func TestVerifier(t *testing.T) {
	v, err := NewVerifier(SplitSecrets(" new-secret , ,old-secret")...)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"zen":"Speak like a human."}`)
	good := Sign("new-secret", body)
	for name, tc := range map[string]struct {
		signature string
		want      error
	}{
		"first secret":   {good, nil},
		"second secret":  {Sign("old-secret", body), nil},
		"upper case":     {"sha256=" + strings.ToUpper(good[7:]), nil},
		"none":           {"", ErrNoSignature},
		"other secret":   {Sign("guess", body), ErrBadSignature},
		"other body":     {Sign("new-secret", []byte("{}")), ErrBadSignature},
		"sha1":           {"sha1=" + good[7:47], ErrBadSignature},
		"too short":      {good[:len(good)-1], ErrBadSignature},
		"too long":       {good + "0", ErrBadSignature},
		"not hex":        {good[:len(good)-1] + "g", ErrBadSignature},
		"no prefix":      {good[7:], ErrBadSignature},
		"prefix alone":   {"sha256=", ErrBadSignature},
		"spaces":         {" " + good, ErrBadSignature},
		"empty secret":   {Sign("", body), ErrBadSignature},
		"whole list":     {Sign("new-secret,old-secret", body), ErrBadSignature},
		"last bit wrong": {flipLast(good), ErrBadSignature},
	} {
		if err := v.Verify(body, tc.signature); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func flipLast(s string) string {
	last := byte('0')
	if s[len(s)-1] == '0' {
		last = '1'
	}
	return s[:len(s)-1] + string(last)
}

// GitHub's own example, from its page on validating webhook deliveries.
func TestVerifierDocumentedExample(t *testing.T) {
	v, err := NewVerifier("It's a Secret to Everybody")
	if err != nil {
		t.Fatal(err)
	}
	const signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	if err := v.Verify([]byte("Hello, World!"), signature); err != nil {
		t.Error(err)
	}
}

func TestNewVerifierWithoutSecret(t *testing.T) {
	for _, list := range []string{"", " ", ",", " , ,"} {
		_, err := NewVerifier(SplitSecrets(list)...)
		if !errors.Is(err, ErrNoSecret) || !strings.Contains(err.Error(), "GITHUB_WEBHOOK_SECRET") {
			t.Errorf("%q: %v, want an error that says what to set", list, err)
		}
	}
}

func TestVerifierNeverShowsItsSecrets(t *testing.T) {
	const secret = "correct-horse-battery"
	v, err := NewVerifier(secret)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v %s", v, v, v, v)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("made", "verifier", v)
	slog.New(slog.NewTextHandler(&out, nil)).Info("made", "verifier", v)
	fmt.Fprint(&out, v.Verify([]byte("x"), Sign("guess", []byte("x"))))
	if strings.Contains(out.String(), secret) || strings.Contains(out.String(), fmt.Sprintf("%d", []byte(secret))[1:20]) {
		t.Errorf("the secret shows in %s", out.String())
	}
}

func TestVerifierConcurrently(t *testing.T) {
	v, err := NewVerifier("one", "two")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for n := range 16 {
		group.Go(func() {
			body := bytes.Repeat([]byte{byte(n)}, 1000+n)
			for range 50 {
				if err := v.Verify(body, Sign("two", body)); err != nil {
					t.Errorf("body %d: %v", n, err)
				}
				if err := v.Verify(body, Sign("three", body)); err == nil {
					t.Errorf("body %d: accepted with a foreign secret", n)
				}
			}
		})
	}
	group.Wait()
}

func BenchmarkVerify(b *testing.B) {
	v, err := NewVerifier("a-secret-of-some-length")
	if err != nil {
		b.Fatal(err)
	}
	body := bytes.Repeat([]byte("x"), 15_000)
	signature := Sign("a-secret-of-some-length", body)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := v.Verify(body, signature); err != nil {
			b.Fatal(err)
		}
	}
}
