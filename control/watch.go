package control

import (
	"context"
	"math"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
)

// note keeps the working copy of a command that has not ended.
func (s *Service) note(c *record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.open[c.ID]; ok && old.Last.Index > c.Last.Index {
		return // a later step was noted first
	}
	if Ended(c.State) {
		s.drop(c.ID, c.Twin)
	} else {
		s.open[c.ID] = c
		if c.State == Dispatched || c.State == Acknowledged || c.State == TimedOut {
			if s.byTwin[c.Twin] == nil {
				s.byTwin[c.Twin] = map[vaultmesh.CommandID]struct{}{}
			}
			s.byTwin[c.Twin][c.ID] = struct{}{}
		}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// drop forgets a command; mu is held.
func (s *Service) drop(id vaultmesh.CommandID, t vaultmesh.TwinID) {
	delete(s.open, id)
	delete(s.byTwin[t], id)
	if len(s.byTwin[t]) == 0 {
		delete(s.byTwin, t)
	}
}

func (s *Service) forget(id vaultmesh.CommandID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.open[id]; ok {
		s.drop(id, c.Twin)
	}
}

func (s *Service) opened() []*record {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*record, 0, len(s.open))
	for _, c := range s.open {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *record) int { return int(a.Last.Index) - int(b.Last.Index) })
	return out
}

// watchTwins compares what twins report with what commands expect.
func (s *Service) watchTwins(ctx context.Context, w *twin.Watcher) {
	for _, c := range s.opened() {
		s.look(ctx, c.Twin)
	}
	for {
		ch, err := w.Next(ctx)
		if err != nil {
			return
		}
		if ch.Lost > 0 {
			for _, c := range s.opened() {
				s.look(ctx, c.Twin)
			}
		}
		s.look(ctx, ch.Twin.ID)
	}
}

// look ends every command on the twin whose asset now reports what was commanded.
func (s *Service) look(ctx context.Context, id vaultmesh.TwinID) {
	s.mu.Lock()
	var waiting []*record
	for cid := range s.byTwin[id] {
		if c := s.open[cid]; c.State == Acknowledged || c.State == TimedOut {
			waiting = append(waiting, c)
		}
	}
	s.mu.Unlock()
	if len(waiting) == 0 {
		return
	}
	t, ok := s.o.Twins.Get(id)
	if !ok {
		return
	}
	for _, c := range waiting {
		if observed, ok := s.aligned(c, t); ok {
			s.conclude(ctx, c, Aligned, observed, "")
		}
	}
}

// aligned reports whether every expected value is reported, by a message that was proved after the dispatch: what the
// asset said before cannot be its answer. A command that states no expectation is aligned by the device's
// acknowledgement alone.
func (s *Service) aligned(c *record, t twin.Twin) (map[string]receipt.Observation, bool) {
	observed := map[string]receipt.Observation{}
	if len(c.Expect) == 0 {
		return observed, c.State == Acknowledged
	}
	for name, want := range c.Expect {
		v, ok := t.Reported[name]
		if !ok {
			v, ok = t.Telemetry[name]
		}
		if !ok || v.Q != twin.Good {
			return nil, false
		}
		o := s.observation(c, name, v)
		allowed := s.tolerance(t.Model, name, want) // of a command that was assessed before tolerances were recorded
		if o.Tolerance != nil {
			allowed = *o.Tolerance
		}
		if got, ok := receipt.ReportedNumber(v.V); !ok || math.Abs(got-want) > allowed {
			return nil, false
		}
		if o.Batch == nil || uint64(*o.Batch) <= c.Outbox {
			return nil, false
		}
		observed[name] = o
	}
	return observed, true
}

func (s *Service) tolerance(model, name string, want float64) float64 {
	if s.o.Tolerance == nil {
		return 0
	}
	return s.o.Tolerance(model, name, want)
}

// observation names the message that proves a value, where the hot history still holds it.
func (s *Service) observation(c *record, name string, v twin.Value) receipt.Observation {
	want := c.Expect[name]
	o := receipt.Observation{Value: v.V, Expected: &want, Time: v.T.UTC().Truncate(time.Microsecond)}
	if allowed, ok := c.Tolerance[name]; ok {
		o.Tolerance = &allowed
	}
	if m, ok := s.reported(c.Twin, name, o.Time); ok {
		o.Batch, o.Position = &m.Batch, m.Position
	}
	return o
}

// reported finds the message of that time which reports the name in the hot history: of several the last, which is the
// one that the twin's value is from.
func (s *Service) reported(id vaultmesh.TwinID, name string, at time.Time) (Message, bool) {
	points, err := s.o.Twins.Recent(s.o.Journal, id, name, at, at.Add(time.Microsecond), 1)
	if err != nil || len(points) == 0 {
		return Message{}, false
	}
	raw, batch, pos, err := s.o.Twins.Record(s.o.Journal, id, points[0].Key)
	return Message{Batch: batch, Position: pos, Raw: raw}, err == nil
}

// messages returns what the observations rest on, so that it outlives the hot history.
func (s *Service) messages(id vaultmesh.TwinID, observed map[string]receipt.Observation) []Message {
	var out []Message
	for name, o := range observed {
		m, ok := s.reported(id, name, o.Time)
		if ok && o.Batch != nil && m.Batch == *o.Batch && m.Position == o.Position {
			out = append(out, m)
		}
	}
	return out
}

// Message returns a telemetry message on which a command's observation rests; ok is false where none rests on it.
func (s *Service) Message(batch vaultmesh.LogIndex, position int) (raw []byte, ok bool, err error) {
	return s.o.Journal.Get(keyMessage(batch, position))
}

// conclude records how the asset behaved. A command that ended meanwhile stays as it is.
func (s *Service) conclude(ctx context.Context, c *record, state State, observed map[string]receipt.Observation, reason string) {
	now := s.o.Now()
	millis := float64(now.Sub(c.Dispatched).Microseconds()) / 1000
	_, err := s.order(ctx, Entry{Actor: s.o.Machine.Node, Observe: &ObserveEntry{Command: c.ID, State: state, Observed: observed, Millis: millis, Reason: reason, Messages: s.messages(c.Twin, observed)}})
	if err != nil {
		if vaultmesh.KindOf(err) != vaultmesh.Conflict && ctx.Err() == nil {
			s.o.Log.Warn("cannot record the observation of a command", "command", c.ID, "state", state, "error", err)
		}
		return
	}
	if state == Aligned {
		s.m.aligned(now.Sub(c.Dispatched))
	}
}

// watchDeadlines moves commands whose time has passed.
func (s *Service) watchDeadlines(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		now := s.o.Now()
		next := now.Add(time.Minute)
		for _, c := range s.opened() {
			at := s.deadline(c)
			if !at.After(now) {
				s.overdue(ctx, c)
				// What could not be recorded now is tried again, not at once.
				at = now.Add(time.Second)
			}
			if at.Before(next) {
				next = at
			}
		}
		timer.Reset(max(next.Sub(s.o.Now()), time.Millisecond))
	}
}

func (s *Service) deadline(c *record) time.Time {
	switch c.State {
	case AwaitingApproval:
		return c.Needs.Until
	case Dispatched:
		return c.Dispatched.Add(s.o.AnswerWithin)
	case Acknowledged, TimedOut:
		return c.Dispatched.Add(s.o.AlignWithin)
	}
	return c.Expires
}

// overdue records what a passed deadline means for the command.
func (s *Service) overdue(ctx context.Context, c *record) {
	end := func(state State, reason string) {
		_, err := s.order(ctx, Entry{Actor: s.o.Machine.Node, End: &EndEntry{Command: c.ID, State: state, Reason: reason}})
		if err != nil && vaultmesh.KindOf(err) != vaultmesh.Conflict && ctx.Err() == nil {
			s.o.Log.Warn("cannot record that a command is overdue", "command", c.ID, "state", state, "error", err)
		}
	}
	switch c.State {
	case Dispatched:
		end(TimedOut, "the device did not answer in time")
		s.look(ctx, c.Twin) // it may have acted all the same
	case Acknowledged, TimedOut:
		t, _ := s.o.Twins.Get(c.Twin)
		if observed, ok := s.aligned(c, t); ok {
			s.conclude(ctx, c, Aligned, observed, "")
			return
		}
		observed := map[string]receipt.Observation{}
		for name := range c.Expect {
			if v, ok := t.Reported[name]; ok {
				observed[name] = s.observation(c, name, v)
			} else if v, ok := t.Telemetry[name]; ok {
				observed[name] = s.observation(c, name, v)
			}
		}
		s.conclude(ctx, c, Diverged, observed, "the asset does not report the commanded value")
	default:
		end(Expired, "nobody decided in time")
	}
}
