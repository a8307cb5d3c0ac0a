package witness

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh/crowd"
)

// Bounds of the bodies that are read at the same time. A body has at most MaxRequest bytes, so that all of them have at
// most 64 MiB.
const (
	maxReading     = 1024
	maxReadingPeer = 16
)

// intake counts the requests whose bodies are being read, in all and by the network they come from.
type intake struct {
	mu    sync.Mutex
	total int
	peers map[netip.Prefix]int
}

// enter takes a place; full says why there is none.
func (in *intake) enter(from netip.Prefix) (full *Answer) {
	in.mu.Lock()
	defer in.mu.Unlock()
	busy := func(status int, text string) *Answer { a := plain(status, "%s", text); return &a }
	switch {
	case in.peers[from] >= maxReadingPeer:
		return busy(http.StatusTooManyRequests, "too many unfinished requests from your address")
	case in.total >= maxReading:
		return busy(http.StatusServiceUnavailable, "too many unfinished requests")
	}
	if in.peers == nil {
		in.peers = map[netip.Prefix]int{}
	}
	in.total++
	in.peers[from]++
	return nil
}

func (in *intake) leave(from netip.Prefix) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.total--
	if in.peers[from]--; in.peers[from] == 0 {
		delete(in.peers, from)
	}
}

// receive reads the body of a request within its bounds of size, time and number. Where refused is not nil the rest of
// the body is not waited for, and the connection ends with the answer.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) (body []byte, refused *Answer) {
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(s.o.BodyTimeout))
	defer func() {
		if refused != nil {
			w.Header().Set("Connection", "close")
		}
	}()
	from := crowd.Network(r.RemoteAddr)
	if refused = s.intake.enter(from); refused != nil {
		return nil, refused
	}
	defer s.intake.leave(from)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequest))
	var a Answer
	switch {
	case err == nil:
		_ = deadline.SetReadDeadline(time.Time{})
		return body, nil
	case errors.As(err, new(*http.MaxBytesError)):
		a = plain(http.StatusRequestEntityTooLarge, "a request has at most %d bytes", MaxRequest)
	case errors.Is(err, os.ErrDeadlineExceeded):
		a = plain(http.StatusRequestTimeout, "the request was not there after %s", s.o.BodyTimeout)
	default:
		a = plain(http.StatusBadRequest, "the request was cut off")
	}
	return nil, &a
}
