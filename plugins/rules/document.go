package rules

import (
	"bytes"
)

// document is an issue taken apart once: its words with where they stand, its
// sections, and what its lines look like. Everything later reads it, nothing
// reads the text again except the repository's own rules.
//
// A document is reused from issue to issue; read fills it anew.
type document struct {
	lex *lexicon

	text   []byte // title, \n, body; cleaned
	lower  []byte // the same in lower case, with the same offsets
	bodyAt int

	tokens   []token
	sections []section
	prefixes []span // of the title: [x], x: and x(y):

	traces     uint16 // a bit per language
	firstTrace language
	errorName  span
	form       formKind // the template, by its hidden marker

	questions  int // sentences of the body that end in a question mark
	lastAsks   bool
	titleAsks  bool
	images     int
	codeLines  int
	fences     int
	proseWords int
	numbered   int // numbered list items
	facts      int // "Version: 1.2" lines
	references int // #123

	// State of the scan.
	open      int // the section that lines belong to, -1 before the first
	sentence  bool
	gap       bool
	chunkEnd  int
	chunkPath bool
	lastKind  lineKind
	lastText  int // the end of the last line that held something
}

type span struct{ start, end int }

// zone is where a word stands.
type zone uint8

const (
	inTitle zone = 1 << iota
	inProse
	inHeading
	inChecked // a ticked option of a form
	inCode
)

const (
	startsSentence uint8 = 1 << iota
	afterGap             // something that is no word stood before it
	inPath               // part of a file's path
	inFrame              // part of a stack trace's line
)

type token struct {
	start, end uint32
	id         uint16 // in the lexicon; 0 for words it does not know
	zone       zone
	flags      uint8
}

// section is a heading, or the name before a colon, with what follows it.
type section struct {
	heading  span
	answer   span
	words    [2]int // tokens of the heading
	body     [2]int // tokens of the answer
	inline   bool   // name and answer share a line
	answered bool
}

// formKind is what a template's hidden marker says the issue is.
type formKind uint8

const (
	noForm formKind = iota
	bugForm
	featureForm
)

type lineKind uint8

const (
	blankLine lineKind = iota
	proseLine
	listLine
	codeLine
	headingLine
	otherLine
)

const (
	maxSections = 200
	maxHeading  = 160
)

// read takes title and body apart.
func (d *document) read(title, body string) {
	*d = document{
		lex: d.lex, text: d.text[:0], lower: d.lower[:0], tokens: d.tokens[:0], sections: d.sections[:0], prefixes: d.prefixes[:0],
		open: -1,
	}
	d.text = appendClean(d.text, title, maxTitle)
	for i, b := range d.text {
		if b == '\n' {
			d.text[i] = ' '
		}
	}
	d.text = append(d.text, '\n')
	d.bodyAt = len(d.text)
	d.text = appendClean(d.text, body, maxBody)
	d.lower = appendLower(d.lower, d.text)
	d.readTitle(d.bodyAt - 1)
	d.readBody()
	d.close(len(d.tokens))
	for i := range d.sections {
		if s := &d.sections[i]; !s.answered {
			for j := s.words[0]; j < s.words[1]; j++ {
				d.tokens[j].zone = 0
			}
		}
	}
}

// readTitle splits off the prefixes of the title and reads the rest.
func (d *document) readTitle(end int) {
	i := 0
	for range 4 {
		for i < end && d.text[i] == ' ' {
			i++
		}
		next, inside := titlePrefix(d.text[i:end])
		if next == 0 {
			break
		}
		d.prefixes = append(d.prefixes, span{i + inside.start, i + inside.end})
		if in := d.text[i+inside.start : i+inside.end]; in[len(in)-1] == ')' {
			if at := bytes.IndexByte(in, '('); at > 0 {
				d.prefixes[len(d.prefixes)-1].end = i + inside.start + at
				d.prefixes = append(d.prefixes, span{i + inside.start + at + 1, i + inside.end - 1})
			}
		}
		if k, ok := d.lex.kindIn(d.lower[i+inside.start : i+inside.end]); !ok || k.strength < 1 {
			d.sentence = true
			d.words(i+inside.start, i+inside.end, inTitle)
		}
		i += next
	}
	d.sentence = true
	d.words(i, end, inTitle)
	if n := len(bytes.TrimRight(d.text[:end], " ")); n > 0 {
		d.titleAsks = bytes.IndexByte(d.text[max(0, n-2):n], '?') >= 0
	}
}

// readBody goes through the lines.
func (d *document) readBody() {
	var fence []byte
	for i := d.bodyAt; i < len(d.text); {
		end, next := cutLine(d.text, i)
		start := i
		for start < end && d.text[start] == ' ' {
			start++
		}
		line := d.text[start:end]
		if fence == nil && bytes.Contains(line, []byte("<!--")) {
			d.hideComments(start)
			for start < end && d.text[start] == ' ' {
				start++
			}
		}
		for end > start && d.text[end-1] == ' ' {
			end--
		}
		line = d.text[start:end]
		if len(line) == 0 {
			d.lastKind = blankLine
			i = next
			continue
		}
		switch {
		case fence != nil:
			if hasPrefix(line, string(fence)) && len(bytes.Trim(line, "`~ ")) == 0 {
				fence = nil
				d.lastKind = otherLine
			} else {
				d.code(start, end)
			}
		case hasPrefix(line, "```") && bytes.IndexByte(line[3:], '`') < 0, hasPrefix(line, "~~~"):
			n := 3
			for n < len(line) && line[n] == line[0] {
				n++
			}
			fence = line[:n]
			d.fences++
		case start-i >= 4 && (d.lastKind == blankLine || d.lastKind == codeLine) && !listed(line):
			d.code(start, end)
		default:
			d.line(start, end, next)
		}
		d.lastText = end
		i = next
	}
}

// hideComments blanks the HTML comments of the line that starts at start, to
// their end, which may be lines below, and notes a template's marker in them.
func (d *document) hideComments(start int) {
	for {
		end, _ := cutLine(d.text, start)
		at := bytes.Index(d.text[start:end], []byte("<!--"))
		if at < 0 {
			return
		}
		at += start
		stop := len(d.text)
		if n := bytes.Index(d.text[at:], []byte("-->")); n >= 0 {
			stop = at + n + 3
		}
		if in := d.lower[at:min(stop, at+200)]; bytes.Contains(in, []byte("template")) {
			switch {
			case containsAny(in, "bug_report", "bug-report", "bug report"):
				d.form = bugForm
			case containsAny(in, "feature_request", "feature-request", "feature request"):
				d.form = featureForm
			}
		}
		for j := at; j < stop; j++ {
			if d.text[j] != '\n' {
				d.text[j], d.lower[j] = ' ', ' '
			}
		}
		start = stop
		if start >= len(d.text) {
			return
		}
	}
}

// line reads one line that is neither blank nor fenced code.
func (d *document) line(start, end, next int) {
	line := d.text[start:end]
	if traceOf(line) != noTrace {
		d.code(start, end)
		return
	}
	if line[0] == '>' {
		d.lastKind = otherLine
		return
	}
	if boilerplate(d.lower[start:end]) {
		return
	}
	if text, ok := atxHeading(line); ok {
		d.heading(end-len(text), end)
		return
	}
	if closes, ok := boldHeading(line); ok {
		d.heading(start+2, start+closes)
		if rest := start + closes + 2; rest < end {
			first := len(d.tokens)
			d.answer(rest, end)
			d.fact(first)
		}
		return
	}
	if next < len(d.text) && underlined(d.text, next) && len(line) <= maxHeading {
		d.heading(start, end)
		return
	}
	list := false
	if n := bullet(line); n > 0 {
		list = true
		if asciiClass(line[0]) == classDigit {
			d.numbered++
		}
		start += n
		for start < end && d.text[start] == ' ' {
			start++
		}
		if line = d.text[start:end]; len(line) == 0 {
			return
		}
		if len(line) >= 3 && line[0] == '[' && line[2] == ']' {
			d.lastKind = listLine
			if line[1] == 'x' || line[1] == 'X' {
				d.sentence = true
				d.answered()
				d.words(start+3, end, inChecked)
			}
			return
		}
		if closes, ok := boldHeading(line); ok && bytes.HasPrefix(bytes.TrimLeft(line[closes:], "*_"), []byte(":")) {
			d.named(start+2, start+closes, start+closes+2, end)
			return
		}
	}
	if colon := nameBefore(line); colon > 0 {
		if len(bytes.Trim(line[colon+1:], " *_")) == 0 && !list {
			d.heading(start, start+colon)
			return
		}
		d.named(start, start+colon, start+colon+1, end)
		return
	}
	if list || d.lastKind != proseLine || len(line) > 0 && 'A' <= line[0] && line[0] <= 'Z' {
		d.sentence = true
	}
	d.lastKind = proseLine
	if list {
		d.lastKind = listLine
	}
	d.answer(start, end)
}

// answer reads prose that belongs to the open section.
func (d *document) answer(start, end int) {
	in := bytes.Trim(d.lower[start:end], " *_:.-`")
	if len(in) == 0 {
		return
	}
	switch string(in) {
	case "no response", "n/a", "na", "none", "no", "nothing", "todo", "tbd":
		// "No" answers a question, but says nothing for the heading.
	default:
		d.answered()
	}
	if d.lastKind == headingLine || d.lastKind == blankLine {
		d.sentence = true
	}
	d.words(start, end, inProse)
}

func (d *document) answered() {
	if d.open >= 0 {
		d.sections[d.open].answered = true
	}
}

// heading opens a section.
func (d *document) heading(start, end int) {
	d.lastKind = headingLine
	if end-start > maxHeading || len(d.sections) >= maxSections {
		d.sentence = true
		d.words(start, end, inProse)
		return
	}
	d.close(len(d.tokens))
	s := section{heading: span{start, end}}
	s.words[0] = len(d.tokens)
	d.sentence = true
	d.words(start, end, inHeading)
	s.words[1] = len(d.tokens)
	s.body = [2]int{len(d.tokens), len(d.tokens)}
	s.answer = span{end, end}
	d.sections = append(d.sections, s)
	d.open = len(d.sections) - 1
}

// close ends the open section before token n.
func (d *document) close(n int) {
	if d.open >= 0 {
		s := &d.sections[d.open]
		s.body[1] = n
		s.answer.end = max(s.answer.start, d.lastText)
	}
	d.open = -1
}

// named reads "Name: answer", a section of one line inside the open one.
func (d *document) named(start, nameEnd, answer, end int) {
	d.lastKind = listLine
	d.answered()
	if len(d.sections) >= maxSections {
		d.sentence = true
		d.words(start, end, inProse)
		return
	}
	s := section{heading: span{start, nameEnd}, answer: span{min(answer, end), end}, inline: true, answered: true}
	s.words[0] = len(d.tokens)
	d.sentence = true
	d.words(start, nameEnd, inHeading)
	s.words[1] = len(d.tokens)
	s.body[0] = len(d.tokens)
	d.sentence = true
	d.words(s.answer.start, end, inProse)
	s.body[1] = len(d.tokens)
	d.fact(s.body[0])
	d.sections = append(d.sections, s)
}

// fact counts an answer of one line, from token first on, that holds a number.
func (d *document) fact(first int) {
	for _, t := range d.tokens[first:] {
		if t.id == idNumber || t.id == idVersion {
			d.facts++
			return
		}
	}
}

// code reads a line of code or of output.
func (d *document) code(start, end int) {
	d.lastKind = codeLine
	d.codeLines++
	d.answered()
	first := len(d.tokens)
	if l := traceOf(d.text[start:end]); l != noTrace {
		if d.firstTrace == noTrace || d.firstTrace == otherTrace {
			d.firstTrace = l
		}
		d.traces |= 1 << l
		defer func() {
			for i := first; i < len(d.tokens); i++ {
				d.tokens[i].flags |= inFrame
			}
		}()
	}
	d.sentence = true
	d.words(start, end, inCode)
}
