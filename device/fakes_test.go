package device_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"sort"
	"sync"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device"
	"vaultmesh.org/vaultmesh/device/pki"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
)

// wait bounds how long a test waits for something that must happen.
const wait = 20 * time.Second

// fakeJournal runs Ops on a map in order, in a goroutine of its own like the real one. While held, done is withheld.
type fakeJournal struct {
	mu    sync.Mutex
	kv    map[string][]byte
	reqs  chan func()
	gate  chan struct{} // a commit takes one token; nil: none needed
	sent  chan struct{} // one token for each submission
	full  bool
	fail  error
	wg    sync.WaitGroup
	count int // operations that took effect
}

func newFakeJournal(t testing.TB) *fakeJournal {
	j := &fakeJournal{kv: map[string][]byte{}, reqs: make(chan func(), 1024), sent: make(chan struct{}, 1<<16)}
	j.wg.Go(func() {
		for f := range j.reqs {
			f()
		}
	})
	t.Cleanup(func() { close(j.reqs); j.wg.Wait() })
	return j
}

// open ends what hold began.
func (j *fakeJournal) open() {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.gate)
}

// hold withholds commits until release is called with their number.
func (j *fakeJournal) hold() (release func(n int)) {
	gate := make(chan struct{}, 1<<17)
	j.mu.Lock()
	j.gate = gate
	j.mu.Unlock()
	return func(n int) {
		for range n {
			gate <- struct{}{}
		}
	}
}

func (j *fakeJournal) SubmitAsync(_ journal.Lane, op journal.Op, done func(error)) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.full {
		return vaultmesh.Errorf(vaultmesh.RateLimited, "journal.submit", "", "full")
	}
	gate, fail := j.gate, j.fail
	select {
	case j.sent <- struct{}{}:
	default:
	}
	j.reqs <- func() {
		if gate != nil {
			<-gate
		}
		if fail != nil {
			done(fail)
			return
		}
		j.mu.Lock()
		tx := &fakeTx{j: j, writes: map[string][]byte{}}
		err := op(tx)
		if err == nil {
			for k, v := range tx.writes {
				j.kv[k] = v
			}
			j.count++
		} else {
			for i := len(tx.rollback) - 1; i >= 0; i-- {
				tx.rollback[i]()
			}
		}
		j.mu.Unlock()
		done(err)
	}
	return nil
}

// get reads a committed key.
func (j *fakeJournal) get(key []byte) []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.kv[string(key)]
}

func (j *fakeJournal) commits() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.count
}

type fakeTx struct {
	j        *fakeJournal
	writes   map[string][]byte
	rollback []func()
}

func (tx *fakeTx) Get(key []byte) ([]byte, bool, error) {
	if v, ok := tx.writes[string(key)]; ok {
		return v, true, nil
	}
	v, ok := tx.j.kv[string(key)]
	return v, ok, nil
}
func (tx *fakeTx) Scan(lo, hi []byte, fn func(k, v []byte) (bool, error)) error { return nil }
func (tx *fakeTx) Put(k, v []byte)                                              { tx.writes[string(k)] = v }
func (tx *fakeTx) Delete(k []byte)                                              { delete(tx.writes, string(k)) }
func (tx *fakeTx) OnRollback(f func())                                          { tx.rollback = append(tx.rollback, f) }
func (tx *fakeTx) OnApplied(f func())                                           { f() }

// fakeLog numbers the receipts.
type fakeLog struct {
	mu     sync.Mutex
	drafts []receipt.Draft
}

func (l *fakeLog) Append(tx journal.Tx, d receipt.Draft) (vaultmesh.LogIndex, vaultmesh.Digest, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drafts = append(l.drafts, d)
	n := len(l.drafts)
	tx.OnRollback(func() {
		l.mu.Lock()
		l.drafts = l.drafts[:n-1]
		l.mu.Unlock()
	})
	return vaultmesh.LogIndex(n - 1), vaultmesh.Sum(d.Body), nil
}

func (l *fakeLog) all() []receipt.Draft {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]receipt.Draft(nil), l.drafts...)
}

// fakeTwins accepts what its functions do not refuse, and knows duplicates by their bytes.
type fakeTwins struct {
	check  func(*twin.Message) error
	seen   chan struct{} // one token for each Check
	merge  func(*twin.Message) error
	mu     sync.Mutex
	merged map[string]int // by twin and raw bytes
}

func newFakeTwins() *fakeTwins {
	return &fakeTwins{merged: map[string]int{}, seen: make(chan struct{}, 1<<16)}
}

func (f *fakeTwins) Check(m *twin.Message) error {
	select {
	case f.seen <- struct{}{}:
	default:
	}
	if f.check != nil {
		return f.check(m)
	}
	return nil
}

func (f *fakeTwins) Merge(tx journal.Tx, m *twin.Message, batch vaultmesh.LogIndex, pos int) (twin.Result, error) {
	if f.merge != nil {
		if err := f.merge(m); err != nil {
			return twin.Result{}, err
		}
	}
	key := string(m.Twin) + "\x00" + string(m.Raw)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.merged[key] > 0 {
		return twin.Result{Duplicate: true}, nil
	}
	f.merged[key]++
	tx.OnRollback(func() {
		f.mu.Lock()
		delete(f.merged, key)
		f.mu.Unlock()
	})
	return twin.Result{Changed: true}, nil
}

func (f *fakeTwins) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.merged)
}

// fakeSource keeps commands like package control does: pending until delivered.
type fakeSource struct {
	mu        sync.Mutex
	pending   map[vaultmesh.CommandID]device.Outbound
	delivered chan vaultmesh.CommandID
	answered  chan device.Response
	respond   func(device.Response) error
	deliver   func(vaultmesh.CommandID) error
}

func newFakeSource() *fakeSource {
	return &fakeSource{pending: map[vaultmesh.CommandID]device.Outbound{}, delivered: make(chan vaultmesh.CommandID, 4096), answered: make(chan device.Response, 4096)}
}

func (s *fakeSource) add(o device.Outbound) device.Outbound {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending[o.Command] = o
	return o
}

func (s *fakeSource) Pending(d vaultmesh.DeviceID) ([]device.Outbound, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []device.Outbound
	for _, o := range s.pending {
		if o.Device == d {
			out = append(out, o)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Seq < out[j].Seq })
	return out, nil
}

func (s *fakeSource) Delivered(_ context.Context, id vaultmesh.CommandID, _ time.Time) error {
	if s.deliver != nil {
		if err := s.deliver(id); err != nil {
			return err
		}
	}
	s.mu.Lock()
	delete(s.pending, id)
	s.mu.Unlock()
	s.delivered <- id
	return nil
}

func (s *fakeSource) Respond(_ context.Context, r device.Response) error {
	if s.respond != nil {
		if err := s.respond(r); err != nil {
			return err
		}
	}
	s.answered <- r
	return nil
}

// fakeDevices knows every device but those revoked; the token of a device is "token-" and its id.
type fakeDevices struct {
	mu      sync.Mutex
	revoked map[vaultmesh.DeviceID]bool
}

func (d *fakeDevices) Admit(id vaultmesh.DeviceID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.revoked[id] {
		return vaultmesh.Errorf(vaultmesh.Denied, "device.admit", string(id), "the device was revoked")
	}
	return nil
}

func (d *fakeDevices) TokenDigest(id vaultmesh.DeviceID) (vaultmesh.Digest, bool) {
	return vaultmesh.Sum([]byte("token-" + string(id))), id != "stranger"
}

func (d *fakeDevices) revoke(id vaultmesh.DeviceID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.revoked[id] = true
}

// node is a broker with fakes around it.
type node struct {
	*device.Broker
	journal *fakeJournal
	log     *fakeLog
	twins   *fakeTwins
	source  *fakeSource
	devices *fakeDevices
	pki     *pki.Store
	states  chan device.State
}

// start runs a broker over plain TCP and TLS; change may alter its options.
func start(t testing.TB, change func(*device.Options, *node)) *node {
	t.Helper()
	store, err := pki.Open(t.TempDir(), pki.Options{Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{journal: newFakeJournal(t), log: &fakeLog{}, twins: newFakeTwins(), source: newFakeSource(), devices: &fakeDevices{revoked: map[vaultmesh.DeviceID]bool{}}, pki: store, states: make(chan device.State, 1024)}
	o := device.Options{
		TLSAddr: "127.0.0.1:0", TLS: store.ServerTLS(), InsecureAddr: "127.0.0.1:0", Insecure: true,
		Journal: n.journal, Log: n.log, Twins: n.twins, Source: n.source, Devices: n.devices,
		Domain: "test", Actor: "node:test", OnState: func(s device.State) { n.states <- s },
	}
	if change != nil {
		change(&o, n)
	}
	if n.Broker, err = device.New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// payload is a telemetry message that differs by i.
func payload(i int) []byte {
	return fmt.Appendf(nil, `{"t":"2026-01-02T03:04:05.%06dZ","seq":%d,"telemetry":{"voltage":1.01,"angle":-3.5},"properties":{"closed":true}}`, i%1000000, i%65536)
}

func receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(wait):
		t.Fatalf("no %s within %s", what, wait)
		panic("unreachable")
	}
}

// rawDial opens a plain TCP connection for packets that no client library sends.
func rawDial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(wait))
	return c
}
