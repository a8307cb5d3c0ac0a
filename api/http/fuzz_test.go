package httpapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// A body that is accepted says one thing only: written again it is the same, and nothing in it was ignored.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"twin":"line-1-2","command":"setTap","args":{"ratio":1.01},"idempotency_key":"k"}`,
		`{"twin":"a","twin":"b"}`, `{"Twin":"a"}`, `{"twin":"\ud800"}`, `{"twin":null}`, `{"args":9007199254740993}`,
		`{"args":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "{\"reason\":\"\xff\"}", `{} {}`, `[]`, `{`, ``, ` {"reason" : "x" } `, `{"args":1e400}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var in CommandRequest
		if err := decodeJSON(raw, receipt.Limits{Bytes: 1 << 16, Depth: 8}, &in); err != nil {
			if k := vaultmesh.KindOf(err); k != vaultmesh.Invalid && k != vaultmesh.TooLarge {
				t.Fatalf("kind %v: %v", k, err)
			}
			return
		}
		if !utf8.Valid(raw) || !json.Valid(raw) {
			t.Fatalf("accepted %q", raw)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(raw, &members); err != nil {
			t.Fatal(err)
		}
		back, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var again map[string]json.RawMessage
		if err := json.Unmarshal(back, &again); err != nil {
			t.Fatal(err)
		}
		for name := range members {
			if _, ok := again[name]; !ok && name != "args" && name != "reason" {
				t.Fatalf("%q was ignored in %q", name, raw)
			}
		}
	})
}

// No header lets anybody in who has no proof, and none does harm.
func FuzzHeaders(f *testing.F) {
	w := newWorld(f)
	s, err := New(options(f, w))
	if err != nil {
		f.Fatal(err)
	}
	tok := token(f, "operator")
	f.Add(tok, "vmp1.1767323045000000.nonce-0000000000000000.AAAA", "k", "application/json")
	f.Add(tok, "vmp1...", "", "text/plain; charset=latin1")
	f.Add("vmc1.e30.AA", "", "\x7f", "application/json; charset")
	f.Add(strings.Repeat("vmc1.", 2000), strings.Repeat(".", 600), strings.Repeat("k", 200), "")
	f.Fuzz(func(t *testing.T, tok, proof, key, media string) {
		r := httptest.NewRequest("POST", "/v1/commands", strings.NewReader(`{"twin":"bus-1","command":"x","idempotency_key":"k"}`))
		r.Header = http.Header{CapabilityHeader: {tok}, ProofHeader: {proof}, KeyHeader: {key}, "Content-Type": {media}}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized || w.Header().Get("Content-Type") != problemType {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	})
}

// The header of the idempotency key, the query and the path of a tile never pass what the grammar does not have.
func FuzzParameters(f *testing.F) {
	f.Add("k", "limit=5&after=bus-1", "0/x001/234.p/5")
	f.Add("", "limit=5&limit=6", "entries/000")
	f.Add("k k", "since=18446744073709551616", "0/x000/000")
	f.Add("é", "%zz", "../../etc")
	f.Add("k", "limit=-1;x", "63/x999/x999/x999/x999/x999/999.p/255")
	f.Fuzz(func(t *testing.T, key, rawQuery, tile string) {
		r := &http.Request{Header: http.Header{KeyHeader: {key}}, URL: &url.URL{RawQuery: rawQuery}}
		if checkKey(r, key) == nil && vaultmesh.CheckID("key", key) != nil {
			t.Fatalf("the key %q", key)
		}
		p := params(&request{Request: r}, "limit", "after", "since", "from")
		limit, after := p.limit(100, 1000), p.id("after")
		_, _ = p.number("since", false)
		_ = p.time("from", epoch)
		if p.err == nil && (limit < 1 || limit > 1000 || after != "" && vaultmesh.CheckID("twin", after) != nil) {
			t.Fatalf("the query %q gives %d, %q", rawQuery, limit, after)
		}
		if tilePath.MatchString(tile) && (strings.Contains(tile, "..") || strings.ContainsAny(tile, "\\% \n") || strings.HasPrefix(tile, "/")) {
			t.Fatalf("the tile %q", tile)
		}
	})
}
