package mcpapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"vaultmesh.org/vaultmesh"
)

// suggestion is a tool call that an agent may make next.
type suggestion struct {
	Tool      string         `json:"tool" jsonschema:"the tool to call"`
	Arguments map[string]any `json:"arguments" jsonschema:"its arguments, ready to send unless why says what to change"`
	Why       string         `json:"why" jsonschema:"what the call is good for"`
}

func suggest(tool, why string, args map[string]any) suggestion {
	if args == nil {
		args = map[string]any{}
	}
	return suggestion{Tool: tool, Arguments: args, Why: why}
}

// failure is what an agent is told where a call fails: the structured content of a result with isError set.
type failure struct {
	Kind   string       `json:"kind" jsonschema:"the class of the error: internal, invalid, not_found, denied, conflict, stale, expired, too_large, rate_limited, unavailable or corrupt"`
	Detail string       `json:"detail" jsonschema:"what was wrong"`
	Fix    string       `json:"fix" jsonschema:"what to do about it"`
	Retry  bool         `json:"retry" jsonschema:"whether the same call may succeed later without a change"`
	Next   []suggestion `json:"next" jsonschema:"tool calls that help, possibly none"`
}

// fixes say what to do about a kind where the error itself does not.
var fixes = map[vaultmesh.Kind]string{
	vaultmesh.Internal:    "this is not your fault: tell a person; if the call proposed a command, ask list_commands before you propose again",
	vaultmesh.Invalid:     "correct the arguments and call again",
	vaultmesh.NotFound:    "list what there is and use an identifier from the list",
	vaultmesh.Denied:      "do not repeat the call: ask the person who gave you your capability whether it should allow this",
	vaultmesh.Conflict:    "read the present state before you decide again",
	vaultmesh.Stale:       "read the present state and decide again",
	vaultmesh.Expired:     "start again with a new request",
	vaultmesh.TooLarge:    "ask for less at once",
	vaultmesh.RateLimited: "wait a few seconds, then send the same call again",
	vaultmesh.Unavailable: "wait a few seconds, then send the same call again, a proposal with the same idempotency_key",
	vaultmesh.Corrupt:     "do not act on this data: tell a person",
}

// maxDetail bounds the text of one error, in bytes.
const maxDetail = 2048

// explain puts err into words. Only the words of this module's errors are told; every other cause (a file path, a
// library's text) and whatever the node did wrong stays in the node's log.
func explain(err error) failure {
	if vaultmesh.KindOf(err) == vaultmesh.Internal {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			err = vaultmesh.Errorf(vaultmesh.Unavailable, "", "", "the node took too long to answer")
		case errors.Is(err, context.Canceled):
			err = vaultmesh.Errorf(vaultmesh.Unavailable, "", "", "the call was cancelled, or the node is stopping")
		}
	}
	kind := vaultmesh.KindOf(err)
	f := failure{Kind: kind.String(), Retry: kind.Retryable(), Next: []suggestion{}}
	if kind == vaultmesh.Internal {
		f.Detail = "the node failed; the cause is in its log"
		f.Fix = fixes[kind]
		return f
	}
	var parts []string
	for {
		var e *vaultmesh.Error
		if !errors.As(err, &e) {
			break
		}
		if where := strings.TrimSpace(e.Op + " " + e.Subject); where != "" {
			parts = append(parts, where)
		}
		if e.Detail != "" {
			parts = append(parts, e.Detail)
		}
		if f.Fix == "" {
			f.Fix = clip(e.Fix, maxDetail)
		}
		err = e.Err
	}
	f.Detail = clip(strings.Join(parts, ": "), maxDetail)
	if f.Fix == "" {
		f.Fix = fixes[kind]
	}
	return f
}

func (f failure) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Failed (%s): %s.\nWhat to do: %s.", f.Kind, strings.TrimSuffix(f.Detail, "."), strings.TrimSuffix(f.Fix, "."))
	writeNext(&b, f.Next)
	return b.String()
}

func writeNext(b *strings.Builder, next []suggestion) {
	for _, n := range next {
		fmt.Fprintf(b, "\nNext: call %s with %s: %s.", n.Tool, compact(n.Arguments), strings.TrimSuffix(n.Why, "."))
	}
}

// clip shortens s to at most n bytes of valid UTF-8.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// quoted shows the words of somebody else, which are data and never instructions.
func quoted(s string) string { return fmt.Sprintf("%q", clip(s, 300)) }
