package rules

// levelCues is the table of expressions that tell how grave and how urgent an
// issue is. What breaks for everyone is grave; what somebody would like soon is
// only urgent; shouting is neither.
var levelCues = []cue{
	{in: inTitle | inProse, guarded: true, words: "data loss|loses data|lost data|data corruption|corrupts data|corrupted data|corrupts the database|deletes all|deleted all|wipes|overwrites user|permanently lost|irrecoverable|unrecoverable|silently drops|silently lost|all data",
		priority: levels{critical: 2.4, high: 0.8, low: -1}, severity: levels{critical: 2.6, high: 0.6, low: -1}},
	{in: inTitle | inProse, guarded: true, words: "production is down|production down|down in production|prod is down|site is down|outage|service is down|complete outage|nobody can|no one can log in|all users are affected|affects all users|affecting all users|every customer|all customers|all our customers|whole cluster|entire cluster|cluster is down|unable to start at all|brings down|takes down|took down",
		priority: levels{critical: 2.4, high: 0.8, low: -1}, severity: levels{critical: 2.2, high: 0.8, low: -1}},
	{in: inTitle | inProse, guarded: true, words: "remote code execution|rce|sql injection|privilege escalation|authentication bypass|auth bypass|arbitrary code|arbitrary file|path traversal|directory traversal|leaks credentials|leaks tokens|zero day|actively exploited|unauthenticated",
		priority: levels{critical: 2.2, high: 0.6, low: -1}, severity: levels{critical: 2.2, high: 0.6, low: -1}},
	{in: inTitle | inProse, guarded: true, words: "vulnerability|vulnerable|xss|csrf|ssrf|cve|exploit|denial of service|security issue|security hole|open redirect|prototype pollution|redos|attacker",
		priority: levels{critical: 0.7, high: 1.4, low: -0.6}, severity: levels{critical: 0.7, high: 1.4, low: -0.6}},
	{in: inTitle, guarded: true, words: "crash|crashes|crashed|crashing|segfault|segfaults|panic|panics|deadlock|hangs|freezes|infinite loop|out of memory|memory leak",
		priority: levels{high: 1.6, medium: 0.2, low: -0.6}, severity: levels{critical: 0.4, high: 1.9, low: -0.8}},
	{in: inProse, guarded: true, words: "crashes|crashed|segfault|segmentation fault|panics|deadlock|deadlocks|infinite loop|out of memory|oom killed|memory leak|unresponsive|freezes|unusable|completely broken|core dumped",
		priority: levels{high: 1, medium: 0.2, low: -0.4}, severity: levels{critical: 0.2, high: 1.2, low: -0.5}},
	{in: inTitle | inProse, guarded: true, words: "regression|worked before|used to work|worked fine in|works fine in #.#|worked in #.#|no longer works|no longer work|broke after|broken since|after upgrading|since upgrading",
		priority: levels{high: 1.2, medium: 0.4, low: -0.4}, severity: levels{high: 0.6, medium: 0.6, low: -0.3}},
	{in: inTitle | inProse, guarded: true, words: "blocker|blocking|blocks us|blocks our|blocks the release|blocking release|release blocker|show stopper|showstopper|urgent|urgently|asap|as soon as possible|critical|immediately",
		priority: levels{critical: 0.5, high: 1.3, low: -0.4}, severity: levels{high: 0.3}},
	{in: inTitle | inProse, guarded: true, words: "in production|our production|production environment|many users|several users|multiple users|a lot of users|customers",
		priority: levels{high: 0.8, low: -0.3}, severity: levels{high: 0.5, low: -0.3}},
	{in: inTitle, words: "fails|fail|failed|broken|wrong|incorrect|incorrectly|error|exception|not working|doesn't work|does not work|missing|ignored|ignores|slow|timeout",
		priority: levels{high: 0.3, medium: 1}, severity: levels{high: 0.3, medium: 1.1, low: -0.2}},
	{in: inProse, words: "workaround is|workaround|as a workaround|works if|can be worked around|sometimes|occasionally|intermittently",
		priority: levels{critical: -0.5, high: -0.2, medium: 0.9, low: 0.2}, severity: levels{critical: -0.5, high: -0.2, medium: 0.9, low: 0.2}},
	{in: inTitle | inProse, words: "typo|typos|spelling|misspelled|grammar|cosmetic|cosmetics|purely visual|pixel|pixels|misaligned|alignment|padding|nitpick|nit|wording|capitalization|capitalisation|broken link|dead link|tiny",
		priority: levels{critical: -1, high: -0.8, low: 2.2}, severity: levels{critical: -1, high: -0.8, low: 2.2}},
	{in: inTitle | inProse, words: "nice to have|would be nice|low priority|not urgent|no rush|not critical|no hurry|minor|small thing|not a big deal|polish|trivial|whenever someone has time|not a blocker",
		priority: levels{critical: -1, high: -0.6, low: 1.6}, severity: levels{critical: -0.6, high: -0.4, low: 1}},
	{in: inTitle | inProse, words: "would be great|would be useful|would be helpful|feature request|i would like|i'd like|would love",
		priority: levels{critical: -0.6, high: -0.3, medium: 0.4, low: 0.6}},
}

// tagCues is the table of expressions that justify a tag, for repositories that
// have one of that name (see tagNames).
var tagCues = []cue{
	{in: inTitle | inProse, guarded: true, tag: "regression", confidence: 0.8, words: "regression|used to work|worked before|worked fine before|worked fine in|worked in #.#|works in #.#|works fine in #.#|no longer works|no longer work|broken since|broke in #.#|since upgrading|after upgrading|since #.#|stopped working after|bisected|worked until|was working in"},
	{in: inHeading, tag: "regression", confidence: 0.7, words: "last working version|did this work before|worked before"},
	{in: inTitle, guarded: true, tag: "crash", confidence: 0.85, words: "crash|crashes|crashed|crashing|segfault|segfaults|segmentation fault|panic|panics|panicked|sigsegv|core dump"},
	{in: inTitle, guarded: true, tag: "memory", confidence: 0.8, words: "memory leak|memory leaks|leaks memory|out of memory|memory usage|memory growth|memory grows"},
	{in: inTitle, tag: "breaking", confidence: 0.75, words: "breaking change|breaking changes|backwards incompatible|backward incompatible"},
	{in: inTitle | inProse, tag: "accessibility", confidence: 0.8, words: "screen reader|screen readers|accessibility|a11y|aria|wcag|voiceover|nvda|keyboard navigation|focus ring|color contrast|colour contrast|alt text"},
	{in: inTitle | inProse, tag: "i18n", confidence: 0.75, words: "i18n|l10n|localization|localisation|internationalization|internationalisation|translation|translations|right to left|rtl|locale"},
	{in: inTitle, tag: "flaky", confidence: 0.85, words: "flaky|flake|flakes|intermittent test|fails intermittently|fails randomly in ci"},
	{in: inTitle, tag: "dependencies", confidence: 0.75, words: "^bump|^upgrade|dependency|dependencies|dependabot|renovate"},
	{in: inTitle, tag: "ci", confidence: 0.75, words: "ci|github actions|build pipeline|continuous integration"},
	{in: inTitle, tag: "tests", confidence: 0.7, words: "test|tests|test coverage|unit tests|test suite"},
	{in: inTitle | inProse, tag: "windows", confidence: 0.7, words: "on windows|windows #|windows only|only on windows|powershell|under windows"},
	{in: inTitle | inProse, tag: "macos", confidence: 0.7, words: "on macos|on mac|on osx|on os x|macos only|macos #|macos #.#|apple silicon|on an m1|on m1|on m2"},
	{in: inTitle, tag: "linux", confidence: 0.7, words: "on linux|linux only|linux|ubuntu|debian|fedora|arch linux"},
	{in: inTitle | inProse, tag: "docker", confidence: 0.65, words: "docker image|docker container|dockerfile|docker compose|in docker"},
	{in: inTitle, tag: "ux", confidence: 0.65, words: "ux|usability|user experience|confusing"},
	{in: inProse | inTitle, tag: "beginner", confidence: 0.75, words: "good first issue|beginner friendly|good for newcomers|easy first issue|first timers"},
	{in: inTitle, tag: "deprecation", confidence: 0.75, words: "deprecated|deprecate|deprecation"},
	{in: inTitle, tag: "cosmetic", confidence: 0.65, words: "cosmetic|misaligned|pixel|pixels|typo|alignment"},
}

// tagNames maps the names that repositories give their tags, without blanks and
// dashes, to the names the rules know.
var tagNames = map[string]string{
	"regression": "regression", "regressions": "regression", "crash": "crash", "crasher": "crash", "memory": "memory", "memoryleak": "memory", "memoryusage": "memory",
	"breaking": "breaking", "breakingchange": "breaking", "accessibility": "accessibility", "a11y": "accessibility",
	"i18n": "i18n", "l10n": "i18n", "localization": "i18n", "internationalization": "i18n", "translation": "i18n", "translations": "i18n",
	"flaky": "flaky", "flakytest": "flaky", "flakytests": "flaky", "flake": "flaky", "dependencies": "dependencies", "dependency": "dependencies", "deps": "dependencies",
	"ci": "ci", "cicd": "ci", "tests": "tests", "test": "tests", "testing": "tests", "windows": "windows", "win32": "windows",
	"macos": "macos", "mac": "macos", "osx": "macos", "linux": "linux", "docker": "docker", "ux": "ux", "usability": "ux",
	"goodfirstissue": "beginner", "beginner": "beginner", "beginnerfriendly": "beginner", "easy": "beginner", "newcomer": "beginner",
	"needsinfo": "needs-info", "needsinformation": "needs-info", "moreinfo": "needs-info", "moreinformationneeded": "needs-info", "needsmoreinfo": "needs-info",
	"needsrepro": "needs-info", "needsreproduction": "needs-info", "incomplete": "needs-info", "awaitinginfo": "needs-info",
	"deprecation": "deprecation", "cosmetic": "cosmetic",
	"security": "security", "performance": "performance", "perf": "performance", "documentation": "documentation", "docs": "documentation",
}

// workflowTags speak of what is being done about an issue. The words they are
// made of say nothing when they stand in an issue, so that they are only given
// where tagCues say so.
var workflowTags = map[string]bool{
	"duplicate": true, "invalid": true, "wontfix": true, "wontdo": true, "stale": true, "helpwanted": true, "question": true, "blocked": true,
	"inprogress": true, "confirmed": true, "triage": true, "needstriage": true, "ready": true, "accepted": true, "pinned": true, "backlog": true,
	"hacktoberfest": true, "upstream": true, "external": true, "fixed": true, "resolved": true, "needsdiscussion": true, "discussion": true,
	"bounty": true, "verified": true, "bug": true, "feature": true, "enhancement": true, "good": true, "help": true, "released": true, "release": true,
	"done": true, "todo": true, "review": true, "needsreview": true, "info": true,
}

// commonNames are words that name a component in some repositories and stand in
// issues of every repository; a component called so is recognised by a form's
// answer, a title's prefix or a path only through its longer names.
var commonNames = map[string]bool{
	"other": true, "general": true, "misc": true, "none": true, "all": true, "unknown": true, "and": true, "or": true, "the": true, "for": true, "of": true, "with": true,
	"to": true, "in": true, "on": true, "a": true, "an": true, "is": true, "it": true, "area": true, "component": true, "everything": true, "code": true, "issue": true, "issues": true,
}
