package openai

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// suspicions are the kinds of text that may be meant for the model rather than for
// people.
type suspicions []string

// describe says it to a maintainer, without repeating any of the text.
func (s suspicions) describe() string {
	kinds := slices.Compact(slices.Sorted(slices.Values(s)))
	return strings.Join(kinds, " and ")
}

// The kinds of suspicion, as the end of a sentence that begins with "The text".
const (
	givesOrders   = "gives orders to a classifier"
	playsRoles    = "plays the part of the system"
	asksForPrompt = "asks for what the classifier was told"
	namesLabels   = "says which labels or fields to set"
	isEncoded     = "holds encoded instructions"
)

// cue is what text that is meant for a model looks like: one of some words, and,
// where then names any, one of those within so many bytes behind it.
type cue struct {
	kind   string
	first  []string
	then   []string
	within int
}

// cues are wide: a false alarm costs a second call and nothing else. They see words
// in lower case, with single blanks between them.
func cues() []cue {
	split := func(s string) []string { return strings.Split(strings.Map(plain, s), "|") }
	ai := "ai|llm|llms|gpt|chatgpt|assistant|ai assistant|classifier|classifiers|triager|triage bot|bot|language model|language models|openai|ai agent|dispatchai|automated triage|reviewer bot|ai model"
	values := "label|labels|category|priority|severity|component|confidence|assignee|assignees|p0|p1|critical|urgent|security|admin|approved|blocker|sev0|sev1|sev 0|sev 1|sentiment|classification|ok to test|lgtm|privileged|wontfix|highest|high|lowest|low|major|minor|trivial|bug|feature|question"
	return []cue{
		{givesOrders, split("ignore|ignoring|disregard|forget|override|bypass|overrule|supersede|supersedes|neglect"),
			split("instruction|instructions|rules|prompt|prompts|guidelines|directions|constraints|above|previous|prior|earlier|everything|policy|policies|system|told"), 50},
		{givesOrders, split("new|updated|real|actual|revised|secret|hidden|special|important"), split("instruction|instructions|directive|directives|orders"), 12},
		{givesOrders, split("attention|note|notice|message|hint|instruction|instructions|dear|hey|hello|hi|listen|reminder|to the|to all|to any|to every|for the|for any|as the|as an"), split(ai), 22},
		{givesOrders, split("ai|llm|llms|gpt|chatgpt|assistant|classifier|triage bot|language model|bots"),
			split("must|should|shall|has to|have to|need to|needs to|will now|are required|is required|please|ought to|are to"), 30},
		{givesOrders, split("you must|you should|you shall|you are to|you have to|you need to|you will|please|now|only|instead|always|just|kindly"),
			split("classify|label this|label it|labelling|mark this|mark it|tag this|tag it|categorize|categorise|prioritize|prioritise|triage this|triage it|respond with|reply with|answer with|respond only|reply only|answer only|output only|output the|output json|obey|escalate this|treat this|treat it|rate this"), 24},
		{givesOrders, split("do as i say|obey|comply with this|comply with my|follow my|your task is|your only task|your new task|your job is|your goal is|your purpose|your role is|your instructions|your rules|from now on|act as if you|pretend you|pretend to be|roleplay|role play|you are now|you are no longer|you are an ai|you are a helpful|you are the|jailbreak|dan mode|god mode|do anything now|unrestricted mode|maintenance mode"), nil, 0},
		{givesOrders, split("answer|respond|reply"), split("only|exactly|with|json|verbatim|nothing"), 14},
		{playsRoles, split("system prompt|system message|system override|system update|system notice|system instruction|system instructions|end of issue|end of the issue|end of text|end of the text|end of data|end of untrusted|begin system|start of system|beginning of system|begin instructions|begin trusted|trusted instructions|im start|im end|start header id|endoftext|end of prompt"), nil, 0},
		{asksForPrompt, split("print|reveal|repeat|show|output|leak|tell|display|reproduce|copy|quote|summarize|summarise|list|include|put|write|dump|recite|translate|encode|return|disclose|share|echo|append|paste|send|give|state|mention|read"),
			split("prompt|prompts|your instructions|these instructions|the instructions|instructions you|your rules|the rules|rules you|system message|initial message|above text|text above|everything above|previous issue|previous issues|other issue|other issues|similar issue|similar issues|corrected issue|corrected issues|another issue|api key|your secrets|your credentials|the mark|label descriptions"), 60},
		{asksForPrompt, split("what|which"), split("you told|you were told|your prompt|your system prompt|your instructions|your rules|written above|said above"), 30},
		{namesLabels, split("label|tag|mark|classify|categorize|categorise|prioritize|prioritise|triage|treat|rate|flag|escalate|labelled|labeled|tagged|classified|marked|flagged|prioritized|escalated|treated"), split(values), 34},
		{namesLabels, split("set|assign|apply|raise|change|choose|select|pick|attach"), split("label|labels|priority|severity|category|confidence|sentiment|assignee|assignees|classification"), 30},
		{namesLabels, split("add|put|give|use|make"), split("the label|this label|label|priority|severity|a label|the category|critical priority|highest priority"), 20},
		{givesOrders, split("ignoriere|ignorier|vergiss|anweisung|anweisungen|ignorez|ignore les|oubliez|instructions précédentes|ignora|ignora las|olvida|instrucciones|ignore as|instruções|istruzioni|игнорируй|игнорируйте|забудь|забудьте|инструкции|negeer|instructies|ignoruj|instrukcje|talimatları|yoksay|polecenia"), nil, 0},
	}
}

// scripts are words of languages that put no blanks between them.
func scripts() []string {
	return []string{"忽略", "无视", "指示", "指令", "無視", "무시", "지시", "تجاهل", "التعليمات", "अनदेखा", "निर्देश", "התעלם", "เพิกเฉย", "คำสั่ง", "bỏ qua"}
}

// marks are what no word is: the fences of chat templates, the keys of an answer,
// commands of bots.
var marks = []struct {
	kind string
	mark *regexp.Regexp
}{
	{playsRoles, regexp.MustCompile(`<\|/?(?:im_start|im_end|system|user|assistant|endoftext|start_header_id|eot_id)|</?(?:system|assistant|instructions|prompt|developer|issue)>|\[/?(?:inst|system|assistant)\]|<</?sys>>|"role" ?:`)},
	{playsRoles, regexp.MustCompile(`^[\s>#*\-|(\["']*(?:system|assistant|developer)(?: message| prompt| note| override)?["')\]]*:`)},
	{playsRoles, regexp.MustCompile(`^\s*#+ ?(?:system|instructions?|assistant|response|admin|developer|prompt)\s*:?\s*$`)},
	{namesLabels, regexp.MustCompile(`["'](?:category|priority|severity|component|tags|confidence|assignees|effort|sentiment|reasoning)["'] ?:|\b(?:category|priority|severity|confidence|sentiment)\b ?[:=] ?["']?[a-z0-9]`)},
	{namesLabels, regexp.MustCompile(`(?:^|\s)/(?:label|priority|assign|kind|severity|area|triage|approve|lgtm|close|hold|ok-to-test)\s`)},
}

// suspect tells of what kinds the text is suspicious.
func suspect(s string) suspicions {
	var found suspicions
	for line := range strings.Lines(s) {
		found = append(found, suspectLine(line)...)
	}
	// An order may be spread over lines.
	if len(found) == 0 {
		found = suspectWords(words(s))
	}
	return found
}

func suspectLine(line string) suspicions {
	found := suspectWords(words(line))
	low := strings.ToLower(line)
	if strings.ContainsAny(low, "<[:=>/#\"") {
		for _, m := range marks {
			if m.mark.MatchString(low) {
				found = append(found, m.kind)
			}
		}
	}
	if encoded(line) {
		found = append(found, isEncoded)
	}
	return found
}

func suspectWords(w string) suspicions {
	var found suspicions
	for _, c := range known {
		if c.in(w) {
			found = append(found, c.kind)
		}
	}
	for _, word := range foreign {
		if strings.Contains(w, word) {
			return append(found, givesOrders)
		}
	}
	return found
}

// The cues and scripts, made once; they are never written to.
var (
	known   = cues()
	foreign = scripts()
)

// in tells whether the cue is in a text as words gives it.
func (c cue) in(w string) bool {
	for _, f := range c.first {
		f = " " + f + " "
		for rest := w; ; {
			i := strings.Index(rest, f)
			if i < 0 {
				break
			}
			if len(c.then) == 0 {
				return true
			}
			rest = rest[i+len(f)-1:]
			if near := rest[:min(len(rest), c.within+2)]; c.follows(near) {
				return true
			}
		}
	}
	return false
}

func (c cue) follows(near string) bool {
	for _, t := range c.then {
		if i := strings.Index(near, " "+t); i >= 0 && (i+1+len(t) == len(near) || near[i+1+len(t)] == ' ') {
			return true
		}
	}
	return false
}

// address is a link, in which words stand for other things.
var address = regexp.MustCompile(`https?://[^\s)>\]"]+`)

// maxExamined bounds what expressions see at a time; they are linear in it.
const maxExamined = 32 << 10

// words is a text as the cues look at it: a blank before, between and behind all
// words. Letters that are spaced out, and those that look like others, are put
// together again.
func words(s string) string {
	if len(s) > maxExamined {
		s = s[:maxExamined]
	}
	s = address.ReplaceAllString(s, " ")
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte(' ')
	for _, part := range wide.Split(strings.Map(plain, strings.ToLower(s)), -1) {
		fields := strings.FieldsFunc(part, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) })
		for i := 0; i < len(fields); {
			// Single letters in a row are a word that was spaced out.
			end := i
			for end < len(fields) && utf8.RuneCountInString(fields[end]) == 1 {
				end++
			}
			if end-i >= fewestLetters {
				b.WriteString(strings.Join(fields[i:end], ""))
				i = end
			} else {
				b.WriteString(fields[i])
				i++
			}
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// wide is what stands between words that are spaced out.
var wide = regexp.MustCompile(`\s{2,}`)

// fewestLetters in a row make a word.
const fewestLetters = 4

// plain gives the letter that another looks like.
func plain(r rune) rune {
	switch {
	case r >= 0xFF01 && r <= 0xFF5E: // full width
		return unicode.ToLower(r - 0xFEE0)
	case r >= 0x1D400 && r <= 0x1D7FF: // mathematical alphanumerics
		return 'a' + (r-0x1D400)%26
	}
	switch r {
	case 'а':
		return 'a'
	case 'е':
		return 'e'
	case 'о':
		return 'o'
	case 'р':
		return 'p'
	case 'с':
		return 'c'
	case 'і', 'ı':
		return 'i'
	case '*', '_', '`', '~':
		return -1
	}
	return r
}

var encodedWord = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}={0,2}`)

// encoded tells whether a word of the line is text in base64, or its letters are
// rotated, that is suspicious itself.
func encoded(line string) bool {
	for _, w := range encodedWord.FindAllString(line, 16) {
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			text, err := e.DecodeString(w)
			if err == nil && printable(text) && len(suspectWords(words(string(text)))) > 0 {
				return true
			}
		}
	}
	return len(suspectWords(words(strings.Map(rot13, line)))) > 0
}

func rot13(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z':
		return 'a' + (r-'a'+13)%26
	case r >= 'A' && r <= 'Z':
		return 'A' + (r-'A'+13)%26
	}
	return r
}

func printable(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\t' && c != '\r' {
			return false
		}
	}
	return len(b) > 0
}

// remove gives a text without the lines that are suspicious, or nothing of it when
// only all of it together is.
func remove(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if len(suspectLine(line)) == 0 {
			b.WriteString(line)
		}
	}
	rest := b.String()
	if len(suspectWords(words(rest))) > 0 {
		return ""
	}
	return strings.TrimSpace(rest)
}

var comment = regexp.MustCompile(`(?s)<!--.*?(?:-->|\z)`)

// visible is what people see of a text: without HTML comments, which templates are
// full of, and without characters that have no shape. The model sees no more, so
// what is hidden cannot speak to it.
func visible(s string) string {
	s = comment.ReplaceAllString(s, "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.Is(unicode.Cf, r), unicode.IsControl(r), unicode.Is(unicode.Co, r), unicode.Is(unicode.Variation_Selector, r),
			r >= 0xE0000 && r <= 0xE0FFF, r == 0x115F, r == 0x1160, r == 0x3164, r == 0xFFA0, r == 0x2800:
			return -1
		}
		return r
	}, s)
}
