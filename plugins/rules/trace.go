package rules

import (
	"bytes"
	"strings"
)

// language names what wrote a stack trace.
type language uint8

const (
	noTrace language = iota
	goTrace
	pythonTrace
	javaScriptTrace
	javaTrace
	rustTrace
	csharpTrace
	phpTrace
	rubyTrace
	nativeTrace
	otherTrace
)

// String gives the name as it stands in "Has a Python stack trace".
func (l language) String() string {
	return [...]string{"", "a Go stack trace", "a Python stack trace", "a JavaScript stack trace", "a Java stack trace", "a Rust panic", "a C# stack trace",
		"a PHP stack trace", "a Ruby stack trace", "a native crash report", "a stack trace"}[l]
}

// traceOf tells whether a line, trimmed, belongs to a stack trace, and whose.
// The first byte decides what is looked for, so that other lines cost nothing.
func traceOf(line []byte) language {
	if len(line) < 6 {
		return noTrace
	}
	if len(line) > 400 {
		line = line[:400]
	}
	switch line[0] {
	case 'a':
		if rest, ok := bytes.CutPrefix(line, []byte("at ")); ok {
			return frameOf(rest)
		}
	case 'C', 'E', 'T', 'F', 'U', 'S', 'P', 'A':
		for _, m := range [...]struct {
			prefix string
			of     language
		}{
			{"Caused by: ", javaTrace}, {"Exception in thread ", javaTrace}, {"Traceback (most recent call last)", pythonTrace},
			{"Unhandled exception. ", csharpTrace}, {"Uncaught TypeError", javaScriptTrace}, {"Uncaught ReferenceError", javaScriptTrace},
			{"Uncaught (in promise)", javaScriptTrace}, {"PHP Fatal error", phpTrace}, {"PHP Warning", phpTrace}, {"PHP Parse error", phpTrace},
			{"Fatal error: Uncaught", phpTrace}, {"Segmentation fault", nativeTrace}, {"Program received signal", nativeTrace},
			{"AddressSanitizer", nativeTrace}, {"Aborted (core dumped)", nativeTrace}, {"Stack trace:", otherTrace},
		} {
			if hasPrefix(line, m.prefix) {
				return m.of
			}
		}
		if line[0] == 'F' && hasPrefix(line, "File \"") && bytes.Contains(line, []byte("\", line ")) {
			return pythonTrace
		}
	case 'g':
		if hasPrefix(line, "goroutine ") && bytes.Contains(line, []byte(" [")) {
			return goTrace
		}
	case 'p':
		if hasPrefix(line, "panic: ") {
			return goTrace
		}
	case 't':
		if hasPrefix(line, "thread '") && bytes.Contains(line, []byte("panicked at")) {
			return rustTrace
		}
	case 's':
		if hasPrefix(line, "stack backtrace:") {
			return rustTrace
		}
	case 'f':
		if hasPrefix(line, "from ") && bytes.Contains(line, []byte(":in ")) {
			return rubyTrace
		}
	case '#':
		if asciiClass(line[1]) == classDigit {
			switch {
			case bytes.Contains(line, []byte(".php(")):
				return phpTrace
			case bytes.Contains(line, []byte(" 0x")) && bytes.Contains(line, []byte(" in ")):
				return nativeTrace
			}
		}
	}
	if bytes.Contains(line, []byte(":in ")) && bytes.Contains(line, []byte(".rb:")) {
		return rubyTrace
	}
	return noTrace
}

// frameOf tells whose frame follows an "at ".
func frameOf(rest []byte) language {
	open := bytes.IndexByte(rest, '(')
	closed := rest[len(rest)-1] == ')'
	switch {
	case open > 0 && closed && containsAny(rest[open:], ".java:", ".kt:", ".scala:", ".groovy:", "Native Method)", "Unknown Source)"):
		return javaTrace
	case bytes.Contains(rest, []byte(":line ")):
		return csharpTrace
	case containsAny(rest, ".js:", ".ts:", ".mjs:", ".cjs:", ".jsx:", ".tsx:", "node:internal", "<anonymous>", "webpack"):
		return javaScriptTrace
	}
	if open < 0 || !closed {
		return noTrace
	}
	if name := rest[:open]; bytes.IndexByte(bytes.TrimSpace(name), ' ') < 0 && bytes.IndexByte(name, '.') > 0 {
		return otherTrace
	}
	if positioned(rest) {
		return javaScriptTrace
	}
	return noTrace
}

// positioned tells whether b ends in :line:column), as a browser's frames do.
func positioned(b []byte) bool {
	b = bytes.TrimSuffix(b, []byte(")"))
	for range 2 {
		i := bytes.LastIndexByte(b, ':')
		if i < 0 || !allDigits(b[i+1:]) {
			return false
		}
		b = b[:i]
	}
	return true
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

func containsAny(b []byte, parts ...string) bool {
	for _, p := range parts {
		if bytes.Contains(b, []byte(p)) {
			return true
		}
	}
	return false
}

// errorName tells whether a word is the name of an error type, such as
// TypeError or IOException, as written.
func errorName(word []byte) bool {
	for _, suffix := range [...]string{"Error", "Exception"} {
		if len(word) > len(suffix)+1 && len(word) <= 40 && strings.HasSuffix(string(word), suffix) && 'A' <= word[0] && word[0] <= 'Z' {
			return true
		}
	}
	return false
}
