package mcpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"unicode/utf8"

	"vaultmesh.org/vaultmesh"
)

// lineReader lets through the lines that are JSON within the limit, and answers the others with a JSON-RPC parse
// error, so that one bad line does not end the conversation.
type lineReader struct {
	in      *bufio.Reader
	source  io.Reader
	limit   int
	answers io.Writer
	rest    []byte // of the line that is being read
}

func newLineReader(in io.Reader, limit int, answers io.Writer) *lineReader {
	return &lineReader{in: bufio.NewReader(in), source: in, limit: limit, answers: answers}
}

// Read implements [io.Reader].
func (r *lineReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		line, err := r.line()
		if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 {
			if wrong := r.judge(trimmed); wrong != nil {
				if _, err := r.answers.Write(parseError(wrong)); err != nil {
					return 0, err
				}
			} else {
				r.rest = append(trimmed, '\n')
			}
		}
		if err != nil && len(r.rest) == 0 {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
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
func (r *lineReader) Close() error { return closeIt(r.source) }

// parseError is the JSON-RPC answer to a message that has no id because it could not be read.
func parseError(wrong error) []byte {
	f := explain(wrong)
	doc, err := encode(map[string]any{"jsonrpc": "2.0", "id": nil, "error": map[string]any{"code": -32700, "message": f.text(), "data": f}})
	if err != nil {
		return nil
	}
	return append(doc, '\n')
}

// lineWriter keeps the lines of the SDK and of the reader apart.
type lineWriter struct {
	mu sync.Mutex // held for one line
	w  io.Writer
}

// Write implements [io.Writer]; b is one whole line.
func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(b)
}

// Close implements [io.Closer].
func (w *lineWriter) Close() error { return closeIt(w.w) }

func closeIt(v any) error {
	if c, ok := v.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
