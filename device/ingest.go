package device

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
)

// Bounds of one batch, and of the batches at the journal: the next one is built while the previous ones sync.
const (
	batchMessages = 512
	batchBytes    = 1 << 20
	batchesAhead  = 4
	// batchEnough messages do not wait for more: from here on a larger batch saves little.
	batchEnough = 64
)

// submitRetry is the pause before a batch is offered again to a lane that was full.
const submitRetry = 2 * time.Millisecond

var (
	errAllDuplicates = errors.New("device: all messages of the batch were merged before")
	errSomeRefused   = errors.New("device: the twin store refused messages of the batch")
	errStopped       = errors.New("device: the committer is stopped")
)

// item is one message on its way to the journal.
type item struct {
	msg     twin.Message
	topic   string
	leaf    vaultmesh.Digest
	size    int
	at      time.Time
	conn    *conn
	slot    uint64
	acked   bool  // QoS 1: conn has a slot for it
	refused error // set by the Op, read after done
	dup     bool  // set by the Op, read after done
}

// batch is what one Op commits.
type batch struct {
	items  []*item
	leaves []vaultmesh.Digest
	body   json.RawMessage // of the receipt: a receipt.BatchBody
	err    error           // of the commit
	done   bool            // the journal has answered
}

// ingest owns the queue of messages and the committer, the one goroutine that makes batches of them.
type ingest struct {
	o       *Options
	count   *counters
	wake    chan struct{} // capacity 1
	stop    chan struct{}
	stopped chan struct{}
	results chan *batch // capacity batchesAhead, so that the journal never waits

	mu    sync.Mutex
	queue []*item
	bytes int
	room  chan struct{} // closed and cleared when the queue shrinks; nil while nobody waits
	state bool          // a message in the queue reports properties: the batch does not wait

	ahead []*batch // at the journal, in the order of submission; owned by the committer
}

func newIngest(o *Options, count *counters) *ingest {
	return &ingest{o: o, count: count, wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}), results: make(chan *batch, batchesAhead)}
}

// put queues it; false means that the queue is full.
func (g *ingest) put(it *item) bool {
	g.mu.Lock()
	if len(g.queue) >= g.o.MaxQueue || g.bytes+it.size > g.o.MaxQueueBytes && len(g.queue) > 0 {
		g.mu.Unlock()
		return false
	}
	g.queue = append(g.queue, it)
	g.bytes += it.size
	g.state = g.state || len(it.msg.Properties) > 0
	wake := len(g.queue) == 1 || len(it.msg.Properties) > 0 || len(g.queue) == batchEnough
	g.mu.Unlock()
	if wake {
		select {
		case g.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// hasRoom returns a channel that is closed when the queue has become shorter.
func (g *ingest) hasRoom() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.room == nil {
		g.room = make(chan struct{})
	}
	return g.room
}

func (g *ingest) load() (messages, bytes int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.queue), g.bytes
}

// due reports whether the next batch goes now, or else how long its oldest message may still wait for company; 0 means
// that the queue is empty. Every batch is a receipt in the log, so at low rates a short wait keeps the log small; what
// tells that the world changed (properties) is never held back.
func (g *ingest) due() (now bool, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case len(g.queue) == 0:
		return false, 0
	case g.state || len(g.queue) >= batchEnough:
		return true, 0
	}
	wait = g.o.BatchWithin - g.o.Now().Sub(g.queue[0].at)
	return wait <= 0, wait
}

// take removes the messages of the next batch from the queue; nil if there are none.
func (g *ingest) take() []*item {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, size := 0, 0
	for n < len(g.queue) && n < batchMessages && (n == 0 || size+g.queue[n].size <= batchBytes) {
		size += g.queue[n].size
		n++
	}
	if n == 0 {
		return nil
	}
	items := make([]*item, n)
	copy(items, g.queue)
	rest := copy(g.queue, g.queue[n:])
	clear(g.queue[rest:])
	g.queue = g.queue[:rest]
	g.bytes -= size
	g.state = len(g.queue) < batchEnough && slices.ContainsFunc(g.queue, func(it *item) bool { return len(it.msg.Properties) > 0 })
	if g.room != nil {
		close(g.room)
		g.room = nil
	}
	return items
}

// run is the committer. After stop it waits for the batches at the journal and leaves the queue, which nobody
// acknowledged, alone.
func (g *ingest) run() {
	defer close(g.stopped)
	patience := time.NewTimer(time.Hour) // until the oldest message of the queue has waited long enough
	defer patience.Stop()
	for {
		select {
		case <-g.wake:
		case <-patience.C:
		case b := <-g.results:
			g.settle(b)
		case <-g.stop:
			for len(g.ahead) > 0 {
				g.settle(<-g.results)
			}
			return
		}
		for len(g.ahead) < batchesAhead {
			now, wait := g.due()
			if !now {
				if wait > 0 {
					patience.Reset(wait)
				}
				break
			}
			items := g.take()
			b := &batch{items: items}
			g.ahead = append(g.ahead, b)
			g.submit(b)
		}
	}
}

// submit hands b to the journal.
func (g *ingest) submit(b *batch) {
	g.count.inFlight.Store(int64(len(g.ahead)))
	if b.err = b.seal(); b.err != nil {
		b.done = true
		g.advance()
		return
	}
	for {
		err := g.o.Journal.SubmitAsync(journal.Telemetry, func(tx journal.Tx) error { return g.apply(tx, b) }, func(err error) {
			b.err = err
			g.results <- b
		})
		if err == nil {
			return
		}
		if vaultmesh.KindOf(err) != vaultmesh.RateLimited {
			b.err, b.done = err, true
			g.advance()
			return
		}
		t := time.NewTimer(submitRetry)
		select {
		case <-t.C:
		case r := <-g.results:
			g.settle(r)
		case <-g.stop:
			b.err, b.done = errStopped, true
		}
		t.Stop()
		if b.done {
			g.advance()
			return
		}
	}
}

// seal computes what the batch's receipt says.
func (b *batch) seal() error {
	b.leaves = make([]vaultmesh.Digest, len(b.items))
	body := receipt.BatchBody{Count: uint64(len(b.items)), First: b.items[0].msg.Time, Last: b.items[0].msg.Time}
	for i, it := range b.items {
		b.leaves[i] = it.leaf
		if it.msg.Time.Before(body.First) {
			body.First = it.msg.Time
		}
		if it.msg.Time.After(body.Last) {
			body.Last = it.msg.Time
		}
	}
	var err error
	if body.Root, err = receipt.BatchRoot(b.leaves); err != nil {
		return err
	}
	b.body, err = receipt.Body(body)
	return err
}

// apply is the Op of one batch: the receipt, the merges, the leaves. It keeps nothing where no message is new, and
// where the store refuses one, since the root would then prove a message that is not in the state.
func (g *ingest) apply(tx journal.Tx, b *batch) error {
	index, _, err := g.o.Log.Append(tx, receipt.Draft{
		Kind: receipt.TelemetryBatch, Subject: receipt.TelemetrySubject(g.o.Domain), Actor: g.o.Actor, Time: g.o.Now(), Body: b.body,
	})
	if err != nil {
		return err
	}
	fresh, refused := 0, 0
	for i, it := range b.items {
		r, err := g.o.Twins.Merge(tx, &it.msg, index, i)
		switch {
		case err == nil && r.Duplicate:
			it.dup = true
		case err == nil:
			fresh++
		case judge(err).final():
			it.refused = err
			refused++
		default:
			return err
		}
	}
	if refused > 0 {
		return errSomeRefused
	}
	if fresh == 0 {
		return errAllDuplicates
	}
	leaves := make([]byte, 0, len(b.leaves)*len(vaultmesh.Digest{}))
	for i := range b.leaves {
		leaves = append(leaves, b.leaves[i][:]...)
	}
	tx.Put(LeavesKey(index), leaves)
	return nil
}

// LeavesKey is the journal key of the leaf hashes of the batch whose receipt is at index: "b/" and the index, eight
// bytes big-endian. The value is the leaves, 32 bytes each, in the order of the batch.
func LeavesKey(index vaultmesh.LogIndex) []byte {
	return binary.BigEndian.AppendUint64([]byte("b/"), uint64(index))
}

// settle takes the journal's answer for b.
func (g *ingest) settle(b *batch) {
	if errors.Is(b.err, errSomeRefused) {
		kept := b.items[:0:0]
		for _, it := range b.items {
			if it.refused != nil {
				it.conn.refuse(it.topic, it.slot, it.acked, judge(it.refused))
			} else {
				it.dup = false // the writes were dropped, the next attempt judges anew
				kept = append(kept, it)
			}
		}
		if b.items, b.err = kept, nil; len(kept) > 0 {
			g.submit(b)
			return
		}
	}
	b.done = true
	g.advance()
}

// advance acknowledges the finished batches in the order of their submission. A batch of duplicates proves nothing by
// itself: if an earlier batch failed, the originals may be lost with it, so it fails too.
func (g *ingest) advance() {
	for len(g.ahead) > 0 && g.ahead[0].done {
		b := g.ahead[0]
		g.ahead = append(g.ahead[:0], g.ahead[1:]...)
		if errors.Is(b.err, errAllDuplicates) {
			b.err = nil
		}
		if b.err != nil {
			g.fail(b)
			for _, later := range g.ahead {
				if errors.Is(later.err, errAllDuplicates) {
					later.err = b.err
				}
			}
			continue
		}
		g.acknowledge(b)
	}
	g.count.inFlight.Store(int64(len(g.ahead)))
}

func (g *ingest) acknowledge(b *batch) {
	now := g.o.Now()
	duplicates := 0
	g.count.mu.Lock()
	if len(b.items) > 0 {
		g.count.batch.observe(float64(len(b.items)))
	}
	for _, it := range b.items {
		g.count.latency.observe(now.Sub(it.at).Seconds())
		if it.dup {
			duplicates++
		}
	}
	g.count.mu.Unlock()
	g.count.duplicates.Add(uint64(duplicates))
	g.count.accepted.Add(uint64(len(b.items) - duplicates))
	for _, it := range b.items {
		if it.acked {
			it.conn.complete(it.slot, 0, "")
		}
	}
}

// fail ends the connections that wait for b: what was not acknowledged is sent again when the node can take it.
func (g *ingest) fail(b *batch) {
	g.o.Logger.Error("telemetry could not be committed", "messages", len(b.items), "error", b.err)
	g.count.refused[causeUnavailable].Add(uint64(len(b.items)))
	for _, it := range b.items {
		it.conn.kick(disconnectBusy)
	}
}
