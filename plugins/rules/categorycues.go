package rules

// formWords are the words by which a form's heading shows what it asks for, and
// the words that deny what follows.
var formWords = []struct {
	role  role
	words string
}{
	{asksKind, "type|kind|category|classification"},
	{asksArea, "component|components|area|areas|package|packages|module|modules|subsystem|crate|subproject|plugin|app|affected|service|scope"},
	{asksPriority, "priority|urgency"},
	{asksSeverity, "severity|impact|criticality"},
	{negates, "no|not|without|never|isn't|don't|doesn't|didn't|wasn't|aren't|nor|cannot|can't|any|avoid|prevent"},
}

// kindWords name a kind of issue where an author is asked for one: before a
// title's colon, in its brackets, as the answer to "Type".
var kindWords = []struct {
	category category
	strength float64
	words    string
}{
	{bug, 1, "bug|bugs|bugreport|defect|crash|regression|broken"},
	{bug, 0.5, "fix|error|problem|failure|fails"},
	{feature, 1, "feature|features|feat|enhancement|enhancements|enh|fr|proposal|rfc|idea|suggestion|wish|wishlist|improvement|improve"},
	{feature, 0.5, "request|add|support"},
	{question, 1, "question|questions|q|help|howto|usage"},
	{question, 0.5, "discussion|ask|clarification"},
	{documentation, 1, "documentation|docs|doc|readme|typo"},
	{security, 1, "security|vulnerability|vuln|cve"},
	{performance, 1, "performance|perf|slow"},
	{maintenance, 1, "chore|refactor|refactoring|cleanup|maintenance|deps|dependencies|housekeeping|task|tracking|ci|style|infra"},
	{maintenance, 0.5, "build|test|tests|tooling|release|internal|meta"},
}

// urgencyWords name a level where a form asks for one, the gravest first.
var urgencyWords = [urgencies]string{
	"critical|blocker|urgent|p0|s0|s1|showstopper|highest|emergency",
	"high|major|p1|s2|severe|important",
	"medium|moderate|normal|p2|s3|average",
	"low|minor|trivial|p3|p4|s4|cosmetic|lowest",
}

// categoryCues is the table of expressions that tell what an issue is. A weight
// is the logarithm of the factor by which the expression changes the odds.
var categoryCues = []cue{
	// Headings of issue forms and templates, where they were answered.
	{in: inHeading, words: "to reproduce|steps to reproduce|how to reproduce|reproduction|reproduction steps|repro steps|steps|repro|reproduce|reproducible example|minimal reproduction|minimal example|minimal reproducible example|how often does this bug",
		weights: weights{bug: 0.9, feature: -0.5, performance: 0.5, documentation: -1, maintenance: -1}},
	{in: inHeading, words: "expected behavior|expected behaviour|expected|expected result|expected results|expected output|what did you expect|should have happened|did you expect",
		weights: weights{bug: 0.6, feature: -0.1, question: 0.1, documentation: -0.4, maintenance: -0.6}},
	{in: inHeading, words: "actual behavior|actual behaviour|actual|actual result|actual results|actual output|observed behavior|actually happened|went wrong|what happened|did you see instead|actually see",
		weights: weights{bug: 0.8, feature: -0.4, question: 0.1, documentation: -0.4, maintenance: -0.6}},
	{in: inHeading, words: "current behavior|current behaviour|currently",
		weights: weights{bug: 0.1, feature: 0.3}},
	{in: inHeading, words: "describe the bug|bug description|bug report|the bug|what's wrong|bug|describe the issue|the issue",
		weights: weights{bug: 0.5, feature: -0.3}},
	{in: inHeading, words: "logs|log output|stack trace|stacktrace|traceback|error message|error log|error messages|error|console output|backtrace|crash log",
		weights: weights{bug: 0.4, feature: -0.3, question: 0.2, documentation: -0.5}},
	{in: inHeading, words: "version|versions|environment|system information|system info|your environment|operating system|os|platform|browser|device|python version|node version|go version",
		weights: weights{bug: 0.2, feature: -0.2, question: 0.3, documentation: -0.4, maintenance: -0.5}},
	{in: inHeading, words: "regression|last working version|worked before|did this work before|used to work",
		weights: weights{bug: 0.8, feature: -0.5}},
	{in: inHeading, words: "workaround|workarounds",
		weights: weights{bug: 0.2, feature: 0.1}},
	{in: inHeading, words: "solution you'd like|desired solution|proposed solution|preferred solution|describe the solution|suggested solution|proposed api|proposal|suggestion|solution you would like|ideal solution",
		weights: weights{bug: -0.5, feature: 1.2, question: -0.4, maintenance: 0.4}},
	{in: inHeading, words: "proposed change|proposed changes|what should change",
		weights: weights{feature: 0.5, maintenance: 0.9, documentation: 0.5, question: -0.3}},
	{in: inHeading, words: "alternatives|alternatives you've considered|alternatives considered|alternative solutions",
		weights: weights{bug: -0.4, feature: 0.9, question: -0.3}},
	{in: inHeading, words: "related to a problem|problem does this solve|problem you are trying to solve|feature description|feature request|the feature|feature|requested feature|feature you'd like|enhancement|willing to contribute|who will benefit|change the current api",
		weights: weights{bug: -0.9, feature: 1.3, question: -0.2}},
	{in: inHeading, words: "motivation|use case|use cases|rationale|benefits|user story|why is this needed",
		weights: weights{bug: -0.5, feature: 0.9, question: -0.3, maintenance: 0.5}},
	{in: inHeading, words: "question|your question|my question|what have you tried|have you tried|what i tried|what i've tried|trying to do|trying to achieve|trying to accomplish|need help|help",
		weights: weights{bug: -0.5, feature: -0.4, question: 1.4}},
	{in: inHeading, words: "documentation|docs|page|affected page|which page|doc page|suggested wording|location in the docs",
		weights: weights{documentation: 2}},
	{in: inHeading, words: "tasks|task|definition of done|migration plan|steps to upgrade|cleanup|todo",
		weights: weights{maintenance: 2.2, bug: -0.3}},
	{in: inHeading, words: "vulnerability|cve|proof of concept|poc|attack scenario|affected versions|exploit",
		weights: weights{security: 2.5}},
	{in: inHeading, words: "benchmark|benchmarks|profile|profiling|measurements|timings|measured",
		weights: weights{performance: 2.7}},

	// Titles.
	{in: inTitle, words: "bug|bugs|buggy|defect",
		weights: weights{bug: 0.9, feature: -0.6}},
	{in: inTitle, words: "issue|problem|problems|issues",
		weights: weights{bug: 0.3, feature: -0.5, question: 0.4}},
	{in: inTitle, words: "crash|crashes|crashed|crashing|segfault|segfaults|panic|panics|core dump|segmentation fault|hang|hangs|hanging|freezes|freeze|deadlock|infinite loop|sigsegv|aborts|data loss|loses data",
		weights: weights{bug: 1.3, feature: -0.7, question: -0.2, documentation: -0.6, maintenance: -0.6}},
	{in: inTitle, words: "error|errors|exception|exceptions|throws|thrown|raises|fatal|assertion|traceback|panicked|undefined|typeerror|invalid|unhandled|uncaught|overflow",
		weights: weights{bug: 0.6, feature: -0.6, question: 0.2, documentation: -0.4, maintenance: -0.4}},
	{in: inTitle, words: "fail|fails|failed|failing|failure|failures|unable to|cannot|can't|can not|could not|couldn't|fails to",
		weights: weights{bug: 0.7, feature: -0.8, question: 0.3, documentation: -0.4}},
	{in: inTitle, words: "not working|doesn't work|does not work|don't work|doesnt work|stopped working|stops working|broken|breaks|not work|didn't work|won't|doesn't|does not|do not|don't|isn't|is not|are not|not",
		weights: weights{bug: 0.8, feature: -0.5, question: 0.2}},
	{in: inTitle, words: "wrong|incorrect|incorrectly|wrongly|unexpected|unexpectedly|inconsistent|inconsistency|weird|strange|bad|mismatch|corrupt|corrupts|corrupted|corruption|garbled|disappears|disappear|lost|loses|missing|flickers|flicker|ignored|ignores|duplicate|duplicated|twice|stuck|nan|blank|empty|drops|truncated|truncates|overwrites|off by one|silently|misaligned|overlaps",
		weights: weights{bug: 0.9, feature: -0.6, question: -0.1}},
	{in: inTitle, words: "regression|no longer|anymore|any more|after update|after upgrade|after updating|after upgrading|since #.#|since upgrading|used to",
		weights: weights{bug: 1.3, feature: -0.5, question: -0.1, maintenance: -0.6}},
	{in: inTitle, words: "is|are|was|were|gets",
		weights: weights{bug: 0.4, feature: -0.4, question: 0.1}},
	{in: inTitle, words: "data race|race condition|race|oom|unreadable|unusable|greedy|silent|stale|out of sync|null pointer|nullpointerexception|use after free",
		weights: weights{bug: 0.8, feature: -0.5, question: -0.2}},
	{in: inTitle, words: "vs|versus|or",
		weights: weights{question: 0.5, bug: -0.2}},
	{in: inTitle, words: "returns|exits|exit code|displays|renders|sends|sent|rejects|rejected|hides|deletes|deleted|duplicates|jumps|resets|disappearing|logs out|shows|reports|gives|produces|counts|reverts|opens|replaces|stops|turns|keeps|removes|loops|prints|picks|overrides|skips|forgets",
		weights: weights{bug: 0.5, feature: -0.3, question: -0.1}},
	{in: inTitle, words: "when|after|if|while|causes|caused|results in",
		weights: weights{bug: 0.5, feature: -0.2, question: -0.2}},
	{in: inTitle, words: "^add|^support|^allow|^implement|^make|^provide|^improve|^enable|^introduce|^expose|^extend|^include|^create|^option|^ability|^show|^adding|^let|^display|^customize|^configurable|^offer|^accept",
		weights: weights{bug: -0.9, feature: 1.6, question: -0.9}},
	{in: inTitle, words: "feature|feature request|enhancement|proposal|rfc|suggestion|request|wishlist|idea|improvement|would be nice|nice to have",
		weights: weights{bug: -0.7, feature: 1.2, question: -0.4}},
	{in: inTitle, words: "support|support for|option|options|allow|ability|add|adding|implement|implementation|custom|configurable|setting|settings|new|more|better|should|would be|could|want|improve|extend|introduce|api|command|configure|shortcut",
		weights: weights{bug: -0.5, feature: 0.7, question: -0.3}},
	{in: inTitle, words: "^how|how to|how do|how can|how does|how should",
		weights: weights{bug: -1.1, feature: -0.3, question: 1.8, documentation: 0.2}},
	{in: inTitle, words: "^why|^what|^what's|^where|^which|^who|what is|what are|difference between",
		weights: weights{bug: -0.6, feature: -0.6, question: 1.2}},
	{in: inTitle, words: "^is|^are|^can|^does|^do|^should|^has|^will|^any|^could|is it possible|is there|any way|possible to",
		weights: weights{bug: -0.2, feature: 0.2, question: 0.7}},
	{in: inTitle, words: "question|help|need help|usage|clarification|understand|understanding|confused|advice|best practice|best practices|best way|correct way|right way|recommended way|guidance|trying to",
		weights: weights{bug: -0.5, feature: -0.4, question: 1.2}},
	{in: inTitle, words: "docs|documentation|^document|readme|typo|typos|docstring|docstrings|javadoc|godoc|wiki|changelog|spelling|grammar|broken link|broken links|dead link|undocumented|not documented|faq|getting started|quickstart|quick start|code sample|migration guide|docs page|user guide|contributing guide",
		weights: weights{documentation: 5.4, bug: -0.3, feature: -0.2, question: 0.1}},
	{in: inTitle, words: "tutorial|guide|example|examples|document|outdated|explain",
		weights: weights{documentation: 2.2, question: 0.2}},
	{in: inTitle, words: "vulnerability|vulnerabilities|cve|xss|csrf|ssrf|rce|xxe|sql injection|injection|exploit|security|insecure|path traversal|directory traversal|zip slip|privilege escalation|denial of service|redos|remote code execution|prototype pollution|open redirect|auth bypass|authentication bypass|plaintext|plain text|leaks credentials|leaks token|leaks tokens|leaks secrets|timing attack|clickjacking|unauthenticated|unauthorized access|hardcoded password|hijack|without authentication|bypass|bypasses|arbitrary code|arbitrary file|session fixation|brute force", guarded: true,
		weights: weights{security: 5.8, bug: 0.3}},
	{in: inTitle, words: "password|passwords|credentials|secret|secrets|access token|permission check|tls|certificate|sanitize|escape|escaped|untrusted|any user|another user|other users",
		weights: weights{security: 1.8}},
	{in: inTitle, words: "slow|slower|slowly|slowness|sluggish|performance|perf|latency|throughput|memory usage|cpu usage|high cpu|high memory|# cpu|speed up|faster|optimize|optimise|optimization|quadratic|laggy|lag|lags|takes forever|too long|takes # seconds|takes # minutes|takes # s|memory leak|memory growth|leaks memory|leak|out of memory|n # queries|bottleneck|inefficient|takes minutes|takes ages|allocations|startup time|memory grows|times slower|# x slower|cpu",
		weights: weights{performance: 5.7, bug: 0.4, documentation: -0.5, maintenance: -0.4}},
	{in: inTitle, words: "^refactor|^clean up|^cleanup|^bump|^upgrade|^migrate|^deprecate|^remove|^drop|^rename|^replace|^switch|^pin|^split|^extract|^consolidate|^modernize|^move|^delete|^update|^simplify|^get rid|^convert|^unify|^stop using|^port",
		weights: weights{maintenance: 4.9, feature: 0.3, bug: -0.4, question: -0.6}},
	{in: inTitle, words: "refactor|refactoring|clean up|cleanup|bump|deprecation|ci|github actions|flaky|flaky test|flaky tests|test coverage|unit tests|test suite|lint|linter|linting|technical debt|tech debt|dependency|dependencies|dependabot|renovate|unused|dead code|codebase|build pipeline|housekeeping|coverage|end of life|eol|release process|duplicated code|node #|python #.#|go #.#",
		weights: weights{maintenance: 2.5, question: -0.2}},

	// The text.
	{in: inProse, words: "doesn't work|does not work|not working|don't work|doesnt work|stopped working|stops working|didn't work|won't work|not work|nothing happens|no effect|fails to work|broken|breaks",
		weights: weights{bug: 0.5, feature: -0.4, question: 0.3}},
	{in: inProse, words: "fail|fails|failed|failing|failure",
		weights: weights{bug: 0.4, feature: -0.2, question: 0.1}},
	{in: inProse, words: "crash|crashes|crashed|crashing|segfault|segfaults|segmentation fault|core dumped|hangs|freezes|frozen|deadlock|infinite loop|panics|aborted", guarded: true,
		weights: weights{bug: 0.6, feature: -0.5, question: 0.1, documentation: -0.5}},
	{in: inProse, words: "error|errors|error message|exception|exceptions|throws|thrown|raised|uncaught|unhandled|warning", guarded: true,
		weights: weights{bug: 0.3, feature: -0.4, question: 0.3, documentation: -0.4}},
	{in: inProse, words: "wrong|incorrect|incorrectly|unexpected|unexpectedly|inconsistent|weird|strange|corrupt|corrupted|garbled|mismatch|disappears|disappear|disappeared|missing|ignored|stuck|flickers|flickering|silently|twice|blank|lost",
		weights: weights{bug: 0.5, feature: -0.3, question: -0.1}},
	{in: inProse, words: "bug|bugs|a bug|buggy",
		weights: weights{bug: 0.5, feature: -0.5, question: -0.1}},
	{in: inProse, words: "reproduce|reproduced|reproducible|reproducing|repro|reproduction|reproduces",
		weights: weights{bug: 0.4, feature: -0.4, question: 0.1}},
	{in: inProse, words: "expected|expected behavior|i expect|i expected|i would expect|expect|should be|should have|should not|shouldn't|supposed to",
		weights: weights{bug: 0.2, question: -0.1}},
	{in: inProse, words: "actual|instead of|but instead|actual behavior|however",
		weights: weights{bug: 0.1, feature: 0.1}},
	{in: inProse, words: "no longer|used to work|worked before|worked fine|works fine|after upgrading|after updating|after upgrade|after update|since upgrading|since updating|regression|latest version|downgrading|bisect|bisected|rolled back",
		weights: weights{bug: 0.7, feature: -0.2, question: -0.3, maintenance: -0.5}},
	{in: inProse, words: "every time|sometimes|randomly|intermittently|intermittent|always|occasionally|occurs|occur|happens|happened|happening",
		weights: weights{bug: 0.5, feature: -0.4}},
	{in: inProse, words: "^i get|i'm getting|i am getting|i got|get the following|following error|i noticed|we noticed|we see|i see|observed",
		weights: weights{bug: 0.2, feature: -0.3, question: 0.2}},
	{in: inProse, words: "would be nice|would be great|would be good|would be useful|would be helpful|would be awesome|would be cool|would be very|would be really|be nice if|be great if|nice to have|would love|would help|i'd love|we'd love|would make sense|it would be|would make it|would allow|would be better|would be easier|handy|convenient",
		weights: weights{bug: -0.7, feature: 1.1, question: -0.4}},
	{in: inProse, words: "i would like|i'd like|we would like|we'd like|i want|i wish|want to be able|would like to|like to see|wish|hope",
		weights: weights{bug: -0.6, feature: 0.5, question: 0.2}},
	{in: inProse, words: "feature|feature request|features|enhancement|improvement|improvements|functionality|proposal|propose|proposed|i propose|suggest|suggestion|suggestions|suggesting|rfc",
		weights: weights{bug: -0.7, feature: 1, question: -0.4}},
	{in: inProse, words: "add support|support for|be added|could be added|please add|should support|implement|implementing|introduce|introducing|provide|allow|allows|allowing|extend|expose|option to|an option|a way to|ability to|ability|be able to|a flag|a setting|customize|configurable|add|adding",
		weights: weights{bug: -0.3, feature: 0.4, question: -0.1}},
	{in: inProse, words: "use case|use cases|my use case|benefit|benefits|motivation|alternative|alternatives|alternatively|workflow|useful|helpful|easier|user experience|ux|make it|so that|productivity|for example|such as|consider",
		weights: weights{bug: -0.2, feature: 0.5, question: -0.3}},
	{in: inProse, words: "currently|at the moment|right now|today|there is no|there's no|no way to|is no way|only supports|lacks|lack of|manually|have to",
		weights: weights{bug: -0.2, feature: 0.4}},
	{in: inProse, words: "how to|how do i|how can i|how do you|how should|how does|^how|know how|how i can|how we can|how could|how would i",
		weights: weights{bug: -0.4, feature: -0.2, question: 0.7}},
	{in: inProse, words: "is there a way|is there any way|is it possible|any way to|is there any|is this possible|^is there|^are there|^can i|^can we|^does|^do i|^do you|^do we|^am i|^should i|^should we",
		weights: weights{bug: -0.4, feature: 0.1, question: 0.5}},
	{in: inProse, words: "^why|why is|why does|why do|wondering|i wonder|curious|not sure|unsure|i'm not sure|don't understand|do not understand|confused|clarify|clarification|explanation|what is the|what does|what are|what should|difference between|is this expected|intended|by design|am i missing|doing wrong|doing something wrong",
		weights: weights{bug: -0.1, feature: -0.3, question: 0.5}},
	{in: inProse, words: "help|please help|help me|can anyone|can someone|anyone|any idea|any ideas|any help|any suggestions|any suggestion|any pointers|appreciated|appreciate|advice|guidance|let me know",
		weights: weights{bug: -0.3, feature: -0.3, question: 0.7}},
	{in: inProse, words: "thanks|thank you|thanks in advance|^hi|^hello|^hey|^dear|^hi there|best regards|regards|cheers",
		weights: weights{bug: -0.3, feature: -0.1, question: 0.4}},
	{in: inProse, words: "i am trying|i'm trying|trying to|i try|i tried|i have tried|i've tried|i am using|i'm using|i have a|i am new|i'm new|new to|beginner|newbie|my project|my app|my code|i am working|i followed|following the|learning|we are using",
		weights: weights{bug: -0.3, feature: -0.3, question: 0.5}},
	{in: inProse, words: "stack overflow|stackoverflow|best practice|best practices|recommended|recommend|recommendation|correct way|right way|proper way|best way|i read|i searched|googled|couldn't find|could not find|can't find|went through the docs",
		weights: weights{bug: -0.4, question: 0.6}},
	{in: inProse, words: "question|questions|my question|a question|discord|slack|forum",
		weights: weights{bug: -0.4, feature: -0.2, question: 0.7}},
	{in: inProse, words: "readme|typo|typos|docstring|misspelled|spelling|grammar|broken link|dead link|undocumented|not documented|isn't documented|nowhere documented|docs say|documentation says|docs still|the page|this page|paragraph|wording|guide says|code sample|changelog|reader|readers|readers who|section of the docs|in the docs",
		weights: weights{documentation: 2, question: -0.1}},
	{in: inProse, words: "docs|documentation|document|documented|outdated|out of date|tutorial|examples|link",
		weights: weights{documentation: 1.1, question: 0.1}},
	{in: inProse, words: "vulnerability|vulnerabilities|vulnerable|cve|cvss|xss|csrf|ssrf|rce|sql injection|exploit|exploitable|attacker|attackers|malicious|path traversal|privilege escalation|denial of service|redos|remote code execution|arbitrary code|prototype pollution|unauthenticated|session fixation|constant time|impersonate|untrusted|owasp|security advisory|responsible disclosure|security issue|security hole|doesn't expire|does not expire|account takeover|take over the account|take over an account|anyone with access|any user can|anybody who can", guarded: true,
		weights: weights{security: 2.3}},
	{in: inProse, words: "security|insecure|injection|bypass|plaintext|in plain text|secrets|credentials|sanitize|sanitized|escaped|unescaped|leaked", guarded: true,
		weights: weights{security: 1.1}},
	{in: inProse, words: "slow|slower|slowly|sluggish|performance|latency|throughput|memory usage|cpu usage|high cpu|# cpu|faster|optimize|quadratic|laggy|takes forever|too long|takes # seconds|takes # minutes|took # seconds|memory leak|memory grows|profiler|flame graph|flamegraph|pprof|benchmark|benchmarks|benchmarked|bottleneck|inefficient|rss|allocations|p99|p95|time complexity|n # queries|grows linearly|times slower|resident memory",
		weights: weights{performance: 1.4, bug: 0.1}},
	{in: inProse, words: "# seconds|# ms|# minutes|# gb|# mb|profile|profiling|scales|heap|gc|cpu",
		weights: weights{performance: 0.5}},
	{in: inProse, words: "refactor|refactoring|refactored|clean up|cleanup|bump|migrate|migration|drop support|technical debt|tech debt|dependabot|renovate|dead code|unused|end of life|eol|unmaintained|maintainability|duplicated code|duplication|code base|codebase|split into|extract|consolidate|follow up|lint|linter|test coverage|no functional change|no behaviour change|no behavior change|no user visible",
		weights: weights{maintenance: 1.3, question: -0.2}},
	{in: inProse, words: "deprecated|deprecation|ci|github actions|pipeline|flaky|dependency|dependencies|maintain|unit tests",
		weights: weights{maintenance: 0.7}},

	// Code and output.
	{in: inCode, words: "error|fatal error|fatal|uncaught|unhandled|exception|failed|undefined reference|cannot find|segmentation fault|assertion|enoent|econnrefused|eacces|sigsegv|permission denied|command not found|panic|traceback|exit code #|exit status #",
		weights: weights{bug: 0.4, feature: -0.3, question: 0.1, documentation: -0.4}},
	{in: inCode, words: "warning|warn|deprecated",
		weights: weights{bug: 0.2, maintenance: 0.4}},

	// Ticked options.
	{in: inChecked, words: "bug|a bug|bug report",
		weights: weights{bug: 0.4}},
	{in: inChecked, words: "feature|feature request|enhancement",
		weights: weights{feature: 0.4}},
}

// signalWeights is what the build of an issue says.
var signalWeights = [signals]weights{
	hasTrace:        {bug: 0.9, feature: -0.7, question: 0.1, documentation: -1.2, security: -0.4, maintenance: -0.7},
	hasErrorName:    {bug: 0.3, feature: -0.2, question: 0.1, documentation: -0.5},
	titleError:      {bug: 0.7, feature: -0.5, documentation: -0.5},
	hasFacts:        {bug: 0.2, feature: -0.4, question: 0.3, documentation: -0.5, maintenance: -0.4},
	hasSteps:        {bug: 0.5, feature: -0.2, question: -0.2},
	hasImage:        {bug: 0.3, feature: -0.1, question: -0.1, security: -0.4, maintenance: -0.4},
	hasMuchCode:     {bug: 0.2, feature: -0.3, question: 0.1, documentation: -0.5, maintenance: -0.4},
	hasReference:    {bug: 0.2, feature: 0.1, question: -0.5, maintenance: 0.5},
	shortBody:       {question: 0.1},
	longBody:        {question: 0.1},
	titleQuestion:   {bug: -0.9, feature: -0.2, question: 1.4},
	bodyQuestion:    {bug: -0.4, feature: -0.1, question: 0.5},
	bodyQuestions:   {bug: -0.6, feature: -0.2, question: 0.8},
	endsAsking:      {bug: -0.2, feature: -0.1, question: 0.3},
	bugTemplate:     {bug: 0.7, feature: -0.4},
	featureTemplate: {bug: -0.8, feature: 1},
}

// What an author's own classification says: before a title's colon or in its
// brackets, and as the answer to a form.
var (
	prefixWeights = [categories]weights{
		bug:           {bug: 2.2, feature: -1},
		feature:       {bug: -1.2, feature: 2.4, question: -0.8},
		question:      {bug: -1, feature: -0.8, question: 2.8},
		documentation: {documentation: 5.4},
		security:      {security: 5.8},
		performance:   {performance: 5.4},
		maintenance:   {maintenance: 4.7},
	}
	answerWeights = [categories]weights{
		bug:           {bug: 1.2, feature: -0.8},
		feature:       {bug: -1.2, feature: 1.8, question: -0.4},
		question:      {bug: -0.8, feature: -0.6, question: 2.4},
		documentation: {documentation: 5},
		security:      {security: 5},
		performance:   {performance: 4.7},
		maintenance:   {maintenance: 4.3},
	}
)

// bias is what is held of an issue before it is read.
var bias = weights{bug: 0.2, feature: 0.3, question: 0, documentation: -3.4, security: -3.8, performance: -3.6, maintenance: -3.2}

// temperature divides all scores; it is set so that confidence is how often
// answers are right.
const temperature = 2.2
