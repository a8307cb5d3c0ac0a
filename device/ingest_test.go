package device_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAcknowledgedOnlyAfterCommitAndInOrder(t *testing.T) {
	n := start(t, refusingTwins)
	release := n.journal.hold()
	w := dialWire(t, n.InsecureAddr(), "sub-8")
	commits := make(chan int, 1)
	go func() {
		w.next()
		commits <- n.journal.commits()
	}()
	// The refusal of the second message is decided at once, and yet comes after the first (MQTT-4.6.0-2).
	if _, err := w.Write(append(publishFrame("vm/sub-8/tel/bus-8", 1, payload(1)), publishFrame("vm/sub-8/tel/nobody", 2, payload(2))...)); err != nil {
		t.Fatal(err)
	}
	receive(t, "first check", n.twins.seen)
	receive(t, "second check", n.twins.seen)
	release(1)
	if got := receive(t, "PUBACK", commits); got != 1 {
		t.Errorf("%d commits when the first PUBACK came", got)
	}
	if typ, body := w.next(); typ != 0x40 || body[1] != 2 {
		t.Errorf("second acknowledgement: %x %x", typ, body)
	}
}

func TestBatchReceiptProvesEachMessage(t *testing.T) {
	n := start(t, nil)
	w := dialWire(t, n.InsecureAddr(), "sub-8")
	const messages = 100
	var all []byte
	for i := range messages {
		all = append(all, publishFrame("vm/sub-8/tel/bus-8", uint16(i+1), payload(i))...)
	}
	if _, err := w.Write(all); err != nil {
		t.Fatal(err)
	}
	for i := range messages {
		if typ, body := w.next(); typ != 0x40 || int(body[0])<<8|int(body[1]) != i+1 {
			t.Fatalf("PUBACK %d: %x %x", i+1, typ, body)
		}
	}
	proved := map[vaultmesh.Digest]bool{}
	for i, d := range n.log.all() {
		var body receipt.BatchBody
		if err := json.Unmarshal(d.Body, &body); err != nil {
			t.Fatal(err)
		}
		if d.Kind != receipt.TelemetryBatch || d.Subject != "telemetry/test" || d.Actor != "node:test" || body.First.After(body.Last) {
			t.Errorf("receipt %d: %+v", i, d)
		}
		raw := n.journal.get(device.LeavesKey(vaultmesh.LogIndex(i)))
		leaves := make([]vaultmesh.Digest, len(raw)/32)
		for k := range leaves {
			leaves[k] = vaultmesh.Digest(raw[32*k:])
			proved[leaves[k]] = true
		}
		root, err := receipt.BatchRoot(leaves)
		if err != nil || root != body.Root || body.Count != uint64(len(leaves)) {
			t.Errorf("receipt %d: root %s of %d, leaves give %s of %d", i, body.Root, body.Count, root, len(leaves))
		}
	}
	for i := range messages {
		if !proved[receipt.MessageLeaf("vm/sub-8/tel/bus-8", payload(i))] {
			t.Errorf("message %d is in no batch", i)
		}
	}
}

func TestOneConnectionPipelinesIntoOneCommit(t *testing.T) {
	n := start(t, nil)
	release := n.journal.hold()
	w := dialWire(t, n.InsecureAddr(), "sub-8")
	const messages = 200
	var all []byte
	for i := range messages {
		all = append(all, publishFrame("vm/sub-8/tel/bus-8", uint16(i+1), payload(i))...)
	}
	if _, err := w.Write(all); err != nil {
		t.Fatal(err)
	}
	for range messages {
		receive(t, "check", n.twins.seen)
	}
	release(1000)
	for range messages {
		w.next()
	}
	if got := n.journal.commits(); got > 6 {
		t.Errorf("%d commits for %d pipelined messages", got, messages)
	}
}

func TestDuplicateMergesOnce(t *testing.T) {
	n := start(t, nil)
	release := n.journal.hold()
	c := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	c.publishing("vm/sub-8/tel/bus-8", payload(1))
	receive(t, "submission", n.journal.sent)
	// The connection is lost with the commit pending; the device sends it again on the next one.
	c.TerminateConnectionForTest()
	receive(t, "end of the connection", c.gone)
	c2 := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	again := c2.publishing("vm/sub-8/tel/bus-8", payload(1))
	release(10)
	if r := receive(t, "PUBACK of the duplicate", again); r == nil || r.ReasonCode != 0 {
		t.Fatalf("PUBACK: %+v", r)
	}
	if r, err := c2.publish("vm/sub-8/tel/bus-8", payload(1)); err != nil || r.ReasonCode != 0 {
		t.Fatalf("PUBACK of the third: %+v %v", r, err)
	}
	if got := n.log.all(); len(got) != 1 {
		t.Errorf("%d receipts, want 1: a batch of duplicates writes none", len(got))
	}
	if s := n.Stats(); s.Accepted != 1 || s.Duplicates != 2 {
		t.Errorf("accepted %d, duplicates %d", s.Accepted, s.Duplicates)
	}
}

var refusals = []struct {
	name, topic, payload string
	code                 byte
	cause                string
}{
	{"not JSON", "vm/sub-8/tel/bus-8", `hello`, 0x99, "payload"},
	{"no time", "vm/sub-8/tel/bus-8", `{"telemetry":{"voltage":1}}`, 0x99, "payload"},
	{"no value", "vm/sub-8/tel/bus-8", `{"t":"2026-01-02T03:04:05Z"}`, 0x99, "payload"},
	{"unknown field", "vm/sub-8/tel/bus-8", `{"t":"2026-01-02T03:04:05Z","telemetry":{"voltage":1},"x":1}`, 0x99, "payload"},
	{"foreign device", "vm/sub-9/tel/bus-9", `{"t":"2026-01-02T03:04:05Z","telemetry":{"voltage":1}}`, 0x87, "not_authorized"},
	{"no such topic", "vm/sub-8/status", `x`, 0x90, "topic"},
	{"prefix of the device", "vm/sub-80/tel/x", `x`, 0x87, "not_authorized"},
	{"outside", "telemetry", `x`, 0x87, "not_authorized"},
	{"command to itself", "vm/sub-8/cmd/bus-8", `x`, 0x90, "topic"},
	{"model", "vm/sub-8/tel/bus-8", `{"t":"2026-01-02T03:04:05Z","telemetry":{"refuse":1}}`, 0x99, "payload"},
	{"unknown twin", "vm/sub-8/tel/nobody", `{"t":"2026-01-02T03:04:05Z","telemetry":{"voltage":1}}`, 0x90, "unknown"},
	{"not the twin's device", "vm/sub-8/tel/theirs", `{"t":"2026-01-02T03:04:05Z","telemetry":{"voltage":1}}`, 0x87, "not_authorized"},
	{"gone at the merge", "vm/sub-8/tel/late", `{"t":"2026-01-02T03:04:05Z","telemetry":{"voltage":1}}`, 0x90, "unknown"},
}

func refusingTwins(_ *device.Options, n *node) {
	n.twins.check = func(m *twin.Message) error {
		switch {
		case m.Telemetry["refuse"] != nil:
			return vaultmesh.Errorf(vaultmesh.Invalid, "twin.check", string(m.Twin), "no telemetry %q", "refuse")
		case m.Twin == "nobody":
			return vaultmesh.Errorf(vaultmesh.NotFound, "twin.check", string(m.Twin), "no such twin")
		case m.Twin == "theirs":
			return vaultmesh.Errorf(vaultmesh.Denied, "twin.check", string(m.Twin), "another device speaks for it")
		}
		return nil
	}
	n.twins.merge = func(m *twin.Message) error {
		if m.Twin == "late" {
			return vaultmesh.Errorf(vaultmesh.NotFound, "twin.merge", string(m.Twin), "no such twin")
		}
		return nil
	}
}

func TestRefusalsMQTT5(t *testing.T) {
	n := start(t, refusingTwins)
	c := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	for _, tc := range refusals {
		before := n.Stats().Refused[tc.cause]
		r, _ := c.publish(tc.topic, []byte(tc.payload))
		if r == nil || r.ReasonCode != tc.code || r.Properties == nil || r.Properties.ReasonString == "" {
			t.Errorf("%s: %+v, want 0x%x and a reason", tc.name, r, tc.code)
			continue
		}
		if got := n.Stats().Refused[tc.cause]; got != before+1 {
			t.Errorf("%s: %s counted %d", tc.name, tc.cause, got-before)
		}
		if got := n.Refusals("sub-8")[0]; got.Topic != tc.topic || got.Code != tc.code || got.Reason != r.Properties.ReasonString {
			t.Errorf("%s: the operator reads %+v", tc.name, got)
		}
	}
	if r, err := c.publish("vm/sub-8/tel/bus-8", payload(1)); err != nil || r.ReasonCode != 0 {
		t.Errorf("a good message after the bad ones: %+v %v", r, err)
	}
	if len(n.log.all()) != 1 {
		t.Errorf("%d receipts", len(n.log.all()))
	}
	// Without a PUBACK there is the err topic.
	c.subscribe(t, "vm/sub-8/err")
	if _, err := c.Publish(context.Background(), &paho.Publish{Topic: "vm/sub-8/tel/bus-8", Payload: []byte("{")}); err != nil {
		t.Fatal(err)
	}
	if m := receive(t, "err message", c.got); m.Topic != "vm/sub-8/err" || !strings.Contains(string(m.Payload), `"code":153`) {
		t.Errorf("err message: %s %s", m.Topic, m.Payload)
	}
}

func TestRefusalsMQTT3(t *testing.T) {
	n := start(t, refusingTwins)
	c := dial3(t, n.InsecureAddr(), "sub-8", nil)
	got := make(chan mqtt3.Message, 100)
	if tok := c.Subscribe("vm/sub-8/err", 1, func(_ mqtt3.Client, m mqtt3.Message) { got <- m }); !tok.WaitTimeout(wait) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	for _, tc := range refusals {
		if tok := c.Publish(tc.topic, 1, false, tc.payload); !tok.WaitTimeout(wait) || tok.Error() != nil {
			t.Fatalf("%s: not acknowledged: %v", tc.name, tok.Error())
		}
		var e struct {
			Topic, Reason string
			Code          byte
		}
		if err := json.Unmarshal(receive(t, "err message", got).Payload(), &e); err != nil {
			t.Fatal(err)
		}
		if e.Topic != tc.topic || e.Code != tc.code || e.Reason == "" {
			t.Errorf("%s: %+v", tc.name, e)
		}
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	n := start(t, nil)
	c := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	for i := range 50 {
		_, _ = c.publish(fmt.Sprintf("vm/sub-8/%d", i), nil)
	}
	got := n.Refusals("sub-8")
	if len(got) != 32 || got[0].Topic != "vm/sub-8/49" || got[31].Topic != "vm/sub-8/18" {
		t.Errorf("%d refusals, newest %s, oldest %s", len(got), got[0].Topic, got[len(got)-1].Topic)
	}
	if p, ok := n.Presence("sub-8"); !ok || p.Refused != 50 || !p.Online {
		t.Errorf("presence %+v", p)
	}
}

func TestOverloadMQTT5(t *testing.T) {
	n := start(t, func(o *device.Options, _ *node) { o.MaxQueue = 4 })
	release := n.journal.hold()
	c := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	// At most four batches of at most four messages are at the journal, and four in the queue.
	acks := make([]<-chan *paho.PublishResponse, 64)
	for i := range acks {
		acks[i] = c.publishing("vm/sub-8/tel/bus-8", payload(i))
	}
	for range acks {
		receive(t, "check", n.twins.seen)
	}
	release(1000)
	quota := 0
	for _, ch := range acks {
		r := receive(t, "PUBACK", ch)
		if r != nil && r.ReasonCode == 0x97 {
			quota++
		} else if r == nil || r.ReasonCode != 0 {
			t.Errorf("PUBACK: %+v", r)
		}
	}
	if s := n.Stats(); quota == 0 || uint64(quota) != s.Refused["overload"] || int(s.Accepted) != len(acks)-quota {
		t.Errorf("%d of %d refused, counted %d, accepted %d", quota, len(acks), s.Refused["overload"], s.Accepted)
	}
}

func TestOverloadMQTT3(t *testing.T) {
	n := start(t, func(o *device.Options, _ *node) { o.MaxQueue, o.MaxStall = 1, 50e6 })
	release := n.journal.hold()
	w := dialWire(t, n.InsecureAddr(), "sub-8")
	receive(t, "online", n.states)
	for i := range 20 {
		if _, err := w.Write(publishFrame("vm/sub-8/tel/bus-8", uint16(i+1), payload(i))); err != nil {
			break
		}
	}
	// The reader waits for MaxStall, then gives the connection up without an acknowledgement.
	if s := receive(t, "offline", n.states); s.Online {
		t.Fatalf("state %+v", s)
	}
	if s := n.Stats(); s.Refused["stalled"] != 1 || s.Accepted != 0 {
		t.Errorf("stalled %d accepted %d", s.Refused["stalled"], s.Accepted)
	}
	release(1000)
}

func TestReceiveMaximumBlocksTheReader(t *testing.T) {
	n := start(t, func(o *device.Options, _ *node) { o.MaxOutstanding = 2 })
	release := n.journal.hold()
	w := dialWire(t, n.InsecureAddr(), "sub-8")
	for i := range 5 {
		if _, err := w.Write(publishFrame("vm/sub-8/tel/bus-8", uint16(i+1), payload(i))); err != nil {
			t.Fatal(err)
		}
	}
	release(5)
	for i := range 5 {
		if typ, body := w.next(); typ != 0x40 || body[1] != byte(i+1) {
			t.Fatalf("PUBACK %d: %x %x", i+1, typ, body)
		}
	}
	if n.twins.len() != 5 {
		t.Errorf("%d merged", n.twins.len())
	}
}

func TestFailedCommitIsNotAcknowledged(t *testing.T) {
	n := start(t, nil)
	n.journal.fail = vaultmesh.Errorf(vaultmesh.Unavailable, "journal", "", "the disk is full")
	c := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	ack := c.publishing("vm/sub-8/tel/bus-8", payload(1))
	if d := receive(t, "DISCONNECT", c.gone); d == nil || d.ReasonCode != 0x89 {
		t.Errorf("DISCONNECT: %+v", d)
	}
	select {
	case r := <-ack:
		t.Errorf("acknowledged: %+v", r)
	default:
	}
	if len(n.log.all()) != 0 {
		t.Error("a receipt was kept")
	}
}

func TestQoS0IsCommitted(t *testing.T) {
	n := start(t, nil)
	c := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	if _, err := c.Publish(context.Background(), &paho.Publish{Topic: "vm/sub-8/tel/bus-8", Payload: payload(1)}); err != nil {
		t.Fatal(err)
	}
	if r, err := c.publish("vm/sub-8/tel/bus-8", payload(2)); err != nil || r.ReasonCode != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	if n.twins.len() != 2 {
		t.Errorf("%d merged", n.twins.len())
	}
}
