package rules

import (
	"bytes"
)

// words appends the words of text[start:end] as tokens. Addresses are left
// out, inline code and links are read for what they are, and tags skipped.
func (d *document) words(start, end int, in zone) {
	markdown := in != inCode
	noTick := false
	d.chunkEnd = 0
	for i := start; i < end; {
		b := d.lower[i]
		if b == ' ' {
			i++
			continue
		}
		if markdown {
			switch b {
			case '`':
				if noTick {
					break
				}
				j := i
				for j < end && d.lower[j] == '`' {
					j++
				}
				if n := bytes.IndexByte(d.lower[j:end], '`'); n >= 0 {
					d.words(j, j+n, inCode)
					d.gap = true
					i = j + n
					for i < end && d.lower[i] == '`' {
						i++
					}
					continue
				}
				noTick = true
			case '<':
				if n := tagLength(d.lower[i:min(end, i+300)]); n > 0 {
					if hasPrefix(d.lower[i:end], "<img") {
						d.images++
					}
					i += n
					continue
				}
			case '!':
				if i+1 < end && d.lower[i+1] == '[' {
					d.images++
					if n := bytes.IndexByte(d.lower[i:min(end, i+300)], ']'); n >= 0 {
						// Its address is left out next.
						i += n
						continue
					}
				}
			case ']':
				if i+1 < end && d.lower[i+1] == '(' {
					if n := bytes.IndexByte(d.lower[i:min(end, i+500)], ')'); n >= 0 {
						d.gap = true
						i += n + 1
						continue
					}
				}
			case '?':
				i = d.question(i, end, in)
				continue
			case '#':
				if i+1 < end && asciiClass(d.lower[i+1]) == classDigit {
					d.references++
				}
			}
		}
		if i >= d.chunkEnd {
			if j := d.chunk(i, end); j > i {
				d.gap = true
				i = j
				continue
			}
		}
		j, kind := nextWord(d.lower[:end], i)
		if j > i {
			d.word(i, j, kind, in)
			i = j
			continue
		}
		switch b {
		case '.', '!', ':', ';', '|':
			if i+1 >= end || d.lower[i+1] == ' ' || b == '|' {
				d.sentence = true
			}
		}
		i++
	}
}

// word appends one token.
func (d *document) word(start, end int, kind wordKind, in zone) {
	t := token{start: uint32(start), end: uint32(end), zone: in}
	switch kind {
	case numberWord:
		t.id = idNumber
	case versionWord:
		t.id = idVersion
	default:
		if end-start <= d.lex.longest {
			t.id = d.lex.ids[string(d.lower[start:end])]
		}
		if b := d.text[start]; 'A' <= b && b <= 'Z' && d.errorName.end == 0 && errorName(d.text[start:end]) {
			d.errorName = span{start, end}
		}
	}
	if d.sentence {
		t.flags |= startsSentence
	}
	if d.gap {
		t.flags |= afterGap
	}
	if d.chunkPath && start < d.chunkEnd {
		t.flags |= inPath
	}
	d.sentence, d.gap = false, false
	if in == inProse {
		d.proseWords++
		d.lastAsks = false
	}
	d.tokens = append(d.tokens, t)
}

// question reads a run of question and exclamation marks.
func (d *document) question(i, end int, in zone) int {
	j := i
	for j < end && (d.lower[j] == '?' || d.lower[j] == '!') {
		j++
	}
	if in == inProse {
		d.questions++
		d.lastAsks = true
	}
	d.tokens = append(d.tokens, token{start: uint32(i), end: uint32(j), id: idQuestion, zone: in})
	d.sentence = true
	return j
}

// chunk looks at the run of characters between blanks or brackets that starts
// at i: an address is skipped, by giving its end, and a path is remembered.
func (d *document) chunk(i, end int) int {
	j, slashes, dot := i, 0, -1
scan:
	for j < end {
		switch d.lower[j] {
		case ' ', '"', '\'', '(', ')', '<', '>', '[', ']', '`', ',', ';', '|', '*', '=', '{', '}':
			break scan
		case '/', '\\':
			slashes++
			dot = -1
		case '.':
			dot = j
		}
		j++
	}
	d.chunkEnd = max(j, i+1)
	in := d.lower[i:j]
	d.chunkPath = slashes >= 2 || slashes == 1 && dot > 0 || dot > i && sourceFile(in[dot-i:])
	if slashes >= 2 && (hasPrefix(in, "http://") || hasPrefix(in, "https://") || hasPrefix(in, "ftp://")) || hasPrefix(in, "www.") {
		return j
	}
	return i
}

// sourceFile tells whether an extension, with its dot and perhaps :12:3, is that
// of a source file.
func sourceFile(ext []byte) bool {
	if n := bytes.IndexByte(ext, ':'); n > 0 {
		ext = ext[:n]
	}
	switch string(ext) {
	case ".go", ".py", ".js", ".ts", ".jsx", ".tsx", ".mjs", ".cjs", ".java", ".kt", ".rs", ".cs", ".php", ".rb", ".c", ".cc", ".cpp", ".cxx", ".h", ".hpp",
		".swift", ".scala", ".ex", ".exs", ".clj", ".lua", ".sql", ".proto", ".vue", ".svelte", ".md", ".rst", ".yml", ".yaml", ".toml", ".json", ".css", ".scss", ".html", ".sh":
		return true
	}
	return false
}

// tagLength gives the length of the HTML tag that b starts with, or 0.
func tagLength(b []byte) int {
	if len(b) < 3 || b[1] != '/' && asciiClass(b[1]) != classLetter {
		return 0
	}
	n := bytes.IndexByte(b, '>')
	if n < 0 || bytes.IndexByte(b[:n], '\n') >= 0 {
		return 0
	}
	return n + 1
}
