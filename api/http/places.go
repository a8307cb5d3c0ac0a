package httpapi

import (
	"net/http"
	"time"

	"vaultmesh.org/vaultmesh"
)

// smallAnswer is the size in bytes up to which an answer is written without a place: what a slow reader holds then is no
// more than its connection costs anyway.
const smallAnswer = 64 << 10

// places bound the requests at work. A place is for the work, and for an answer that is large to hold in memory; whoever
// reads the rest slowly has none. There are three kinds, so that nobody can keep an operator from the halt switch:
//
//   - open ones, for requests that prove nothing (the contract, the verify page, the public log, the metrics). Their
//     answers are cut off after Limits.OpenWrite.
//   - common ones, for requests of whoever has sent the whole request and proved who they are.
//   - reserved ones, for halt, resume, approve, reject and revoke alone, once no common one is free. They are free again
//     before the answer is written, whatever its size.
type places struct{ common, open, reserved chan struct{} }

func newPlaces(l Limits) places {
	return places{common: make(chan struct{}, l.Concurrent), open: make(chan struct{}, l.Open), reserved: make(chan struct{}, l.Reserved)}
}

// take returns the place of a request.
func (p places) take(rt route, q *request) (*place, error) {
	if q.caller.Capability == nil {
		if in(p.open) {
			return &place{of: p.open}, nil
		}
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "http", "", "all %d places for requests without a token are in use", cap(p.open)).
			WithFix("wait as long as Retry-After says")
	}
	if in(p.common) {
		return &place{of: p.common, small: rt.room == reserved}, nil
	}
	if rt.room == reserved && in(p.reserved) {
		return &place{of: p.reserved, small: true}, nil
	}
	return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "http", "", "all %d places for requests are in use", cap(p.common)).
		WithFix("wait as long as Retry-After says")
}

// in takes a place of c if there is one.
func in(c chan struct{}) bool {
	select {
	case c <- struct{}{}:
		return true
	default:
		return false
	}
}

// place is one request's, used by one goroutine; the zero value is none.
type place struct {
	of    chan struct{}
	small bool   // every answer counts as small
	rest  func() // the connection is of no more account than another's from now on: who reads slowly keeps nobody out; may be nil
}

// leave gives the place back, once.
func (p *place) leave() {
	if p != nil && p.of != nil {
		<-p.of
		p.of = nil
		if p.rest != nil {
			p.rest()
		}
	}
}

// answering gives the place back where the answer of a size, which is in memory as a whole, can be written without one.
func answering(w http.ResponseWriter, size int) {
	if r, ok := w.(*recorder); ok && r.place != nil && (size <= smallAnswer || r.place.small) {
		r.place.leave()
	}
}

// hurry bounds the time of the answer to whoever proved nothing. A writer without deadlines has none to bound.
func (s *Server) hurry(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(min(s.limits.OpenWrite, s.limits.WriteTimeout)))
}
