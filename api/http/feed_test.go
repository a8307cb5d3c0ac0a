package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	dto "github.com/prometheus/client_model/go"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/twin"
)

// open connects and ends with the test.
func open(t testing.TB, c *Client, q FeedQuery) *FeedStream {
	t.Helper()
	f, err := c.Feed(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func next(t testing.TB, f *FeedStream) FeedMessage {
	t.Helper()
	return must(f.Next(t.Context()))(t)
}

func index(i vaultmesh.LogIndex) *vaultmesh.LogIndex { return &i }

func TestFeedTellsWhatChanges(t *testing.T) {
	w := newWorld(t)
	o := options(t, w)
	_, base := serve(t, o)
	c := client(t, base, "operator")
	f := open(t, c, FeedQuery{})
	w.touch("line-1-2", 8)
	o.Feed.Twin("line-1-2")
	if m := next(t, f); m.Type != FeedTwin || m.Twin.Version != 8 || m.Skipped != 0 {
		t.Error(m)
	}
	cmd := must(c.Propose(t.Context(), control.Proposal{Twin: "line-1-2", Command: "x", IdempotencyKey: "k"}))(t)
	o.Feed.Command("c-99") // gone before it could be told
	o.Feed.Command(cmd.ID)
	if m := next(t, f); m.Type != FeedCommand || m.Command.ID != cmd.ID {
		t.Error(m)
	}
	must(c.Halt(t.Context(), "storm"))(t)
	o.Feed.Halt()
	if m := next(t, f); m.Type != FeedHalt || !m.Halt.Halted {
		t.Error(m)
	}
	w.grow(t)
	o.Feed.Receipts()
	if m := next(t, f); m.Type != FeedReceipt || *m.Seq != 5 || string(m.Receipt.Envelope) != string(w.envelopes[5]) {
		t.Error(m)
	}
}

// Each message of the feed is as the contract says.
func TestFeedMessagesFitTheContract(t *testing.T) {
	w := newWorld(t)
	o := options(t, w)
	_, base := serve(t, o)
	c := client(t, base, "operator")
	s := loadSpec(t)
	cmd := must(c.Propose(t.Context(), control.Proposal{Twin: "line-1-2", Command: "x", IdempotencyKey: "k"}))(t)
	conn, _, err := websocket.Dial(t.Context(), base+"/v1/feed?since=4", &websocket.DialOptions{HTTPClient: c.HTTP()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	told := map[string]bool{}
	for range 5 {
		_, b, err := conn.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.validate(t, "a message", b, "components", "schemas", "FeedMessage")
		for _, typ := range append([]string{FeedHello}, feedTypes...) {
			if strings.HasPrefix(string(b), `{"type":"`+typ+`"`) {
				told[typ] = true
			}
		}
		if told[FeedHello] && len(told) == 1 {
			o.Feed.Twin("bus-1")
			o.Feed.Command(cmd.ID)
			o.Feed.Halt()
		}
	}
	if len(told) != 5 {
		t.Error(told)
	}
}

// Receipts are resumed where a client left off, in order, while the log grows under it.
func TestFeedResumesReceipts(t *testing.T) {
	w := newWorld(t)
	o := options(t, w)
	o.Limits.FeedReceipts = 2 // many turns
	_, base := serve(t, o)
	c := client(t, base, "operator")
	f := open(t, c, FeedQuery{Since: index(0), Types: []string{FeedReceipt}})
	for i := range vaultmesh.LogIndex(40) {
		if i < 35 {
			w.grow(t)
			o.Feed.Receipts()
			o.Feed.Twin("bus-1") // not asked for
		}
		if m := next(t, f); m.Type != FeedReceipt || *m.Seq != i {
			t.Fatalf("at %d: %+v", i, m)
		}
	}
	g := open(t, c, FeedQuery{Since: index(38), Types: []string{FeedReceipt}})
	for i := vaultmesh.LogIndex(38); i < 40; i++ {
		if m := next(t, g); *m.Seq != i {
			t.Fatal(m)
		}
	}
	_, err := c.Feed(t.Context(), FeedQuery{Since: index(41)})
	wantError(t, err, vaultmesh.Invalid, "beyond the log")
}

// A token for some twins is told of these only.
func TestFeedKeepsToTheToken(t *testing.T) {
	w := newWorld(t)
	o := options(t, w)
	_, base := serve(t, o)
	operator := client(t, base, "operator")
	hidden := must(operator.Propose(t.Context(), control.Proposal{Twin: "bus-1", Command: "x", IdempotencyKey: "k1"}))(t)
	shown := must(operator.Propose(t.Context(), control.Proposal{Twin: "line-1-2", Command: "x", IdempotencyKey: "k2"}))(t)
	c := client(t, base, "reader")
	f := open(t, c, FeedQuery{Prefix: "line-2"})
	w.grow(t)
	o.Feed.Receipts()
	o.Feed.Twin("bus-1")
	o.Feed.Twin("line-1-2")
	o.Feed.Twin("line-2-3")
	o.Feed.Command(hidden.ID)
	o.Feed.Command(shown.ID)
	if m := next(t, f); m.Type != FeedTwin || m.Twin.ID != "line-2-3" {
		t.Error(m)
	}
	if m := next(t, f); m.Type != FeedCommand || m.Command.ID != shown.ID {
		t.Error(m)
	}
	_, err := c.Feed(t.Context(), FeedQuery{Types: []string{FeedReceipt}})
	wantError(t, err, vaultmesh.Denied)
	_, err = c.Feed(t.Context(), FeedQuery{Since: index(0)})
	wantError(t, err, vaultmesh.Denied)
	_, err = client(t, base, "idle").Feed(t.Context(), FeedQuery{})
	wantError(t, err, vaultmesh.Denied)
}

// What waits for a client is the newest state once, and what fell together is counted.
func TestSubscriptionCoalesces(t *testing.T) {
	f := NewFeed()
	s := f.subscribe(3, func(c change) bool { return c.twin != "unwanted" })
	for _, id := range []vaultmesh.TwinID{"a", "b", "a", "a", "unwanted", "b"} {
		f.Twin(id)
	}
	for i, want := range []struct {
		id      vaultmesh.TwinID
		skipped uint64
	}{{"a", 3}, {"b", 0}} {
		c, skipped, ok, overflow := s.next()
		if c.twin != want.id || skipped != want.skipped || !ok || overflow {
			t.Errorf("%d: %v %d %v %v", i, c, skipped, ok, overflow)
		}
	}
	if _, _, ok, overflow := s.next(); ok || overflow {
		t.Error("something is left")
	}
	f.Twin("a") // what was taken may wait again
	f.Halt()
	f.Command("c")
	f.Command("c")
	f.Command("d")
	if _, _, ok, overflow := s.next(); ok || !overflow {
		t.Error("a fourth distinct change is beyond the limit")
	}
	s.close()
	f.Twin("a")
	if len(f.subs) != 0 {
		t.Error("it is still subscribed")
	}
}

// block is a filter that lets a test hold a feed inside a read of the world.
type block struct {
	worldTwins
	entered, leave chan struct{}
}

func (b block) Get(id vaultmesh.TwinID) (twin.Twin, bool) {
	b.entered <- struct{}{}
	<-b.leave
	return b.worldTwins.Get(id)
}

// A client for which too much waits is closed and told why; the others go on.
func TestSlowClientIsClosed(t *testing.T) {
	w := newWorld(t)
	o := options(t, w)
	twins := block{worldTwins{w}, make(chan struct{}), make(chan struct{})}
	o.Twins = twins
	o.Limits.FeedPending = 2
	s, base := serve(t, o)
	c := client(t, base, "operator")
	f := open(t, c, FeedQuery{Types: []string{FeedTwin}})
	o.Feed.Twin("bus-1")
	<-twins.entered // the writer is busy now
	o.Feed.Twin("line-1-2")
	o.Feed.Twin("line-1-2")
	o.Feed.Twin("line-2-3")
	o.Feed.Twin("line-3-4")
	close(twins.leave)
	if m := next(t, f); m.Twin.ID != "bus-1" {
		t.Error(m)
	}
	_, err := f.Next(t.Context())
	wantError(t, err, vaultmesh.Unavailable, "too slow")
	s.feeds.Wait()
	var slow dto.Metric
	if err := s.metrics.slow.Write(&slow); err != nil || slow.GetCounter().GetValue() != 1 {
		t.Error(err, slow.GetCounter())
	}
}

// A client that takes nothing is closed when one message is not taken in time.
func TestStuckClientIsClosed(t *testing.T) {
	g := &goodbye{}
	f := &feedConn{}
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	if err := f.ended(ctx, errors.New("x")); !errors.As(err, &g) || !g.slow || g.code != websocket.StatusTryAgainLater {
		t.Error(err)
	}
	if err := f.ended(context.Background(), io.EOF); err != io.EOF {
		t.Error(err)
	}
}

// The token is asked again while a feed is open.
func TestFeedEndsWithItsToken(t *testing.T) {
	w := newWorld(t)
	o := options(t, w)
	var mu sync.Mutex
	now := epoch
	o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	o.Limits.FeedPing = time.Millisecond
	_, base := serve(t, o)
	f := open(t, client(t, base, "operator"), FeedQuery{})
	mu.Lock()
	now = epoch.Add(2 * time.Hour)
	mu.Unlock()
	_, err := f.Next(t.Context())
	wantError(t, err, vaultmesh.Denied, "does not hold any more")
}

// broken is a log that cannot be read.
type broken struct{ worldEvidence }

func (broken) Receipt(context.Context, vaultmesh.LogIndex) ([]byte, error) {
	return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "receipt", "/secret", "bad checksum")
}

func TestFeedOfABrokenLog(t *testing.T) {
	w := newWorld(t)
	o := options(t, w)
	o.Evidence = broken{worldEvidence{w}}
	_, base := serve(t, o)
	f := open(t, client(t, base, "operator"), FeedQuery{Since: index(0)})
	_, err := f.Next(t.Context())
	wantError(t, err, vaultmesh.Unavailable, "the node's log")
	if strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestFeedsAreBoundedAndSameOrigin(t *testing.T) {
	w := newWorld(t)
	o := options(t, w)
	o.Limits.Feeds = 1
	o.Origins = []string{"console.example"}
	s, base := serve(t, o)
	c := client(t, base, "operator")
	dial := func(origin string) error {
		conn, resp, err := websocket.Dial(t.Context(), base+"/v1/feed", &websocket.DialOptions{HTTPClient: c.HTTP(), HTTPHeader: http.Header{"Origin": {origin}}})
		if err != nil {
			if resp != nil {
				err = fmt.Errorf("status %d", resp.StatusCode)
			}
			return err
		}
		return conn.Close(websocket.StatusNormalClosure, "")
	}
	if err := dial("https://evil.example"); err == nil || err.Error() != "status 403" {
		t.Error("a page of another origin:", err)
	}
	f := must(c.Feed(t.Context(), FeedQuery{}))(t)
	_, err := c.Feed(t.Context(), FeedQuery{})
	wantError(t, err, vaultmesh.Unavailable, "all 1 feed connections")
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	s.feeds.Wait() // until the server has seen it go
	if err := dial("https://console.example"); err != nil {
		t.Error("a page of the console:", err)
	}
}

// Many clients come, listen and go while everything changes; goleak sees that nothing stays.
func TestConcurrentFeeds(t *testing.T) {
	w := newWorld(t)
	o := options(t, w)
	s, base := serve(t, o)
	stop := make(chan struct{})
	var changes, clients sync.WaitGroup
	changes.Go(func() {
		for v := uint64(8); ; v++ {
			select {
			case <-stop:
				return
			default:
				w.touch("line-1-2", v)
				o.Feed.Twin("line-1-2")
				o.Feed.Halt()
				if v%64 == 0 {
					w.grow(t)
					o.Feed.Receipts()
				}
			}
		}
	})
	c := client(t, base, "operator")
	for n := range 8 {
		clients.Go(func() {
			f, err := c.Feed(t.Context(), FeedQuery{Since: index(0)})
			if err != nil {
				t.Error(err)
				return
			}
			var version uint64
			for receipts := 0; receipts < 20; {
				m, err := f.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if m.Type == FeedReceipt {
					receipts++
				}
				if m.Twin != nil {
					if m.Twin.Version < version {
						t.Errorf("version %d after %d", m.Twin.Version, version)
					}
					version = m.Twin.Version
				}
			}
			if n%2 == 0 {
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			} else if err := f.conn.CloseNow(); err != nil { // without a goodbye
				t.Error(err)
			}
		})
	}
	clients.Wait()
	close(stop)
	changes.Wait()
	s.feeds.Wait()
}

// A client may not talk, and a proof opens one feed only.
func TestFeedListensToNobody(t *testing.T) {
	w := newWorld(t)
	_, base := serve(t, options(t, w))
	header := http.Header{CapabilityHeader: {token(t, "operator")},
		ProofHeader: {proof(key("operator"), capability.Target{Domain: domain, Method: "GET", Path: "/v1/feed", Body: vaultmesh.Sum(nil)}, epoch)}}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	o := &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}, HTTPHeader: header}
	conn, _, err := websocket.Dial(t.Context(), base+"/v1/feed", o)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, _, err = conn.Read(t.Context())
	}
	if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Error(err)
	}
	if _, resp, err := websocket.Dial(t.Context(), base+"/v1/feed", o); err == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Error("the proof was used again:", err)
	}
}
