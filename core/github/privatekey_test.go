package github

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
)

func TestParsePrivateKey(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	pkcs1 := encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), nil)
	der8, err := x509.MarshalPKCS8PrivateKey(key)
	pkcs8 := encode("PRIVATE KEY", der8, err)
	curve8, err := x509.MarshalPKCS8PrivateKey(curve)
	curvePEM := encode("PRIVATE KEY", curve8, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	publicPEM := encode("PUBLIC KEY", public, err)

	for name, text := range map[string]string{
		"PKCS#1":         pkcs1,
		"PKCS#8":         pkcs8,
		"Windows":        strings.ReplaceAll(pkcs1, "\n", "\r\n"),
		"spaces around":  "\n  " + pkcs1 + "\n\n",
		"escaped":        strings.ReplaceAll(pkcs1, "\n", `\n`),
		"base64":         base64.StdEncoding.EncodeToString([]byte(pkcs1)),
		"wrapped base64": base64.StdEncoding.EncodeToString([]byte(pkcs8))[:76] + "\n" + base64.StdEncoding.EncodeToString([]byte(pkcs8))[76:],
	} {
		got, err := ParsePrivateKey([]byte(text))
		if err != nil || !got.Equal(key) {
			t.Errorf("%s: %v", name, err)
		}
	}

	for name, tc := range map[string]struct{ text, says string }{
		"empty":      {"  \n", "GITHUB_PRIVATE_KEY_FILE"},
		"a path":     {"/etc/dispatchai/key.pem", "GITHUB_PRIVATE_KEY_FILE to its path"},
		"cut":        {pkcs1[:len(pkcs1)/2], "cut short"},
		"damaged":    {encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)[:400], nil), "download a new one"},
		"damaged 8":  {encode("PRIVATE KEY", der8[:400], nil), "download a new one"},
		"two":        {pkcs1 + pkcs8, "exactly one key"},
		"public":     {publicPEM, "public key was given"},
		"other kind": {curvePEM, "not an RSA key"},
		"SSH":        {encode("OPENSSH PRIVATE KEY", der8, nil), "not an SSH or EC key"},
		"encrypted":  {encode("ENCRYPTED PRIVATE KEY", der8, nil), "passphrase"},
		"encrypted, old": {string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der8,
			Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}})), "passphrase"},
		"unknown": {encode("SECRET THING", der8, nil), "unknown kind"},
	} {
		_, err := ParsePrivateKey([]byte(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v; want %q in it", name, err, tc.says)
			continue
		}
		for line := range strings.Lines(tc.text) {
			if line = strings.TrimSpace(line); len(line) > 30 && !strings.HasPrefix(line, "-----") && strings.Contains(err.Error(), line) {
				t.Errorf("%s: the error quotes the key", name)
			}
		}
	}
}

func FuzzParsePrivateKey(f *testing.F) {
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----"))
	f.Add([]byte("LS0tLS1CRUdJTiBSU0E="))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := ParsePrivateKey(text); (key == nil) == (err == nil) {
			t.Fatalf("key %v, error %v", key, err)
		}
	})
}
