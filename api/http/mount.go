package httpapi

import (
	"io"
	"net/http"
	"time"

	"vaultmesh.org/vaultmesh"
)

// mount turns the panic of a malformed or clashing pattern, which is the caller's data here, into an error.
func mount(mux *http.ServeMux, pattern string, h http.Handler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = vaultmesh.Errorf(vaultmesh.Invalid, "http.options", "Mount", "pattern %.80q: %v", pattern, p)
		}
	}()
	mux.Handle(pattern, h)
	return nil
}

// mounted serves another face, whose answers may be streams without an end: the limits of time hold for the body of
// the request and for each write, not for the whole.
func mounted(h http.Handler) func(*Server, http.ResponseWriter, *request) error {
	return func(s *Server, w http.ResponseWriter, q *request) error {
		rc := http.NewResponseController(w)
		r := q.Request.Clone(q.Context())
		if r.Body == nil || r.Body == http.NoBody {
			readOn(rc)
		} else {
			r.Body = &bodyReader{ReadCloser: r.Body, rc: rc}
		}
		_ = rc.SetWriteDeadline(time.Time{}) // a writer without deadlines has none to lift
		h.ServeHTTP(&streamWriter{ResponseWriter: w, rc: rc, timeout: s.limits.WriteTimeout}, r)
		return nil
	}
}

// readOn lifts the time limit of reading once the whole request is there. Otherwise net/http, which goes on reading
// to see the client go, would take the end of the limit for the client's end and cancel the request.
func readOn(rc *http.ResponseController) { _ = rc.SetReadDeadline(time.Time{}) }

type bodyReader struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		readOn(b.rc)
	}
	return n, err
}

// streamWriter bounds each write. Between writes there is no deadline, since HTTP/2 ends a stream when one passes.
type streamWriter struct {
	http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
}

func (w *streamWriter) bounded(do func() error) error {
	_ = w.rc.SetWriteDeadline(time.Now().Add(w.timeout))
	defer func() { _ = w.rc.SetWriteDeadline(time.Time{}) }()
	return do()
}

func (w *streamWriter) Write(b []byte) (n int, err error) {
	err = w.bounded(func() error { n, err = w.ResponseWriter.Write(b); return err })
	return n, err
}

// FlushError is what [http.ResponseController.Flush] calls.
func (w *streamWriter) FlushError() error { return w.bounded(w.rc.Flush) }

// Flush implements [http.Flusher].
func (w *streamWriter) Flush() { _ = w.FlushError() }

func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
