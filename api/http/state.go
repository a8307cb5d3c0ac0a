package httpapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
)

// getStateProof proves what the state held under one key.
func (s *Server) getStateProof(w http.ResponseWriter, q *request) error {
	p := params(q, "twin", "property", "subject", "size")
	twin, property, subject := p.text("twin", vaultmesh.MaxID), p.text("property", 512), p.text("subject", 2*vaultmesh.MaxID)
	size, _ := p.number("size", false)
	switch {
	case (twin == "") == (subject == ""):
		p.fail("twin", "want either a twin or a subject", "give twin=line-9-10, or subject=capability/<digest>")
	case property != "" && twin == "":
		p.fail("property", "it goes with twin", "give twin=line-9-10&property=closed")
	}
	if p.err != nil {
		return p.err
	}
	key := state.TwinKey(vaultmesh.TwinID(twin))
	if subject != "" {
		key = state.SubjectKey(subject)
	}
	if err := s.mayReadState(q, key); err != nil {
		return err
	}
	a, err := s.opts.Evidence.State(q.Context(), key, size)
	if err != nil {
		return err
	}
	if a.Present {
		proof, err := state.Open(a.Proof)
		if err != nil {
			return err
		}
		a.Document = proof.Document
		if a.Values, err = stateValues(a.Document, property); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, a)
}

// stateValues returns what a twin's document holds under a name; none where no name is given.
func stateValues(document []byte, property string) ([]StateValue, error) {
	if property == "" {
		return nil, nil
	}
	t, err := state.OpenTwin(document)
	if err != nil {
		return nil, err
	}
	var out []StateValue
	for _, h := range t.Property(property) {
		out = append(out, StateValue{Kind: h.Kind, Value: h.Value.JSON, Quality: h.Value.Quality, Time: h.Value.Time})
	}
	return out, nil
}

// mayReadState asks whether the caller may read what is under a key of the state tree: a twin's state is for whoever may
// read the twin, a subject's head for whoever may read the subject.
func (s *Server) mayReadState(q *request, key string) error {
	if err := state.CheckKey(key); err != nil {
		return err
	}
	if id, ok := strings.CutPrefix(key, state.TwinKey("")); ok {
		return mayRead(q.caller, vaultmesh.TwinID(id))
	}
	return s.mayReadSubject(q, strings.TrimPrefix(key, state.SubjectKey("")))
}

// searchReceipts answers a search. What is about one twin or one command may be read by whoever may read the twin.
func (s *Server) searchReceipts(w http.ResponseWriter, q *request) error {
	p := params(q, "twin", "command", "actor", "kind...", "scroll", "from", "to", "limit", "cursor")
	ask := lawchain.Search{Twin: vaultmesh.TwinID(p.id("twin")), Actor: vaultmesh.Principal(p.id("actor")), Kinds: p.values["kind"],
		From: p.time("from", time.Time{}), To: p.time("to", time.Time{}), Cursor: p.text("cursor", 64), Limit: p.limit(100, min(s.limits.Page, lawchain.MaxFound))}
	command, scroll := p.id("command"), p.text("scroll", 64)
	if len(ask.Kinds) > 64 {
		p.fail("kind", "there are "+strconv.Itoa(len(ask.Kinds))+", want at most 64", "use a scroll")
	}
	if scroll != "" {
		kinds := receipt.ScrollKinds(scroll)
		if kinds == nil || len(ask.Kinds) > 0 {
			p.fail("scroll", "it is no scroll, or kinds are given as well", "give one of "+strings.Join(scrollNames(), ", "))
		}
		ask.Kinds = kinds
	}
	if p.err != nil {
		return p.err
	}
	switch {
	case command != "":
		ask.Subject = receipt.CommandSubject(vaultmesh.CommandID(command))
		if err := s.mayReadSubject(q, ask.Subject); err != nil {
			return err
		}
	default:
		if err := mayRead(q.caller, ask.Twin); err != nil {
			return err
		}
	}
	a, err := s.opts.Evidence.Search(q.Context(), ask)
	if err != nil {
		return err
	}
	page := SearchPage{Receipts: []Receipt{}, Next: a.Next, Unindexed: a.Unindexed}
	for _, f := range a.Found {
		r, err := newReceipt(f.Index, f.Envelope)
		if err != nil {
			return err
		}
		page.Receipts = append(page.Receipts, r)
	}
	return writeJSON(w, http.StatusOK, page)
}

func scrollNames() []string {
	var names []string
	for _, x := range receipt.Scrolls() {
		names = append(names, x.Name)
	}
	return names
}
