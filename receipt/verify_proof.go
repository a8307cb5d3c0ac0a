package receipt

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
)

// telemetry checks every message proof against the batch receipt that it names.
func (j *judge) telemetry() {
	j.messages = map[string]MessageProof{}
	for _, p := range j.byType[PartMessage] {
		m, err := OpenMessageProof(p.Data)
		if err == nil && messageName(m.Batch, m.Index) != p.Name {
			err = vaultmesh.Errorf(vaultmesh.Corrupt, "telemetry.proof", "", "the proof is of message %d of the batch at %d", m.Index, m.Batch)
		}
		if err != nil {
			j.fail("telemetry.proof["+p.Name+"]", "%v", err)
			continue
		}
		name := fmt.Sprintf("telemetry.proof[%d-%d]", m.Batch, m.Index)
		batch, ok := j.entries[m.Batch]
		if !ok || batch.Kind != TelemetryBatch {
			j.fail(name, "the bundle has no telemetry.batch receipt at index %d", m.Batch)
			continue
		}
		body, err := ReadBody[BatchBody](&batch.Receipt)
		if err == nil {
			err = m.Verify(body)
		}
		if j.settle(name, err, "the message on %s is number %d of %d under root %s", m.Topic, m.Index, body.Count, body.Root) {
			j.messages[p.Name] = m
		}
	}
	if len(j.byType[PartMessage]) == 0 && !slices.ContainsFunc(j.order, func(e *entry) bool { return e.Kind == CommandAligned }) {
		j.empty("telemetry.proof", "the bundle holds no telemetry and no command that claims to be aligned")
	}
}

// observation checks that what made a command aligned was reported: by the device it was sent to, about its twin, in a
// message that is proved and that the log holds after the dispatch.
func (j *judge) observation(l *life) {
	if l.observed == nil || l.last() != "aligned" {
		return
	}
	name := l.name("telemetry.proof")
	for _, property := range slices.Sorted(maps.Keys(l.assessed.Expect)) {
		want := l.assessed.Expect[property]
		if o, ok := l.observed.Observed[property]; !ok || o.Expected == nil || *o.Expected != want {
			j.fail(name, "the assessment expects %s = %v, the aligned receipt does not say what became of it", property, want)
			return
		}
	}
	if len(l.observed.Observed) == 0 {
		if l.at["acknowledged"] == nil {
			j.fail(name, "nothing was observed, and the device did not acknowledge")
			return
		}
		j.pass(name, "the assessment expects no value: aligned by the acknowledgement of %s alone", l.dispatched.Device)
		return
	}
	for _, property := range slices.Sorted(maps.Keys(l.observed.Observed)) {
		o := l.observed.Observed[property]
		err := j.observed(l, property, o)
		if err == nil {
			err = l.within(property, o)
		}
		if err != nil {
			j.fail(name, "%s: %v", property, err)
			return
		}
	}
	j.pass(name, "%s, each as the assessment expects it, in proved messages of %s about %s that were logged after the dispatch", counted(len(l.observed.Observed), "observed value"), l.dispatched.Device, l.proposed.Twin)
}

// unstatedTolerance is how far a value may be from the expected one, of that, where the assessment does not state it, as those
// of earlier development versions do not: the rounding of a device's own representation.
const unstatedTolerance = 1e-4

// within checks that a reported value is what the assessment expects, to within what it allowed before the asset answered.
func (l *life) within(property string, o Observation) error {
	const op = "telemetry.proof"
	want, ok := l.assessed.Expect[property]
	if !ok {
		return nil // reported beside what was expected
	}
	allowed, stated := l.assessed.Tolerance[property]
	if stated != (o.Tolerance != nil) || stated && *o.Tolerance != allowed {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the aligned receipt judges it by another tolerance than the assessment states")
	}
	if !stated {
		allowed = unstatedTolerance * math.Abs(want)
	}
	got, ok := ReportedNumber(o.Value)
	if !ok {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "%.64s is no number, the assessment expects %v", o.Value, want)
	}
	if !(allowed >= 0 && math.Abs(got-want) <= allowed) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the assessment expects %v, give or take %v, and the asset reports %.64s: that is not aligned", want, allowed, o.Value)
	}
	return nil
}

// ReportedNumber reads a reported value as a number; true is 1 and false is 0.
func ReportedNumber(raw json.RawMessage) (float64, bool) {
	switch string(raw) {
	case "true":
		return 1, true
	case "false":
		return 0, true
	}
	var f *float64
	if err := json.Unmarshal(raw, &f); err != nil || f == nil {
		return 0, false
	}
	return *f, true
}

// named reports whether the observation says which message proves it.
func (o Observation) named() bool { return o.Batch != nil && o.Position >= 0 }

// message returns the proved message that an observation names.
func (j *judge) message(o Observation) (MessageProof, bool) {
	if !o.named() {
		return MessageProof{}, false
	}
	m, ok := j.messages[messageName(*o.Batch, uint64(o.Position))]
	return m, ok
}

// messageTime is a message's own time: its member "t".
func messageTime(payload members) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, payload.text("t"))
	return utc(t), err == nil
}

func (j *judge) observed(l *life, property string, o Observation) error {
	const op = "telemetry.proof"
	if !o.named() {
		return vaultmesh.Errorf(vaultmesh.NotFound, op, "", "the receipt does not name the message that reported it")
	}
	m, ok := j.message(o)
	if !ok {
		return vaultmesh.Errorf(vaultmesh.NotFound, op, "", "the bundle does not prove message %d of the batch at %d", o.Position, *o.Batch)
	}
	if *o.Batch <= l.at["dispatched"].index {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the batch at %d was logged before the dispatch at %d", *o.Batch, l.at["dispatched"].index)
	}
	if want := "vm/" + string(l.dispatched.Device) + "/tel/" + string(l.proposed.Twin); m.Topic != want {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the message came on %s, not on %s", m.Topic, want)
	}
	canonical, err := Canonical(m.Payload, Limits{Bytes: 64 << 10, Depth: 16})
	if err != nil {
		return vaultmesh.Wrap(err, op, "payload")
	}
	var payload members // names are matched exactly, which decoding into a struct would not do
	if err := json.Unmarshal(canonical, &payload); err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "payload", "not a device message").Because(err)
	}
	if t, ok := messageTime(payload); !ok || !t.Truncate(time.Microsecond).Equal(o.Time) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the receipt says that it was observed at %s, the message has the time %s", o.Time.Format(TimeFormat), cmp.Or(clipped(string(payload["t"])), "of none"))
	}
	for _, group := range []string{"telemetry", "properties"} {
		var values map[string]json.RawMessage
		if json.Unmarshal(payload[group], &values) == nil && len(o.Value) > 0 && bytes.Equal(values[property], o.Value) {
			return nil
		}
	}
	return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the message does not report %s = %.64s", property, o.Value)
}
