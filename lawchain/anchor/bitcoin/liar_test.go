package bitcoin

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// lyingNode stands before a real node and answers some questions otherwise.
type lyingNode struct {
	*httptest.Server
	real *btcd
	mu   sync.Mutex
	lie  func(method string, params []json.RawMessage) (any, *nodeError)
	http func(w http.ResponseWriter, r *http.Request) bool // answers itself
	core bool                                              // refusals with the HTTP status codes of Bitcoin Core
	last map[string]int                                    // questions by method
}

func liar(t *testing.T, real *btcd) *lyingNode {
	t.Helper()
	l := &lyingNode{real: real, last: map[string]int{}}
	l.Server = httptest.NewServer(l)
	t.Cleanup(l.Close)
	return l
}

// set changes what it lies about: nil, nil is the truth.
func (l *lyingNode) set(lie func(method string, params []json.RawMessage) (any, *nodeError)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lie = lie
}

func (l *lyingNode) asked(method string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last[method]
}

func (l *lyingNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.http != nil && l.http(w, r) {
		return
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxBulkReply))
	if err != nil {
		http.Error(w, "broken", http.StatusBadRequest)
		return
	}
	var q struct {
		ID     json.RawMessage   `json:"id"`
		Method string            `json:"method"`
		Params []json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(raw, &q); err != nil {
		http.Error(w, "not JSON", http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	lie := l.lie
	l.last[q.Method]++
	l.mu.Unlock()
	if lie != nil {
		if result, refusal := lie(q.Method, q.Params); result != nil || refusal != nil {
			if null, ok := result.(json.RawMessage); ok && string(null) == "null" {
				result = nil
			}
			if l.core && refusal != nil {
				w.WriteHeader(map[bool]int{true: http.StatusNotFound, false: http.StatusInternalServerError}[refusal.Code == codeNoMethod])
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"result": result, "error": refusal, "id": q.ID})
			return
		}
	}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, l.real.url, bytes.NewReader(raw))
	if err != nil {
		http.Error(w, "broken", http.StatusBadGateway)
		return
	}
	req.Header = r.Header.Clone()
	resp, err := l.real.rpc.client.Do(req)
	if err != nil {
		http.Error(w, "no node", http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}
