package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
)

// problemType is the media type of RFC 9457.
const problemType = "application/problem+json"

// problemPrefix and a kind make the type URI of a problem.
const problemPrefix = "https://vaultmesh.org/problems/"

// Problem is the body of every error answer, after RFC 9457; kind, op, subject and fix are its extension members.
type Problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail,omitempty"`
	Instance string `json:"instance"` // urn:vaultmesh:request:<id>, as in the node's log
	Kind     string `json:"kind"`
	Op       string `json:"op,omitempty"`
	Subject  string `json:"subject,omitempty"`
	Fix      string `json:"fix,omitempty"`
}

// statuses maps a kind to its HTTP status; titles say it in words.
var statuses = map[vaultmesh.Kind]struct {
	status int
	title  string
}{
	vaultmesh.Internal:    {http.StatusInternalServerError, "The node failed"},
	vaultmesh.Invalid:     {http.StatusBadRequest, "The request is not valid"},
	vaultmesh.NotFound:    {http.StatusNotFound, "There is no such thing"},
	vaultmesh.Denied:      {http.StatusForbidden, "Not allowed"},
	vaultmesh.Conflict:    {http.StatusConflict, "Not possible in the present state"},
	vaultmesh.Stale:       {http.StatusConflict, "Based on old data"},
	vaultmesh.Expired:     {http.StatusGone, "Its time has passed"},
	vaultmesh.TooLarge:    {http.StatusRequestEntityTooLarge, "Too large"},
	vaultmesh.RateLimited: {http.StatusTooManyRequests, "Too many"},
	vaultmesh.Unavailable: {http.StatusServiceUnavailable, "Not available now"},
	vaultmesh.Corrupt:     {http.StatusInternalServerError, "Stored data is damaged"},
}

// statusError overrules the status of its error's kind, where HTTP has a more exact one.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// fail answers with err. What the node did wrong is logged in full and told only by the request's identifier; a
// cause that is not of this module (a file path, a library's words) is never told.
func (s *Server) fail(w http.ResponseWriter, q *request, err error) {
	if errors.Is(err, context.DeadlineExceeded) && vaultmesh.KindOf(err) == vaultmesh.Internal {
		err = vaultmesh.Errorf(vaultmesh.Unavailable, "http", "", "the request took longer than %v", s.limits.RequestTimeout).
			WithFix("send it again later, a command with the same Idempotency-Key").Because(err)
	}
	kind := vaultmesh.KindOf(err)
	p := Problem{
		Type:     problemPrefix + kind.String(),
		Title:    statuses[kind].title,
		Status:   statuses[kind].status,
		Instance: "urn:vaultmesh:request:" + q.id,
		Kind:     kind.String(),
	}
	if p.Status == 0 { // a kind from outside the closed set
		p.Status, p.Title = http.StatusInternalServerError, statuses[vaultmesh.Internal].title
	}
	var status *statusError
	if errors.As(err, &status) {
		p.Status = status.status
	}
	if p.Status == http.StatusInternalServerError {
		s.opts.Log.ErrorContext(q.Context(), "request failed", slog.String("request", q.id), slog.String("method", q.Method),
			slog.String("path", q.URL.Path), slog.Any("error", err))
		p.Detail = "the cause is in the node's log under the request " + q.id
		p.Fix = "give this identifier to the node's operator"
	} else {
		p.describe(err)
	}
	if kind.Retryable() {
		w.Header().Set("Retry-After", strconv.FormatInt(max(1, int64(s.limits.RetryAfter/time.Second)), 10))
	}
	w.Header().Set("Cache-Control", "no-store")
	write(w, p.Status, problemType, p)
}

// describe fills p from the chain of this module's errors.
func (p *Problem) describe(err error) {
	var details []string
	for first := true; ; first = false {
		var e *vaultmesh.Error
		if !errors.As(err, &e) {
			break
		}
		detail := e.Detail
		if first {
			p.Op, p.Subject = e.Op, e.Subject
		} else if where := strings.TrimSpace(e.Op + " " + e.Subject); where != "" {
			detail = strings.TrimSuffix(where+": "+detail, ": ")
		}
		if detail != "" {
			details = append(details, detail)
		}
		if p.Fix == "" {
			p.Fix = e.Fix
		}
		err = e.Err
	}
	p.Detail = strings.Join(details, ": ")
}

// write answers with v as JSON. It encodes before it sends, so that a value that cannot be encoded is no half answer.
func write(w http.ResponseWriter, status int, mediaType string, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		http.Error(w, "the answer cannot be encoded", http.StatusInternalServerError)
		return
	}
	writeBytes(w, status, mediaType, b.Bytes())
}

func writeBytes(w http.ResponseWriter, status int, mediaType string, b []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	answering(w, len(b))
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that is gone cannot be told
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	write(w, status, "application/json", v)
	return nil
}
