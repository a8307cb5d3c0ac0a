package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// maxBundle bounds the commands and subjects of one bundle.
const maxBundle = 100

func (s *Server) getReceipt(w http.ResponseWriter, q *request) error {
	if err := mayRead(q.caller, ""); err != nil {
		return err
	}
	index, err := strconv.ParseUint(q.PathValue("index"), 10, 63)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "receipt", clip(q.PathValue("index")), "it is no log index").WithFix("give a decimal integer from 0")
	}
	r, err := s.receipt(q, vaultmesh.LogIndex(index))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, r)
}

func (s *Server) receipt(q *request, index vaultmesh.LogIndex) (Receipt, error) {
	envelope, err := s.opts.Evidence.Receipt(q.Context(), index)
	if err != nil {
		return Receipt{}, err
	}
	return newReceipt(index, envelope)
}

// newReceipt shows an envelope of the log for reading.
func newReceipt(index vaultmesh.LogIndex, envelope []byte) (Receipt, error) {
	var dsse struct {
		Payload string `json:"payload"`
	}
	corrupt := func(err error) error {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "receipt", strconv.FormatUint(uint64(index), 10), "the envelope cannot be read").Because(err)
	}
	if err := json.Unmarshal(envelope, &dsse); err != nil {
		return Receipt{}, corrupt(err)
	}
	statement, err := base64.StdEncoding.DecodeString(dsse.Payload)
	if err != nil {
		return Receipt{}, corrupt(err)
	}
	if !json.Valid(statement) {
		return Receipt{}, corrupt(nil)
	}
	return Receipt{Index: index, Leaf: receipt.LeafHash(envelope), Envelope: envelope, Statement: statement}, nil
}

// getReceipts lists the receipts of a subject, oldest first, or searches. One twin's or command's history may be read by
// whoever may read the twin; any other subject belongs to the whole domain.
func (s *Server) getReceipts(w http.ResponseWriter, q *request) error {
	if !q.URL.Query().Has("subject") {
		return s.searchReceipts(w, q)
	}
	p := params(q, "subject", "from", "limit")
	subject := p.text("subject", 2*vaultmesh.MaxID)
	from, _ := p.number("from", false)
	limit := p.limit(100, s.limits.Page)
	if subject == "" {
		p.fail("subject", "it is missing", `give a subject such as "command/<id>" or "twin/<id>"`)
	}
	if p.err != nil {
		return p.err
	}
	if err := s.mayReadSubject(q, subject); err != nil {
		return err
	}
	indexes, err := s.opts.Evidence.Subject(q.Context(), subject, vaultmesh.LogIndex(from), limit+1)
	if err != nil {
		return err
	}
	page := ReceiptPage{Subject: subject, Receipts: []Receipt{}}
	if len(indexes) > limit {
		page.Next = &indexes[limit]
		indexes = indexes[:limit]
	}
	for _, i := range indexes {
		r, err := s.receipt(q, i)
		if err != nil {
			return err
		}
		page.Receipts = append(page.Receipts, r)
	}
	return writeJSON(w, http.StatusOK, page)
}

// readableSubjects returns what tells of a subject whether q's caller may read its receipts, and asks once for each.
func (s *Server) readableSubjects(q *request) func(subject string) bool {
	if mayRead(q.caller, "") == nil {
		return func(string) bool { return true }
	}
	known := map[string]bool{}
	return func(subject string) bool {
		may, ok := known[subject]
		if !ok {
			may = s.mayReadSubject(q, subject) == nil
			known[subject] = may
		}
		return may
	}
}

func (s *Server) mayReadSubject(q *request, subject string) error {
	if id, ok := strings.CutPrefix(subject, receipt.TwinSubject("")); ok {
		return mayRead(q.caller, vaultmesh.TwinID(id))
	}
	if id, ok := strings.CutPrefix(subject, receipt.CommandSubject("")); ok {
		_, err := s.readable(q, vaultmesh.CommandID(id))
		return err
	}
	return mayRead(q.caller, "")
}

func (s *Server) getBundle(w http.ResponseWriter, q *request) error {
	c, err := s.command(q)
	if err != nil {
		return err
	}
	return s.bundle(w, q, BundleQuery{Scope: receipt.Scope{Commands: []vaultmesh.CommandID{c.ID}}})
}

// getBundles answers with the evidence of commands, of other subjects, and of a range of the log by index or by time.
func (s *Server) getBundles(w http.ResponseWriter, q *request) error {
	p := params(q, "command...", "subject...", "state...", "at", "disclose", "first", "last", "from", "until", "head")
	commands, subjects := p.values["command"], p.values["subject"]
	ask := BundleQuery{}
	ask.Head, _ = p.number("head", false)
	ask.State = p.values["state"]
	ask.StateAt, _ = p.number("at", false)
	ask.Disclose, ask.Readable = p.flag("disclose"), s.readableSubjects(q)
	first, byIndex := p.number("first", false)
	last, _ := p.number("last", byIndex)
	from := p.time("from", time.Time{})
	until := p.time("until", time.Time{})
	switch {
	case p.err != nil:
	case len(commands)+len(subjects)+len(ask.State) > maxBundle:
		p.fail("command", "there are "+strconv.Itoa(len(commands)+len(subjects)+len(ask.State))+" commands, subjects and keys of the state, want at most "+strconv.Itoa(maxBundle), "ask for several bundles")
	case byIndex && last < first, !byIndex && p.values.Has("last"), byIndex && !from.IsZero():
		p.fail("first", "a range is either first and last, in this order, or from and until", "give first=12&last=40 or from=2026-01-02T00:00:00Z&until=2026-01-03T00:00:00Z")
	case from.IsZero() != until.IsZero() || until.Before(from):
		p.fail("from", "a range of time has both ends, in order", "give from and until")
	case len(commands)+len(subjects)+len(ask.State) == 0 && !byIndex && from.IsZero():
		p.fail("command", "nothing was asked for", "repeat command or subject, or give first and last, or from and until: ?command=<id>&command=<id>")
	}
	if p.err != nil {
		return p.err
	}
	if byIndex || !from.IsZero() {
		if err := mayRead(q.caller, ""); err != nil {
			return err
		}
		ask.Ranges = []receipt.Range{{First: vaultmesh.LogIndex(first), Last: vaultmesh.LogIndex(last), From: from, Until: until}}
	}
	for _, name := range commands {
		if err := vaultmesh.CheckID("command", name); err != nil {
			return err
		}
		if _, err := s.readable(q, vaultmesh.CommandID(name)); err != nil {
			return err
		}
		ask.Commands = append(ask.Commands, vaultmesh.CommandID(name))
	}
	for _, subject := range subjects {
		if len(subject) == 0 || len(subject) > 2*vaultmesh.MaxID || strings.HasPrefix(subject, receipt.CommandSubject("")) {
			return vaultmesh.Errorf(vaultmesh.Invalid, "query", "subject", "%q is no subject of a bundle", clip(subject)).WithFix("give a subject such as twin/<id>, and a command as ?command=<id>")
		}
		if err := s.mayReadSubject(q, subject); err != nil {
			return err
		}
		ask.Subjects = append(ask.Subjects, subject)
	}
	for _, key := range ask.State {
		if err := s.mayReadState(q, key); err != nil {
			return err
		}
	}
	return s.bundle(w, q, ask)
}

// bundle answers with the exact bytes: a bundle has one encoding only.
func (s *Server) bundle(w http.ResponseWriter, q *request, ask BundleQuery) error {
	b, err := s.opts.Evidence.Bundle(q.Context(), ask)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Disposition", `attachment; filename="vaultmesh-bundle.json"`)
	writeBytes(w, http.StatusOK, "application/json", b)
	return nil
}

// mayReadLog asks a caller with a token for the right to read the whole domain; without one the route was open to
// the peer.
func mayReadLog(q *request) error {
	if q.caller.Capability == nil {
		return nil
	}
	return mayRead(q.caller, "")
}

func (s *Server) getCheckpoint(w http.ResponseWriter, q *request) error {
	if err := mayReadLog(q); err != nil {
		return err
	}
	note, err := s.opts.Evidence.Checkpoint(q.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-cache") // a client must see how far the log has come
	writeBytes(w, http.StatusOK, "text/plain; charset=utf-8", note)
	return nil
}

// getWitnesses shows who cosigns the log, and whether a witness holds another tree of it.
func (s *Server) getWitnesses(w http.ResponseWriter, q *request) error {
	if err := mayReadLog(q); err != nil {
		return err
	}
	if s.opts.Witnesses == nil {
		return vaultmesh.Errorf(vaultmesh.NotFound, "log.witnesses", "", "the log has no witnesses").WithFix("configure witness.policy")
	}
	return writeJSON(w, http.StatusOK, s.opts.Witnesses())
}

// tilePath is the grammar of C2SP tlog-tiles: a level from 0 to 63 or "entries", the tile's number in groups of
// three digits of which all but the last start with x, and the width of a partial tile from 1 to 255.
var tilePath = regexp.MustCompile(`^(?:[0-9]|[1-5][0-9]|6[0-3]|entries)/(?:x[0-9]{3}/){0,5}[0-9]{3}(\.p/(?:[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5]))?$`)

// getPublished serves the checkpoint that the published tiles lead to, which may be a moment behind the newest: a reader
// of tiles must find every tile that the checkpoint promises (C2SP tlog-tiles).
func (s *Server) getPublished(w http.ResponseWriter, q *request) error {
	if err := mayReadLog(q); err != nil {
		return err
	}
	note, err := s.opts.Evidence.Tile(q.Context(), "checkpoint")
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-cache")
	writeBytes(w, http.StatusOK, "text/plain; charset=utf-8", note)
	return nil
}

func (s *Server) getTile(w http.ResponseWriter, q *request) error {
	if err := mayReadLog(q); err != nil {
		return err
	}
	path := q.PathValue("path")
	// A number has one path only: no leading group of zeros.
	if len(path) > 64 || !tilePath.MatchString(path) || strings.Contains(path, "/x000/") && strings.Index(path, "/x000/") == strings.IndexByte(path, '/') {
		return vaultmesh.Errorf(vaultmesh.NotFound, "log.tile", clip(path), "it is no path of C2SP tlog-tiles").
			WithFix("use tile/<level>/<number>, for example tile/0/x001/234 or tile/entries/000.p/5")
	}
	b, err := s.opts.Evidence.Tile(q.Context(), "tile/"+path)
	if err != nil {
		return err
	}
	// A tile never changes, since the log only grows. A shared cache may keep it where anyone may read it.
	scope := "private"
	if q.caller.Capability == nil {
		scope = "public"
	}
	w.Header().Set("Cache-Control", scope+", max-age=31536000, immutable")
	writeBytes(w, http.StatusOK, "application/octet-stream", b)
	return nil
}

func (s *Server) getInclusion(w http.ResponseWriter, q *request) error {
	p := params(q, "index", "size")
	index, _ := p.number("index", true)
	size, _ := p.number("size", true)
	if p.err == nil && index >= size {
		p.fail("index", "it is not below size", "give the size of a checkpoint that covers the receipt")
	}
	if p.err != nil {
		return p.err
	}
	if err := mayReadLog(q); err != nil {
		return err
	}
	hashes, err := s.opts.Evidence.Inclusion(q.Context(), vaultmesh.LogIndex(index), size)
	if err != nil {
		return err
	}
	i := vaultmesh.LogIndex(index)
	return writeJSON(w, http.StatusOK, Proof{Index: &i, Size: size, Hashes: notNil(hashes)})
}

func (s *Server) getConsistency(w http.ResponseWriter, q *request) error {
	p := params(q, "old", "new")
	old, _ := p.number("old", true)
	size, _ := p.number("new", true)
	if p.err == nil && old > size {
		p.fail("old", "it is greater than new", "swap them")
	}
	if p.err != nil {
		return p.err
	}
	if err := mayReadLog(q); err != nil {
		return err
	}
	hashes, err := s.opts.Evidence.Consistency(q.Context(), old, size)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, Proof{Old: &old, Size: size, Hashes: notNil(hashes)})
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
