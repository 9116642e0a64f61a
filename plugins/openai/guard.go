package openai

import (
	"regexp"
	"strings"
	"unicode"
)

// guard decides what of the model's own words may be shown. An issue that has the
// model say what it was told must not get it to: not the prompt, not what is said of
// other issues, not the mark. Nor may it get links, images or mentions of its choice
// before people. What the issue itself says, everybody may read.
type guard struct {
	mark   string
	own    string // the issue's text, as folded gives it
	issue  string // as it is, in lower case
	secret map[string]bool
	titles []string // of other issues, as folded gives them
}

// run is how many words in a row are a quotation.
const run = 5

func (q *question) guard(mark string, others ...*question) *guard {
	text := q.title + "\n" + q.body
	g := &guard{mark: strings.ToLower(strings.Trim(mark, "=")), own: " " + folded(text) + " ", issue: strings.ToLower(text), secret: make(map[string]bool)}
	g.keep(q.prompt)
	foreign := func(title string) {
		g.keep(title)
		// A title of a word or two is no secret of any issue.
		if t := folded(title); len(strings.Fields(t)) > 2 {
			g.titles = append(g.titles, t)
		}
	}
	for _, s := range q.corrected {
		foreign(s.Title)
	}
	for _, o := range others {
		foreign(o.title)
		g.keep(o.body)
		for _, s := range o.corrected {
			foreign(s.Title)
		}
	}
	if q.repository != nil {
		for _, f := range q.fields {
			for _, o := range q.repository.Options[f.name] {
				foreign(o.Description)
			}
		}
	}
	return g
}

// keep makes every run of words of a text a secret that the issue does not say itself.
func (g *guard) keep(s string) {
	words := strings.Fields(folded(s))
	for i := 0; i+run <= len(words); i++ {
		if r := strings.Join(words[i:i+run], " "); !strings.Contains(g.own, " "+r+" ") {
			g.secret[r] = true
		}
	}
}

var (
	link  = regexp.MustCompile(`(?i)(?:[a-z][a-z0-9+.-]{1,20}://|www\.)\S+`)
	image = regexp.MustCompile(`!\[|<[a-zA-Z/!]`)
	name  = regexp.MustCompile(`(?:^|[^\w])@[A-Za-z0-9][\w/-]*`)
	token = regexp.MustCompile(`[A-Za-z0-9+/_=-]{20,}`)
)

// pass gives the text as one line of at most limit bytes, or nothing of it.
func (g *guard) pass(s string, limit int) string {
	s = oneLine(s, limit)
	low := strings.ToLower(s)
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Co, r) {
			return ""
		}
	}
	if strings.Contains(squeezed(low), g.mark) || image.MatchString(s) {
		return ""
	}
	for _, foreign := range [][]string{link.FindAllString(low, -1), name.FindAllString(low, -1), token.FindAllString(low, -1)} {
		for _, f := range foreign {
			if !strings.Contains(g.issue, strings.TrimFunc(f, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsPunct(r) && r != '@' })) {
				return ""
			}
		}
	}
	fold := folded(s)
	words := strings.Fields(fold)
	for i := 0; i+run <= len(words); i++ {
		if g.secret[strings.Join(words[i:i+run], " ")] {
			return ""
		}
	}
	for _, t := range g.titles {
		if strings.Contains(" "+fold+" ", " "+t+" ") && !strings.Contains(g.own, " "+t+" ") {
			return ""
		}
	}
	return s
}

// folded is a text as words of letters and digits in lower case, one blank between
// them, so that quotations are found whatever stands between the words.
func folded(s string) string {
	return strings.Join(strings.FieldsFunc(strings.Map(plain, strings.ToLower(s)), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }), " ")
}

// squeezed is a text without anything between its letters and digits.
func squeezed(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, s)
}
