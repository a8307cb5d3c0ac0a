package mcpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"reflect"
	"runtime/debug"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
)

// tool is one tool without its protocol.
type tool struct {
	name, title, description string
	hints                    hints
	in, out                  reflect.Type
	waits                    time.Duration // for which the tool may wait on purpose, beside Limits.CallTime
	run                      func(ctx context.Context, s *Server, c call) (answer, error)
}

// hints are the annotations of a tool, all of them always told. They are advice to clients and enforce nothing.
type hints struct{ readOnly, destructive, idempotent, openWorld bool }

// reads are the hints of tools that change nothing.
var reads = hints{readOnly: true, idempotent: true}

// call is one call of a tool or one read of a resource, by an authenticated caller.
type call struct {
	backend Backend // guarded where the caller came over HTTP
	caller  control.Caller
	remote  bool   // over HTTP: the caller's proof is about the message that carries the call
	proof   string // of possession, for this call alone; may be empty
	// progress tells the client how far a call has come that waits; nil where it did not ask for that.
	progress func(ctx context.Context, done, of int, message string)
	args     json.RawMessage
}

// tell reports progress to a client that asked for it.
func (c call) tell(ctx context.Context, done, of int, message string) {
	if c.progress != nil {
		c.progress(ctx, done, of, message)
	}
}

// answer is what a tool found: value has the tool's out type.
type answer struct {
	value any
	text  string
	links []link
	blobs []blob
}

// link points to a resource; blob is one, inline.
type (
	link struct {
		uri, name, description, mime string
		size                         int64
	}
	blob struct{ uri, mime, text string }
)

// result is the outcome of a call, encoded.
type result struct {
	failed     bool
	structured json.RawMessage
	text       string
	links      []link
	blobs      []blob
}

// define makes a tool of a function over typed arguments.
func define[In, Out any](t tool, fn func(ctx context.Context, s *Server, c call, in In) (Out, answer, error)) tool {
	t.in, t.out = reflect.TypeFor[In](), reflect.TypeFor[Out]()
	t.run = func(ctx context.Context, s *Server, c call) (answer, error) {
		var in In
		if err := decodeArgs(c.args, int(s.limits.Body), &in); err != nil {
			return answer{}, err
		}
		out, a, err := fn(ctx, s, c, in)
		a.value = out
		return a, err
	}
	return t
}

// tools returns all tools, in the order in which an agent meets them.
func tools() []tool {
	return []tool{
		listTwins, getTwin, readHistory, simulateCommand, proposeCommand, commandStatus, listCommands, haltStatus, prove, verify, searchReceipts, proveState, multiAnchor, anchorStatus,
	}
}

// fault is an error with tool calls that help.
type fault struct {
	err  error
	next []suggestion
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// helped adds tool calls that help to err.
func helped(err error, next ...suggestion) error {
	if err == nil {
		return nil
	}
	return &fault{err, next}
}

// invoke runs a tool. It never fails otherwise than by its result: a panic is a failure of kind internal.
func (s *Server) invoke(ctx context.Context, t tool, c call) (r result) {
	ctx, cancel := context.WithTimeout(ctx, s.limits.CallTime+t.waits)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			s.opts.Log.ErrorContext(ctx, "tool panicked", slog.String("tool", t.name), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			r = failed(vaultmesh.Errorf(vaultmesh.Internal, t.name, "", "panic"))
		}
	}()
	a, err := t.run(ctx, s, c)
	if err == nil {
		var doc []byte
		if doc, err = encode(a.value); err == nil && len(doc) > s.limits.Answer {
			err = vaultmesh.Errorf(vaultmesh.TooLarge, t.name, "", "the answer has %d bytes, the limit is %d", len(doc), s.limits.Answer).
				WithFix("ask for less: a lower limit, a shorter period, or one item at a time")
		}
		if err == nil {
			return result{structured: doc, text: clip(a.text, maxText), links: a.links, blobs: a.blobs}
		}
	}
	if vaultmesh.KindOf(err) == vaultmesh.Internal {
		s.opts.Log.ErrorContext(ctx, "tool failed", slog.String("tool", t.name), slog.String("principal", string(c.caller.Principal)), slog.Any("error", err))
	}
	return failed(err)
}

// maxText bounds the words of an answer, in bytes.
const maxText = 8 << 10

func failed(err error) result {
	f := explain(err)
	if x, ok := err.(*fault); ok {
		f.Next = x.next
	}
	doc, err := encode(f)
	if err != nil { // a struct of strings and of arguments that this package wrote
		doc = []byte(`{"kind":"internal","detail":"the node failed","fix":"tell a person","retry":false,"next":[]}`)
	}
	return result{failed: true, structured: doc, text: f.text()}
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "mcp.encode", "", "the answer cannot be encoded").Because(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// compact shows small arguments within a sentence.
func compact(v any) string {
	doc, err := encode(v)
	if err != nil {
		return "{}"
	}
	return clip(string(doc), 600)
}
