package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/twin"
)

// The types of a [FeedMessage].
const (
	FeedHello   = "hello"   // the first message
	FeedTwin    = "twin"    // the newest state of a twin
	FeedCommand = "command" // the newest state of a command, with its whole history
	FeedReceipt = "receipt" // the next receipt of the log
	FeedHalt    = "halt"    // the halt switch
)

var feedTypes = []string{FeedTwin, FeedCommand, FeedReceipt, FeedHalt}

// FeedMessage is one JSON message of the feed. The member named like the type is set.
type FeedMessage struct {
	Type string `json:"type"`
	// Seq is the log index of a receipt, without a gap from the since that was asked for; in the hello it is the
	// index of the first receipt that will come.
	Seq *vaultmesh.LogIndex `json:"seq,omitempty,string"`
	// Skipped counts the changes that are not told one by one since the last message about twins, commands or the
	// halt switch, because a newer state of the same thing replaced them while the client was busy.
	Skipped uint64             `json:"skipped,omitempty,string"`
	Types   []string           `json:"types,omitempty"` // hello only: what will come
	Twin    *twin.Twin         `json:"twin,omitempty"`
	Command *control.Command   `json:"command,omitempty"`
	Receipt *Receipt           `json:"receipt,omitempty"`
	Halt    *control.HaltState `json:"halt,omitempty"`
}

// feedConn is one connected client. It belongs to the goroutine of its request.
type feedConn struct {
	s       *Server
	q       *request
	conn    *websocket.Conn
	sub     *subscription
	types   []string
	receive bool               // whether receipts are told
	next    vaultmesh.LogIndex // the next receipt to tell
}

// goodbye ends a feed with a close frame.
type goodbye struct {
	code   websocket.StatusCode
	reason string // at most 120 bytes
	slow   bool
}

func (g *goodbye) Error() string { return g.reason }

func (s *Server) getFeed(w http.ResponseWriter, q *request) error {
	f, prefix, err := s.openFeed(q)
	if err != nil {
		return err
	}
	if !strings.EqualFold(q.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		return &statusError{http.StatusUpgradeRequired, vaultmesh.Errorf(vaultmesh.Invalid, "feed", "Upgrade", "this route speaks WebSocket only").
			WithFix("connect with a WebSocket client, or poll GET /v1/receipts and GET /v1/commands")}
	}
	if err := s.admitFeed(); err != nil {
		return err
	}
	defer s.releaseFeed()
	// From here on no change is lost: what comes before the first message waits in the subscription.
	f.sub = s.opts.Feed.subscribe(s.limits.FeedPending, func(c change) bool {
		switch {
		case c.twin != "":
			return slices.Contains(f.types, FeedTwin) && strings.HasPrefix(string(c.twin), prefix) && mayRead(q.caller, c.twin) == nil
		case c.command != "":
			return slices.Contains(f.types, FeedCommand)
		}
		return slices.Contains(f.types, FeedHalt)
	})
	defer f.sub.close()
	f.conn, err = websocket.Accept(w, q.Request, &websocket.AcceptOptions{OriginPatterns: s.opts.Origins})
	if err != nil {
		return nil // the library has answered
	}
	s.metrics.feeds.Inc()
	defer s.metrics.feeds.Dec()
	f.conn.SetReadLimit(1 << 10) // clients have nothing to say
	gone, stop := f.listen()
	f.end(gone, f.run(gone))
	stop()
	return nil
}

// listen reads in a goroutine of its own, which answers pings and sees the client go: then gone ends, with the
// cause. It does not end with the server, which would cut the connection without a close frame. stop ends it; the
// connection is closed by then. (The library's CloseRead waits 15 s for itself when a client sends a message.)
func (f *feedConn) listen() (gone context.Context, stop func()) {
	ctx := context.WithoutCancel(f.q.Context())
	gone, leave := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _, err := f.conn.Reader(ctx)
		if err == nil {
			err = &goodbye{code: websocket.StatusPolicyViolation, reason: "the feed listens to nobody"}
		}
		leave(err)
	}()
	return gone, func() { <-done }
}

// openFeed checks what a client asks for and is allowed.
func (s *Server) openFeed(q *request) (f *feedConn, prefix string, err error) {
	p := params(q, "since", "types", "prefix")
	since, given := p.number("since", false)
	asked := p.text("types", 64)
	prefix = p.id("prefix")
	f = &feedConn{s: s, q: q, types: slices.Clone(feedTypes)}
	if asked != "" {
		f.types = strings.Split(asked, ",")
	}
	for _, t := range f.types {
		if !slices.Contains(feedTypes, t) {
			p.fail("types", "there is no such type", "use a list of "+strings.Join(feedTypes, ","))
		}
	}
	if p.err != nil {
		return nil, "", p.err
	}
	size := s.opts.Evidence.Size()
	if given && since > size {
		return nil, "", vaultmesh.Errorf(vaultmesh.Invalid, "query", "since", "%d is beyond the log, which has %d receipts", since, size).
			WithFix("ask for the index after the last receipt that you hold; if you hold more than the log, its domain was rolled back")
	}
	if !given {
		since = size
	}
	f.next = vaultmesh.LogIndex(since)
	if err := mayRead(q.caller, ""); err != nil {
		// A token for some twins gets no receipts: they tell of every twin. It hears so if it asked for them.
		if given || asked != "" && slices.Contains(f.types, FeedReceipt) {
			return nil, "", err
		}
		f.types = slices.DeleteFunc(f.types, func(t string) bool { return t == FeedReceipt })
	}
	f.receive = slices.Contains(f.types, FeedReceipt)
	if len(q.caller.Capability.Verbs()) == 0 {
		return nil, "", mayRead(q.caller, "")
	}
	return f, prefix, nil
}

// run tells what changes until the client goes, does not keep up, loses its right, or the server stops.
func (f *feedConn) run(gone context.Context) error {
	first := f.next
	if err := f.send(gone, FeedMessage{Type: FeedHello, Seq: &first, Types: f.types}); err != nil {
		return err
	}
	ping := time.NewTicker(f.s.limits.FeedPing)
	defer ping.Stop()
	for {
		more, err := f.tell(gone)
		if err != nil {
			return err
		}
		var wake <-chan struct{} = f.sub.wake
		if more {
			wake = awake
		}
		select {
		case <-f.s.ctx.Done():
			return &goodbye{code: websocket.StatusGoingAway, reason: "the node goes away; connect again with since"}
		case <-gone.Done():
			return context.Cause(gone)
		case <-ping.C:
			if err := f.check(gone); err != nil {
				return err
			}
		case <-wake:
		}
	}
}

// awake is a channel that can always be received from.
var awake = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// tell sends a bounded run of receipts and one of changes, so that neither starves the other. more says that some
// may be left.
func (f *feedConn) tell(ctx context.Context) (more bool, err error) {
	for n := 0; f.receive && uint64(f.next) < f.s.opts.Evidence.Size(); n++ {
		if n == f.s.limits.FeedReceipts {
			more = true
			break
		}
		r, err := f.s.receipt(f.q, f.next)
		if err != nil {
			return false, err
		}
		if err := f.send(ctx, FeedMessage{Type: FeedReceipt, Seq: &r.Index, Receipt: &r}); err != nil {
			return false, err
		}
		f.next++
	}
	for range f.s.limits.FeedReceipts {
		c, skipped, ok, overflow := f.sub.next()
		if overflow {
			return false, &goodbye{websocket.StatusTryAgainLater, "too slow: too many changes waited", true}
		}
		if !ok {
			return more, nil
		}
		m, err := f.message(ctx, c)
		if err != nil {
			return false, err
		}
		if m.Type == "" {
			continue
		}
		m.Skipped = skipped
		if err := f.send(ctx, m); err != nil {
			return false, err
		}
	}
	return true, nil
}

// message reads the newest state of what changed; its type is empty where there is nothing that the client may see.
func (f *feedConn) message(ctx context.Context, c change) (FeedMessage, error) {
	switch {
	case c.twin != "":
		t, ok := f.s.opts.Twins.Get(c.twin)
		if !ok {
			return FeedMessage{}, nil
		}
		return FeedMessage{Type: FeedTwin, Twin: &t}, nil
	case c.command != "":
		cmd, err := f.s.opts.Commands.Command(ctx, f.q.caller, c.command)
		if err == nil {
			err = mayRead(f.q.caller, cmd.Twin)
		}
		switch kind := vaultmesh.KindOf(err); {
		case err == nil:
			return FeedMessage{Type: FeedCommand, Command: &cmd}, nil
		case kind == vaultmesh.Denied, kind == vaultmesh.NotFound:
			return FeedMessage{}, nil
		}
		return FeedMessage{}, err
	}
	h := f.s.opts.Commands.HaltState()
	return FeedMessage{Type: FeedHalt, Halt: &h}, nil
}

func (f *feedConn) send(ctx context.Context, m FeedMessage) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return vaultmesh.Errorf(vaultmesh.Internal, "feed", m.Type, "cannot be encoded").Because(err)
	}
	// The end of a context in the middle of a write cuts the connection, so that this one ends with its time only.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.s.limits.FeedWrite)
	defer cancel()
	if err := f.conn.Write(ctx, websocket.MessageText, b.Bytes()); err != nil {
		return f.ended(ctx, err)
	}
	f.s.metrics.messages.WithLabelValues(m.Type).Inc()
	return nil
}

// check asks whether the client is still there and whether its token still holds.
func (f *feedConn) check(ctx context.Context) error {
	if _, err := f.s.auth.verify(f.q.caller.Token, f.s.now()); err != nil {
		return &goodbye{code: websocket.StatusPolicyViolation, reason: "the token does not hold any more"}
	}
	ctx, cancel := context.WithTimeout(ctx, f.s.limits.FeedWrite)
	defer cancel()
	if err := f.conn.Ping(ctx); err != nil {
		return f.ended(ctx, err)
	}
	return nil
}

func (f *feedConn) ended(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &goodbye{websocket.StatusTryAgainLater, "too slow: a message was not taken in time", true}
	}
	return err
}

// end closes the connection in the way that err asks for.
func (f *feedConn) end(gone context.Context, err error) {
	defer f.conn.CloseNow() // closing twice is no error worth telling
	var bye *goodbye
	var own *vaultmesh.Error
	switch {
	case errors.As(err, &bye), errors.As(context.Cause(gone), &bye):
	case gone.Err() == nil && errors.As(err, &own):
		f.s.opts.Log.Warn("feed ended", "request", f.q.id, "error", err)
		bye = &goodbye{code: websocket.StatusInternalError, reason: "the cause is in the node's log"}
	default:
		return // the client went
	}
	if bye.slow {
		f.s.metrics.slow.Inc()
	}
	_ = f.conn.Close(bye.code, bye.reason) // waits for the client's close frame, at most 5 s; it may be gone
}
