package mcpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"vaultmesh.org/vaultmesh"
)

// lineReader lets through the lines that are JSON within the limit, and answers the others with a JSON-RPC parse
// error, so that one bad line does not end the conversation. It tells the end of the input only when every request
// has its answer, so that a script may write its requests and close.
type lineReader struct {
	in     *bufio.Reader
	source io.Reader
	limit  int
	out    *lineWriter
	rest   []byte // of the line that is being read

	patience time.Duration // for answers after the end of the input
	once     sync.Once
	closed   chan struct{}
}

func newLineReader(in io.Reader, limit int, patience time.Duration, out *lineWriter) *lineReader {
	return &lineReader{in: bufio.NewReader(in), source: in, limit: limit, patience: patience, out: out, closed: make(chan struct{})}
}

// Read implements [io.Reader].
func (r *lineReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		line, err := r.line()
		if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 {
			if wrong := r.judge(trimmed); wrong != nil {
				if _, err := r.out.Write(parseError(wrong)); err != nil {
					return 0, err
				}
			} else {
				r.out.asked(trimmed)
				r.rest = append(trimmed, '\n')
			}
		}
		if err != nil && len(r.rest) == 0 {
			r.linger()
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// linger waits for the answers that are still to come.
func (r *lineReader) linger() {
	timer := time.NewTimer(r.patience)
	defer timer.Stop()
	select {
	case <-r.out.answered():
	case <-r.closed:
	case <-timer.C:
	}
}

// line returns the next line, at most one byte longer than the limit: what is beyond is dropped.
func (r *lineReader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		if room := r.limit + 1 - len(line); room > 0 {
			line = append(line, part[:min(len(part), room)]...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func (r *lineReader) judge(line []byte) error {
	const op = "mcp.message"
	switch {
	case len(line) > r.limit:
		return vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "it has more than %d bytes", r.limit).WithFix("send less in one message")
	case !utf8.Valid(line):
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "", "it is no UTF-8").WithFix("send UTF-8")
	case !json.Valid(line):
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "", "it is no JSON").WithFix("send one JSON-RPC message a line")
	}
	return nil
}

// Close implements [io.Closer].
func (r *lineReader) Close() error {
	r.once.Do(func() { close(r.closed) })
	return closeIt(r.source)
}

// parseError is the JSON-RPC answer to a message that has no id because it could not be read.
func parseError(wrong error) []byte {
	f := explain(wrong)
	doc, err := encode(map[string]any{"jsonrpc": "2.0", "id": nil, "error": map[string]any{"code": -32700, "message": f.text(), "data": f}})
	if err != nil {
		return nil
	}
	return append(doc, '\n')
}

// lineWriter keeps the lines of the SDK and of the reader apart, and knows which requests have no answer yet.
type lineWriter struct {
	mu      sync.Mutex // guards what follows and is held for one line
	w       io.Writer
	waiting map[string]bool // by the request's id
	idle    chan struct{}   // closed when nothing waits; nil where nobody asked
}

func newLineWriter(w io.Writer) *lineWriter { return &lineWriter{w: w, waiting: map[string]bool{}} }

// frame is what tells requests, answers and cancellations apart.
type frame struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		RequestID json.RawMessage `json:"requestId"`
	} `json:"params"`
}

// frames reads a message or, as old revisions allow, a list of them.
func frames(line []byte) []frame {
	if line[0] == '[' {
		var list []frame
		if json.Unmarshal(line, &list) != nil {
			return nil
		}
		return list
	}
	var f frame
	if json.Unmarshal(line, &f) != nil {
		return nil
	}
	return []frame{f}
}

// frameID gives every spelling of an id one form.
func frameID(raw json.RawMessage) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return ""
	}
	return compact(v)
}

// asked notes the requests of a line that will be answered: all but those that were cancelled, and the subscription,
// which is answered by its end.
func (w *lineWriter) asked(line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range frames(line) {
		switch {
		case f.Method == "notifications/cancelled":
			delete(w.waiting, frameID(f.Params.RequestID))
		case f.Method != "" && f.Method != "subscriptions/listen" && len(f.ID) > 0 && string(f.ID) != "null":
			w.waiting[frameID(f.ID)] = true
		}
	}
}

// answered is closed when every request that was asked so far has its answer.
func (w *lineWriter) answered() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	idle := make(chan struct{})
	w.idle = idle
	w.settle()
	return idle
}

func (w *lineWriter) settle() {
	if w.idle != nil && len(w.waiting) == 0 {
		close(w.idle)
		w.idle = nil
	}
}

// Write implements [io.Writer]; b is one whole line.
func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.w.Write(b)
	for _, f := range frames(b) {
		if f.Method == "" {
			delete(w.waiting, frameID(f.ID))
		}
	}
	w.settle()
	return n, err
}

// Close implements [io.Closer].
func (w *lineWriter) Close() error { return closeIt(w.w) }

func closeIt(v any) error {
	if c, ok := v.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
