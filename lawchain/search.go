package lawchain

import (
	"bytes"
	"encoding/hex"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// Bounds of one search.
const (
	MaxFound   = 1000   // receipts that one call returns
	maxScanned = 10_000 // receipts that one call looks at
	scanBatch  = 256    // places that are read ahead
)

// Search says which receipts are wanted: those to which everything that is set applies. A receipt that is covered by the
// checkpoint alone and busy (telemetry batches) is found by subject, kind and time, and not by actor or twin alone.
type Search struct {
	Subject string              // exactly; for a command "command/" and its identifier
	Twin    vaultmesh.TwinID    // definitions of the twin, and commands to it
	Actor   vaultmesh.Principal // who acted
	Kinds   []string            // any of these
	From    time.Time           // claimed time, included
	To      time.Time           // not included
	Limit   int                 // 1..MaxFound; 0: 100
	Cursor  string              // where an earlier answer ended
}

// Found is one receipt that was found.
type Found struct {
	Index    vaultmesh.LogIndex
	Envelope []byte
	Receipt  receipt.Receipt
}

// Answer is a page of a search, newest first by the time that the receipts claim.
type Answer struct {
	Found []Found
	// Next goes on where this page ended; empty where there is no more. A page may be short, or empty, and go on: one
	// call looks at no more than a bounded number of receipts.
	Next string
	// Unindexed receipts of a log that is older than its index are not found yet, but by subject.
	Unindexed uint64
}

// Search finds durable receipts. Errors: Invalid for the query.
func (l *Log) Search(q Search) (Answer, error) {
	s, err := l.search(&q)
	if err != nil {
		return Answer{}, err
	}
	var a Answer
	if state := l.indexed.Load(); state != nil {
		a.Unindexed = state.end - min(state.next, state.end)
	}
	for len(a.Found) < q.Limit {
		batch, err := s.next()
		if err != nil {
			return Answer{}, err
		}
		for _, p := range batch {
			if len(a.Found) == q.Limit || s.scanned == maxScanned {
				a.Next = s.cursor()
				return a, nil
			}
			s.after, s.begun = p, true
			s.scanned++
			f, ok, err := s.match(p)
			if err != nil {
				return Answer{}, err
			}
			if ok {
				a.Found = append(a.Found, f)
			}
		}
		if len(batch) < scanBatch {
			return a, nil
		}
	}
	a.Next = s.cursor()
	return a, nil
}

// search is one search under way.
type search struct {
	l        *Log
	r        journal.Reader
	q        *Search
	size     uint64   // of the durable log
	class    string   // of the blocks that are read
	prefixes [][]byte // of those blocks; none: the subject's chain
	lo, hi   place    // the first place that may be returned and the last
	after    place    // the last place that was looked at
	begun    bool
	scanned  int
}

func (l *Log) search(q *Search) (*search, error) {
	const op = "receipts.search"
	if q.Limit < 0 || q.Limit > MaxFound {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "limit", "%d, want 1 to %d", q.Limit, MaxFound)
	}
	if q.Limit == 0 {
		q.Limit = 100
	}
	all := receipt.Kinds()
	for _, k := range q.Kinds {
		if !slices.Contains(all, k) {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "kind", "%.64q is no kind of receipt", k).WithFix("docs/receipts.md lists them")
		}
	}
	for _, id := range []struct{ what, id string }{{"twin", string(q.Twin)}, {"actor", string(q.Actor)}} {
		if id.id != "" {
			if err := vaultmesh.CheckID(id.what, id.id); err != nil {
				return nil, err
			}
		}
	}
	if len(q.Subject) > 2*vaultmesh.MaxID {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "subject", "more than %d bytes", 2*vaultmesh.MaxID)
	}
	if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "from", "it is not before to").WithFix("from is included, to is not")
	}
	s := &search{l: l, r: l.reader(), q: q, lo: place{1<<63 - 1, 1<<64 - 1}, hi: place{0, 0}}
	if cp := l.Checkpoint(); cp != nil {
		s.size = cp.Size
	}
	if !q.To.IsZero() {
		if s.lo.time = ceilMicro(q.To) - 1; s.lo.time < 0 {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "to", "it is not after the beginning of 1970, and every receipt is")
		}
	}
	if !q.From.IsZero() {
		s.hi.time = max(ceilMicro(q.From), 0)
	}
	if q.Cursor != "" {
		b, err := hex.DecodeString(q.Cursor)
		if err == nil && len(b) == placeSize {
			s.after, s.begun = decodePlace(b), true
		}
		if !s.begun || s.after.time < 0 {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "cursor", "it is none").WithFix("give the next of an earlier answer, with the same query")
		}
	}
	s.choose()
	return s, nil
}

// ceilMicro returns the first microsecond that is not before t.
func ceilMicro(t time.Time) int64 {
	us := t.UnixMicro()
	if time.UnixMicro(us).Before(t) {
		us++
	}
	return us
}

// choose takes the records that hold the fewest receipts beside those that are wanted.
func (s *search) choose() {
	q := s.q
	wantsBusy := slices.ContainsFunc(q.Kinds, busy)
	switch {
	case q.Subject != "":
	case q.Twin != "":
		s.class = searchTwin
		s.prefixes = [][]byte{searchPrefix(searchTwin, string(q.Twin))}
	case q.Actor != "" && !wantsBusy:
		s.class = searchActor
		s.prefixes = [][]byte{searchPrefix(searchActor, string(q.Actor))}
	default:
		s.class = searchKind
		kinds := receipt.Kinds()
		if len(q.Kinds) > 0 {
			kinds = slices.Clone(q.Kinds)
			slices.Sort(kinds)
		}
		for _, k := range slices.Compact(kinds) {
			s.prefixes = append(s.prefixes, searchPrefix(searchKind, k))
		}
	}
}

func (s *search) cursor() string { return hex.EncodeToString(s.after.append(nil)) }

// next reads up to scanBatch further places; fewer means that these are the last.
func (s *search) next() ([]place, error) {
	if s.prefixes == nil {
		return s.chain()
	}
	out := s.fromTail() // before the journal: see tail
	for _, prefix := range s.prefixes {
		found, err := s.fromBlocks(prefix)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	sortPlaces(out)
	out = slices.Compact(out)
	return out[:min(len(out), scanBatch)], nil
}

// wanted reports whether a place lies within the times of the query and behind the cursor.
func (s *search) wanted(p place) bool {
	return !p.before(s.lo) && !s.hi.before(p) && (!s.begun || s.after.before(p))
}

// fromTail returns the places that are not in blocks yet.
func (s *search) fromTail() (out []place) {
	s.l.tail.each(func(i uint64, r *row) {
		if p := (place{r.time, i}); s.selects(r) && s.wanted(p) {
			out = append(out, p)
		}
	})
	return out
}

// selects reports whether a row is one that the blocks of the search would hold.
func (s *search) selects(r *row) bool {
	switch s.class {
	case searchTwin:
		return r.twin == string(s.q.Twin)
	case searchActor:
		return r.actor == string(s.q.Actor) && !busy(r.kind)
	}
	return len(s.q.Kinds) == 0 || slices.Contains(s.q.Kinds, r.kind)
}

// fromBlocks returns the first scanBatch wanted places of a prefix, and maybe some behind them.
func (s *search) fromBlocks(prefix []byte) ([]place, error) {
	from := s.lo.time
	if s.begun {
		from = min(from, s.after.time)
	}
	lo := appendBucket(slices.Clone(prefix), from>>bucketBits)
	hi := append(appendBucket(slices.Clone(prefix), s.hi.time>>bucketBits), lastTile...)
	var (
		out    []place
		bucket int64
		worst  place // where there are enough, those behind it are not wanted
		enough bool
	)
	err := s.r.Scan(lo, hi, func(k, v []byte) (bool, error) {
		b, err := decodeBlockKey(k[len(prefix):], v)
		if err != nil {
			return false, err
		}
		if b.bucket != bucket && len(out) >= scanBatch {
			return false, nil // all that follows is older
		}
		bucket = b.bucket
		if s.begun && b.oldest() > s.after.time {
			return true, nil // seen
		}
		err = b.places(func(p place) bool {
			if enough && worst.before(p) {
				return false
			}
			if s.wanted(p) {
				out = append(out, p)
			}
			return true
		})
		if len(out) >= 4*scanBatch {
			sortPlaces(out)
			out = out[:scanBatch]
			worst, enough = out[scanBatch-1], true
		}
		return true, err
	})
	return out, err
}

// lastTile is behind the last block of a bucket.
var lastTile = bytes.Repeat([]byte{0xff}, 9)

func sortPlaces(list []place) {
	slices.SortFunc(list, func(a, b place) int {
		switch {
		case a == b:
			return 0
		case a.before(b):
			return -1
		}
		return 1
	})
}

// chain reads the subject's own chain backwards: by index, since a subject's times may be out of order.
func (s *search) chain() ([]place, error) {
	h, ok, err := s.chainHead()
	if err != nil || !ok {
		return nil, err
	}
	end := h.count
	if s.begun {
		if end, err = s.l.seqOf(s.r, s.q.Subject, h.count, s.after.index); err != nil {
			return nil, err
		}
	}
	var out []place
	err = s.l.chainFrom(s.r, s.q.Subject, end-min(end, scanBatch), func(seq, i uint64) bool {
		if seq < end {
			out = append(out, place{s.after.time, i})
		}
		return seq+1 < end
	})
	slices.Reverse(out)
	return out, err
}

func (s *search) chainHead() (head, bool, error) {
	v, ok, err := s.r.Get(keyHead(s.q.Subject))
	if err != nil || !ok {
		return head{}, false, err
	}
	h, ok := decodeHead(v)
	if !ok {
		return head{}, false, vaultmesh.Errorf(vaultmesh.Corrupt, "receipts.search", s.q.Subject, "the head of the subject is damaged")
	}
	return h, true, nil
}

// match reads a receipt and compares it with the query.
func (s *search) match(p place) (Found, bool, error) {
	if p.index >= s.size {
		return Found{}, false, nil // applied, not yet durable
	}
	raw, err := s.l.Receipt(vaultmesh.LogIndex(p.index))
	if err != nil {
		return Found{}, false, err
	}
	r, err := receipt.Open(raw)
	if err != nil {
		return Found{}, false, vaultmesh.Errorf(vaultmesh.Corrupt, "receipts.search", "", "receipt %d cannot be read", p.index).Because(err)
	}
	q, at := s.q, r.Time.UnixMicro()
	ok := (q.Subject == "" || r.Subject == q.Subject) && (q.Twin == "" || receipt.TwinOf(&r.Draft) == q.Twin) && (q.Actor == "" || r.Actor == q.Actor) &&
		(len(q.Kinds) == 0 || slices.Contains(q.Kinds, r.Kind)) && at >= s.hi.time && at <= s.lo.time
	return Found{vaultmesh.LogIndex(p.index), raw, r}, ok, nil
}
