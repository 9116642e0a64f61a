// Package sdk is what one imports to write a classifier for DispatchAI: a
// program that reads an issue and says what kind it is, how urgent, which part
// of the project it concerns. DispatchAI starts the program as a process of its
// own and asks it about every issue that is opened.
//
// # A plugin in twenty lines
//
// A classifier has two methods; Serve does the rest:
//
//	package main
//
//	import (
//		"context"
//		"log"
//		"strings"
//
//		"github.com/dispatchai/dispatchai/plugins/sdk"
//	)
//
//	type crashes struct{}
//
//	func (crashes) Describe() sdk.Description {
//		return sdk.Description{Name: "crashes", Version: "1.0.0", Fields: []sdk.Field{sdk.Category}}
//	}
//
//	func (crashes) Classify(_ context.Context, r sdk.Request) (sdk.Result, error) {
//		if !strings.Contains(r.Issue.Body, "panic:") || !r.Accepts(sdk.Category, "bug") {
//			return sdk.Result{}, nil // nothing to say: abstain
//		}
//		return sdk.Result{Fields: map[sdk.Field]sdk.Answer{
//			sdk.Category: {Values: []string{"bug"}, Confidence: 0.9, Reason: "The text quotes a panic."},
//		}}, nil
//	}
//
//	func main() {
//		if err := sdk.Serve(crashes{}); err != nil {
//			log.Fatal(err)
//		}
//	}
//
// This writes it as a project of its own, with its test and a manifest:
//
//	dispatchai plugin new crashes
//
// Build it with go build, and watch it label issues on a simulated GitHub:
//
//	dispatchai demo --plugin crashes=./crashes
//
// Where it is to stay, give DispatchAI the path of the executable, or of the
// directory with the manifest:
//
//	DISPATCHAI_PLUGINS=rules,crashes=/path/to/crashes
//
// # Does it conform?
//
// This starts the plugin as DispatchAI does, in any language, and holds it to
// the protocol. It says what is wrong and what to do about it, and ends with
// status 1 when there is a fault:
//
//	dispatchai plugin test ./crashes
//	dispatchai plugin test --settings crashes.json ./classifier -- --model small
//
// The host drops in silence what breaks the rules: an answer outside the
// repository's options, a field that the description does not list, a second
// outcome for an issue. The test sees it. Say --varies for a classifier that
// does not say the same thing twice, such as a language model, and --timeout for
// a slow one. `dispatchai plugin info ./crashes` shows what a plugin says of itself.
//
// The same checks run from an ordinary Go test, with package
// [github.com/dispatchai/dispatchai/plugins/sdk/sdktest]:
//
//	func TestConformance(t *testing.T) {
//		sdktest.Run(t, crashes{}, sdktest.Options{})
//	}
//
// # Under a debugger
//
// DispatchAI starts its plugins, and restarts one that stands still. To stop at
// breakpoints, run the plugin yourself, with DISPATCHAI_PLUGIN_DEBUG=1 in its
// environment:
//
//	DISPATCHAI_PLUGIN_DEBUG=1 dlv debug .
//
// It waits on a socket of its own and prints how DispatchAI is told of it:
//
//	DISPATCHAI_PLUGINS=crashes=reattach:/tmp/dispatchai-debug-1000/crashes.json dispatchai serve
//
// The path stays the same, so end the plugin, change it and run it again as
// often as you like: DispatchAI waits for it meanwhile, as for a plugin that is
// down, finds it again within a second or so, and never ends it. A call that
// stands at a breakpoint for longer than DISPATCHAI_PLUGIN_TIMEOUT fails and is
// made again; set it to some minutes. DispatchAI must run as the same user:
// it connects to a socket of its own user's, in a directory that nobody else may
// enter, and to nothing else. Settings come from DispatchAI as always; the log
// goes to your terminal. `dispatchai plugin test reattach:FILE` works too.
//
// # What to answer
//
// Repository.Options lists the values that a repository accepts, with its own
// labels and their descriptions. An answer outside them is dropped, so choose
// among them (see Request.Accepts); a field that is not listed is not wanted, except for the free
// ones: assignees, summary and sentiment. Leave out what you cannot tell: the
// next classifier will be asked, or a human.
//
// Confidence is a probability. Of the answers given with 0.8, eight in ten
// should turn out right; the operator's thresholds rely on it.
//
// Reason is shown beside the answer, to a maintainer who decides whether to
// believe it. "The body holds a stack trace" helps; "matched rule 7" does not.
//
// # Trust nothing in the text
//
// Title, body, labels and similar issues were written by strangers. Treat them
// as data: cap the text before a regular expression sees it, fence it before a
// language model does. The host checks every answer in turn.
//
// # Errors, deadlines, panics
//
// An error of Classify concerns its issue alone, and the host asks again later.
// Permanent marks an error that asking again will not mend. RetryAfter marks
// one that is not the fault, such as a rate limit. A panic is an error
// of that issue, with its stack in the log. Heed the context: a call that
// outlasts the host's deadline gets the process killed and restarted.
//
// Classify is called from several goroutines at once, as many as Parallel says.
//
// # Settings, secrets and the log
//
// A plugin inherits no environment but PATH, HOME and TMPDIR, the latter two
// private directories of its own. Settings and secrets come by Configure
// (see Configurer). Write to standard error, or use Logger: the host captures
// it line by line under the plugin's name, so many lines a second and no more.
//
// # What a plugin may do
//
// DispatchAI confines a plugin as far as the system lets it: it sees neither the
// service's files nor its processes, writes to its home alone, and has no network.
// The hosts that its manifest, plugin.json, names are reached by HTTPTransport or
// Dial. The manifest also says which fields the plugin sets, what it needs to see
// of an issue and which settings it takes; docs/plugins.md describes it.
//
// # Versions of the protocol
//
// A host names the versions of the protocol that it speaks, and Serve answers
// with the highest that both know, so that a plugin need not be built again for
// every DispatchAI. Where none is common the host says which versions either
// speaks, and does not run the plugin.
//
// # More than classifying
//
// A classifier that is also an Embedder gives the vectors by which similar
// issues are found; a TermEmbedder gives the words instead, and the host weighs
// them by the repository's own issues. One that is also a Learner learns from
// corrections. All are optional: what a classifier does not implement, the host
// does not ask for.
package sdk
