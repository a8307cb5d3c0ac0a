package httpapi

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
)

// query reads the parameters of a request strictly and keeps the first error, so that a handler asks for all that
// it needs and checks once.
type query struct {
	values url.Values
	err    error
}

// params parses the query of q, in which each of the names may occur once and those in many often.
func params(q *request, names ...string) *query {
	values, err := url.ParseQuery(q.URL.RawQuery)
	if err != nil {
		return &query{err: vaultmesh.Errorf(vaultmesh.Invalid, "query", "", "it is not well-formed").Because(err)}
	}
	p := &query{values: values}
	for name, v := range values {
		base := slices.Contains(names, name)
		switch {
		case !base && !slices.Contains(names, name+"..."):
			p.fail(name, "it is not known", "use "+strings.ReplaceAll(strings.Join(names, ", "), "...", ""))
		case base && len(v) != 1:
			p.fail(name, "it occurs more than once", "give it once")
		}
	}
	return p
}

func (p *query) fail(name, detail, fix string) {
	if p.err == nil {
		p.err = vaultmesh.Errorf(vaultmesh.Invalid, "query", clip(name), "%s", detail).WithFix("%s", fix)
	}
}

func (p *query) text(name string, most int) string {
	v := p.values.Get(name)
	if len(v) > most {
		p.fail(name, "it has more than "+strconv.Itoa(most)+" bytes", "shorten it")
		return ""
	}
	return v
}

// id reads an identifier; it may be absent.
func (p *query) id(name string) string {
	v := p.values.Get(name)
	if v != "" && p.err == nil {
		if err := vaultmesh.CheckID(name, v); err != nil {
			p.err = vaultmesh.Wrap(err, "query", name)
		}
	}
	return v
}

// limit reads the length of the answer, from 1 to most.
func (p *query) limit(otherwise, most int) int {
	if !p.values.Has("limit") {
		return min(otherwise, most)
	}
	n, err := strconv.Atoi(p.values.Get("limit"))
	if err != nil || n < 1 || n > most {
		p.fail("limit", "want an integer", "from 1 to "+strconv.Itoa(most))
		return 1
	}
	return n
}

// flag reads true or false; false where it is absent.
func (p *query) flag(name string) bool {
	switch p.values.Get(name) {
	case "true":
		return true
	case "", "false":
		return false
	}
	p.fail(name, "it is neither true nor false", "give true, or leave it out")
	return false
}

// number reads a decimal integer of 64 bits.
func (p *query) number(name string, required bool) (uint64, bool) {
	if !p.values.Has(name) {
		if required {
			p.fail(name, "it is missing", "give a decimal integer")
		}
		return 0, false
	}
	n, err := strconv.ParseUint(p.values.Get(name), 10, 63)
	if err != nil {
		p.fail(name, "it is no decimal integer", "give 0 or more, at most 2^63-1")
	}
	return n, true
}

// time reads an RFC 3339 time; otherwise where it is absent.
func (p *query) time(name string, otherwise time.Time) time.Time {
	if !p.values.Has(name) {
		return otherwise
	}
	t, err := time.Parse(time.RFC3339Nano, p.values.Get(name))
	if err != nil || t.Year() < 1970 || t.Year() > 9999 {
		p.fail(name, "it is no RFC 3339 time", "write it as 2026-01-02T03:04:05.678Z, years 1970 to 9999")
		return otherwise
	}
	return t.UTC()
}

// pathID reads an identifier of the path.
func pathID(q *request, what string) (string, error) {
	id := q.PathValue("id")
	if err := vaultmesh.CheckID(what, id); err != nil {
		return "", err
	}
	return id, nil
}

// clip shortens a text from outside for an error.
func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
