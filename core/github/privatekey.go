package github

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// ParsePrivateKey reads the RSA key that GitHub gives out for an App: PEM with
// PKCS#1 or PKCS#8 inside. It also takes the two disguises that keys get in
// environment variables: line ends written as \n, and the whole PEM in base64.
// Errors say what to do and quote nothing of the input.
func ParsePrivateKey(text []byte) (*rsa.PrivateKey, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return nil, errors.New("no GitHub App private key: set GITHUB_PRIVATE_KEY to the key's PEM text, or GITHUB_PRIVATE_KEY_FILE to the .pem file " +
			"that GitHub's App settings gave you under \"Private keys\"")
	}
	block, rest := pem.Decode(undisguise(text))
	if block == nil {
		if bytes.Contains(text, []byte("-----BEGIN")) {
			return nil, errors.New("the GitHub App private key is cut short or damaged: it begins as PEM but does not end as one; " +
				"copy the whole .pem file, its first and last line included")
		}
		return nil, errors.New("the GitHub App private key is not PEM: it must begin with -----BEGIN RSA PRIVATE KEY-----; " +
			"if you meant a file, set GITHUB_PRIVATE_KEY_FILE to its path")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("the GitHub App private key has more after its end: give exactly one key, without certificates or other keys")
	}
	return parseKeyBlock(block)
}

func undisguise(text []byte) []byte {
	if bytes.Contains(text, []byte(`\n`)) && !bytes.Contains(text, []byte("\n")) {
		return []byte(strings.ReplaceAll(string(text), `\n`, "\n"))
	}
	if !bytes.Contains(text, []byte("-----BEGIN")) {
		packed := strings.Join(strings.Fields(string(text)), "")
		if decoded, err := base64.StdEncoding.DecodeString(packed); err == nil && bytes.Contains(decoded, []byte("-----BEGIN")) {
			return decoded
		}
	}
	return text
}

func parseKeyBlock(block *pem.Block) (*rsa.PrivateKey, error) {
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
		return nil, errors.New("the GitHub App private key is protected by a passphrase: remove it with " +
			"`openssl rsa -in encrypted.pem -out key.pem`, or generate a new key in the App's settings")
	}
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the GitHub App private key is damaged (PKCS#1): %w; download a new one from the App's settings", err)
		}
		return key, nil
	case "PRIVATE KEY":
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the GitHub App private key is damaged (PKCS#8): %w; download a new one from the App's settings", err)
		}
		key, ok := parsed.(*rsa.PrivateKey)
		if !ok {
			return nil, errors.New("the GitHub App private key is not an RSA key: use the .pem file that GitHub generated for the App, no other key")
		}
		return key, nil
	case "OPENSSH PRIVATE KEY", "EC PRIVATE KEY":
		return nil, fmt.Errorf("the GitHub App private key is of another kind (%s): use the .pem file that GitHub generated for the App, not an SSH or EC key", block.Type)
	case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
		return nil, fmt.Errorf("a %s was given where the GitHub App's private key belongs: use the .pem file that begins with -----BEGIN RSA PRIVATE KEY-----",
			strings.ToLower(block.Type))
	}
	return nil, errors.New("the GitHub App private key's PEM is of an unknown kind: it must be RSA PRIVATE KEY or PRIVATE KEY")
}
