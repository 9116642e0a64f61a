package relay

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxBodyBytes is the largest webhook that GitHub sends.
const MaxBodyBytes = 25 << 20

// maxEventBytes holds the largest webhook in base64, or as JSON of somebody
// else's making, with its headers.
const maxEventBytes = MaxBodyBytes/3*4 + 2<<20

// delivery is one webhook on its way through a channel.
type delivery struct {
	header http.Header
	// bodies are what the webhook's body may have been, the likeliest first:
	// one where the channel keeps the bytes, several where it does not.
	bodies [][]byte
}

// passed tells which headers of a webhook go along: what ingress reads, what the
// signature is in, and nothing that says who the sender is or what it may do.
func passed(name string) bool {
	switch name {
	case "content-type", "user-agent", "traceparent":
		return true
	}
	return strings.HasPrefix(name, "x-github-") || strings.HasPrefix(name, "x-hub-")
}

// encodeEnvelope is the data of a server-sent event: the headers as members,
// in lower case, and the body's bytes as base64 in bodyB, a member that other
// relays use as well.
func encodeEnvelope(header http.Header, body []byte) ([]byte, error) {
	members := map[string]string{"bodyB": base64.StdEncoding.EncodeToString(body)}
	for name, values := range header {
		if name = strings.ToLower(name); passed(name) && len(values) == 1 {
			members[name] = values[0]
		}
	}
	return json.Marshal(members)
}

// errNoBody says that an event of a channel is no webhook.
var errNoBody = errors.New("the event has no body: the URL is not that of a webhook channel")

// decodeEnvelope reads a server-sent event's data. It knows bodyB, in which the
// bytes are kept (this package's server, gosmee), and rawdata, rawBody or a body
// that is a string, in which they are kept as text. Where body is a document, as
// at smee.io, the relay has parsed and written the JSON anew, and the bytes that
// GitHub signed are lost; see guesses.
func decodeEnvelope(data []byte) (delivery, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return delivery{}, fmt.Errorf("the event is not a JSON object: %w", err)
	}
	d := delivery{header: make(http.Header)}
	for name, raw := range members {
		var value string
		if name = strings.ToLower(name); passed(name) && json.Unmarshal(raw, &value) == nil {
			d.header.Set(name, value)
		}
	}
	d.header.Set("Content-Type", "application/json")
	var text string
	if raw := members["bodyB"]; isText(raw) {
		var body []byte
		if err := json.Unmarshal(raw, &body); err != nil {
			return d, fmt.Errorf("bodyB is not base64: %w", err)
		}
		d.bodies = [][]byte{body}
		return d, nil
	}
	for _, name := range []string{"rawdata", "rawBody", "rawbody", "body"} {
		if raw := members[name]; isText(raw) && json.Unmarshal(raw, &text) == nil {
			d.bodies = [][]byte{[]byte(text)}
			return d, nil
		}
	}
	raw := members["body"]
	if len(raw) == 0 || raw[0] != '{' {
		return d, errNoBody
	}
	d.bodies = guesses(raw)
	return d, nil
}

func isText(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '"' }

// guesses are the ways in which the JSON that GitHub signed may have been
// written when all there is of it is the JSON that a relay wrote. JSON.stringify
// gives back most of what GitHub writes, byte by byte, but not escapes of
// characters that need none, and not numbers beyond its precision or of another
// form. Escapes are tried; for numbers there is no remedy.
func guesses(raw []byte) [][]byte {
	bodies := [][]byte{raw}
	add := func(body []byte) {
		if !slices.ContainsFunc(bodies, func(other []byte) bool { return bytes.Equal(other, body) }) {
			bodies = append(bodies, body)
		}
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) == nil {
		add(compact.Bytes())
		var escaped bytes.Buffer
		json.HTMLEscape(&escaped, compact.Bytes())
		add(escaped.Bytes())
		add(asciiOnly(compact.Bytes()))
		add(asciiOnly(escaped.Bytes()))
	}
	return bodies
}

// asciiOnly escapes every character beyond ASCII, which in JSON stands in
// strings only.
func asciiOnly(document []byte) []byte {
	out := make([]byte, 0, len(document))
	for len(document) > 0 {
		r, size := utf8.DecodeRune(document)
		switch {
		case r < utf8.RuneSelf || r == utf8.RuneError && size == 1:
			out = append(out, document[0])
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		document = document[size:]
	}
	return out
}

// body chooses the body whose signature verifies, or else the likeliest, so that
// whoever receives it says what is wrong with it.
func (d delivery) body(verify func(body []byte, signature string) error) []byte {
	signature := d.header.Get("X-Hub-Signature-256")
	if verify != nil && signature != "" {
		for _, body := range d.bodies {
			if verify(body, signature) == nil {
				return body
			}
		}
	}
	return d.bodies[0]
}
