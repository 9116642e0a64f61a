package openai

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"unicode"
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
	hidesText     = "hides characters or instructions from readers"
	givesOrders   = "gives orders to a classifier"
	playsRoles    = "plays the part of the system"
	asksForPrompt = "asks for what the classifier was told"
	namesLabels   = "says which labels or fields to set"
	isEncoded     = "holds encoded instructions"
)

// cues are what text that is meant for a model looks like. A false alarm costs a
// second call and nothing else, so they are wide; they look at words in lower case,
// joined by single blanks.
var cues = []struct {
	kind string
	cue  *regexp.Regexp
}{
	{givesOrders, regexp.MustCompile(`\b(ignore|disregard|forget|override|bypass|skip|cancel|neglect|drop)\b.{0,40}\b(instruction|instructions|rules?|prompts?|guidelines?|directions?|constraints?|schema|above|previous|prior|earlier|everything|polic(y|ies)|system|context|told)\b`)},
	{givesOrders, regexp.MustCompile(`\b(new|updated|real|actual|revised|secret|special|important|final) (instructions?|rules?|directives?|task|prompt|orders?)\b`)},
	{givesOrders, regexp.MustCompile(`\b(attention|note|notice|message|hint|instructions?|dear|hey|hello|hi|to|for|listen|reminder)[ ,:]+(to |for |the |you,? )*(ai|llm|gpt|chatgpt|assistant|bot|model|classifier|triager?|triage bot|language model|openai|agent|dispatchai|maintainer bot)\b`)},
	{givesOrders, regexp.MustCompile(`\b(ai|llm|assistant|model|classifier|triage bot|language model|bot)s?\b.{0,30}\b(must|should|shall|has to|have to|need to|needs to|will now|are required|is required|please)\b`)},
	{givesOrders, regexp.MustCompile(`\b(you (must|should|shall|will|are to|have to|need to) (now |only |always |not |never )?(answer|respond|reply|output|classify|label|set|choose|return|say|write|print|mark|tag|assign|treat|obey|follow|comply|use))\b`)},
	{givesOrders, regexp.MustCompile(`\b(do as i say|obey|comply with|follow (these|my|the following)|your (only |new |real )?(task|job|goal|purpose|role) is|from now on|act as|pretend|role ?play|you are (now |no longer |a |an |the )|jailbreak|developer mode|dan mode|sudo|god mode)\b`)},
	{givesOrders, regexp.MustCompile(`\b(answer|respond|reply|output|return|say|write|print|emit|produce)\b.{0,20}\b(only|exactly|with|json|verbatim|the following|nothing)\b`)},
	{playsRoles, regexp.MustCompile(`(<\|?/?(im_start|im_end|system|user|assistant|endoftext|start_header_id|eot_id|instructions?|prompt|admin|developer)\b[^>]{0,40}\|?>|\[/?inst\]|<<\/?sys>>|^(system|assistant|developer|user|admin|human|ai|root)( message| prompt| note| override)? ?[:>=]|#{2,} ?(system|instruction|assistant|response|admin|developer)|\bend of (the )?(issue|text|data|input|user|message|body)|\b(begin|start) of (the )?(system|instructions?|prompt)|"role" ?: ?"|\[system\]|\(system\)|\bsystem (prompt|message|override|update|notice|instruction)s?\b|={3,}.{0,40}(mark|end|issue|system))`)},
	{asksForPrompt, regexp.MustCompile(`\b(print|reveal|repeat|show|output|leak|tell|display|reproduce|copy|quote|summari[sz]e|list|include|put|write|dump|recite|translate|encode|return|disclose|share|echo)\b.{0,60}\b(prompts?|instructions?|rules|system message|initial message|above text|text above|everything above|previous (issue|message|text)s?|other issues?|similar issues?|corrected issues?|api[ _-]?key|secrets?|tokens?|passwords?|credentials?|context|configuration|mark|schema|descriptions?)\b`)},
	{asksForPrompt, regexp.MustCompile(`\b(what|which) (were|are|is|was)\b.{0,20}\b(you told|your (system |initial )?(prompt|instructions?|rules)|written above)\b`)},
	{namesLabels, regexp.MustCompile(`\b(label|tag|mark|classify|categori[sz]e|prioriti[sz]e|triage|treat|rate|rank|flag|assign|set|add|apply|put|give|choose|select|use|raise|make|escalate|change|report|file)\b.{0,50}\b(label|labels|category|priority|severity|component|tags?|confidence|assignees?|p0|p1|critical|urgent|security|admin|approved|blocker|sev-?[01]|effort|summary|sentiment|verdict|classification)\b`)},
	{namesLabels, regexp.MustCompile(`"?\b(category|priority|severity|component|tags|confidence|assignees|effort|sentiment|reasoning|values?)\b"? ?[:=] ?["\[{0-9a-z]`)},
	{namesLabels, regexp.MustCompile(`/(label|priority|assign|kind|severity|area|triage|approve|lgtm|close|hold|ok-to-test)\b`)},
	{givesOrders, regexp.MustCompile(`(ignorier|ignorez|ignora|ignore[sz]? (les|las|as)|vergiss|oubliez|olvida|anweisung|instrucciones|instructions pr[ée]c[ée]dentes|istruzioni|instruções|игнориру|забудь|инструкци|忽略|无视|指示|指令|無視|무시|지시|تجاهل|अनदेखा|निर्देश)`)},
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
	if encoded(line) {
		found = append(found, isEncoded)
	}
	return found
}

func suspectWords(w string) suspicions {
	var found suspicions
	for _, c := range cues {
		if c.cue.MatchString(w) {
			found = append(found, c.kind)
		}
	}
	return found
}

// maxExamined bounds what expressions see at a time; they are linear in it.
const maxExamined = 32 << 10

// words is a text as the cues look at it. Letters that are spaced out, and those
// that look like others, are put together again.
func words(s string) string {
	if len(s) > maxExamined {
		s = s[:maxExamined]
	}
	s = strings.Map(plain, strings.ToLower(s))
	return strings.TrimSpace(spaced.ReplaceAllStringFunc(strings.Join(strings.Fields(s), " "), func(w string) string {
		return strings.ReplaceAll(w, " ", "")
	}))
}

// spaced are at least five letters with a blank, dot or dash between each two.
var spaced = regexp.MustCompile(`\b(?:\pL[ .\-_]){4,}\pL\b`)

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
// full of, and without characters that have no shape. Either is suspicious only for
// what it hides.
func visible(s string) (string, suspicions) {
	var found suspicions
	s = comment.ReplaceAllStringFunc(s, func(c string) string {
		inner := strings.TrimSuffix(strings.TrimPrefix(c, "<!--"), "-->")
		if kinds := suspect(inner); slices.Contains(kinds, playsRoles) || slices.Contains(kinds, givesOrders) || slices.Contains(kinds, asksForPrompt) || slices.Contains(kinds, isEncoded) {
			found = append(found, hidesText)
		}
		return "\n"
	})
	hidden := 0
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\r', r == 0xFEFF, r == 0xFE0F:
			return -1 // line ends, byte order marks and emoji are innocent
		case unicode.Is(unicode.Cf, r), unicode.IsControl(r), unicode.Is(unicode.Co, r), r >= 0xE0000 && r <= 0xE0FFF, r == 0x115F, r == 0x1160, r == 0x3164, r == 0xFFA0:
			if r != 0x200D && r != 0xAD { // of emoji, and of words
				hidden++
			}
			return -1
		}
		return r
	}, s)
	if hidden >= maxShapeless {
		found = append(found, hidesText)
	}
	return s, found
}

// maxShapeless is how many characters without a shape a text may have that was
// copied from somewhere.
const maxShapeless = 3
