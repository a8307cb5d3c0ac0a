package chaos

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/internal/rig"
)

// verify asks for everything that was acknowledged since the last time.
func (s *site) verify() {
	s.t.Helper()
	messages := s.fleet.Messages(s.checked)
	s.history(messages)
	s.checked += len(messages)
	fresh := s.ledger.takeFresh()
	s.commands(fresh)
	s.replay(fresh)
	s.audit()
	s.dispatched()
	s.bundles(fresh, 4)
}

// history finds every message in the history of its twin, value by value. A value is asked for by its exact JSON.
func (s *site) history(messages []rig.Message) {
	type series struct {
		twin vaultmesh.TwinID
		name string
	}
	type span struct{ from, to time.Time }
	spans := map[series]span{}
	for _, m := range messages {
		for name := range m.Values {
			k := series{m.Twin, name}
			p, ok := spans[k]
			if !ok || m.Time.Before(p.from) {
				p.from = m.Time
			}
			if m.Time.After(p.to) {
				p.to = m.Time
			}
			spans[k] = p
		}
	}
	stored := map[series]map[int64]string{}
	ctx, cancel := s.context()
	defer cancel()
	for k, p := range spans {
		stored[k] = map[int64]string{}
		for from, more := p.from, true; more; {
			q := url.Values{"name": {k.name}, "from": {from.Format(time.RFC3339Nano)}, "to": {p.to.Add(time.Microsecond).Format(time.RFC3339Nano)}, "limit": {"5000"}}
			var page struct {
				Points []struct {
					T time.Time `json:"t"`
					V rawText   `json:"v"`
				} `json:"points"`
				More bool `json:"more"`
			}
			if err := s.agent.Insist(ctx, "GET", "/v1/twins/"+string(k.twin)+"/history?"+q.Encode(), nil, &page); err != nil {
				s.t.Errorf("history of %s %s: %v", k.twin, k.name, err)
				return
			}
			for _, x := range page.Points {
				stored[k][x.T.UnixMicro()] = string(x.V)
				from = x.T.Add(time.Microsecond)
			}
			more = page.More
		}
	}
	lost := 0
	for _, m := range messages {
		for name, want := range m.Values {
			have, ok := stored[series{m.Twin, name}][m.Time.UnixMicro()]
			if (!ok || have != want) && !equal(have, want) {
				if lost++; lost <= 5 {
					s.t.Errorf("lost: the acknowledged %s of %s at %s was %s, the history has %q", name, m.Twin, m.Time.Format(time.RFC3339Nano), want, have)
				}
			}
		}
	}
	if lost > 5 {
		s.t.Errorf("lost: %d values in all", lost)
	}
}

// rawText is JSON as it stands in the answer.
type rawText string

// UnmarshalJSON implements json.Unmarshaler.
func (r *rawText) UnmarshalJSON(b []byte) error { *r = rawText(b); return nil }

// equal compares two JSON numbers by value: the text form is not part of the contract.
func equal(a, b string) bool {
	x, err := strconv.ParseFloat(a, 64)
	if err != nil {
		return false
	}
	y, err := strconv.ParseFloat(b, 64)
	return err == nil && x == y
}

// commands asks for each command that was heard of.
func (s *site) commands(ids []vaultmesh.CommandID) {
	ctx, cancel := s.context()
	defer cancel()
	for _, id := range ids {
		var c control.Command
		if err := s.agent.Insist(ctx, "GET", "/v1/commands/"+string(id), nil, &c); err != nil {
			s.t.Errorf("lost: the command %s was acknowledged: %v", id, err)
			continue
		}
		if err := s.ledger.settled(c); err != nil {
			s.t.Error(err)
		}
	}
}

// replay proposes some of the commands once more under their keys: nothing new may come of it, and other contents under
// the same key are refused.
func (s *site) replay(ids []vaultmesh.CommandID) {
	ctx, cancel := s.context()
	defer cancel()
	for _, c := range s.ledger.all() {
		if i := slices.Index(ids, c.ID); i < 0 || i%8 != 0 {
			continue
		}
		body := map[string]any{"twin": c.Twin, "command": c.Name, "args": c.Args, "reason": "chaos", "idempotency_key": c.IdempotencyKey}
		var again control.Command
		if err := s.agent.Insist(ctx, "POST", "/v1/commands", body, &again); err != nil {
			s.t.Errorf("replay of %s: %v", c.ID, err)
		} else if again.ID != c.ID || !again.Replayed {
			s.t.Errorf("replay of %s made %s (replayed=%v)", c.ID, again.ID, again.Replayed)
		}
	}
}

// audit has every checkpoint proved, reads what was published, and checks the rules of the log.
func (s *site) audit() {
	s.auditing.Lock()
	defer s.auditing.Unlock()
	ctx, cancel := s.context()
	defer cancel()
	var text []byte
	if err := s.agent.Insist(ctx, "GET", "/log/checkpoint", nil, &text); err != nil {
		s.t.Errorf("checkpoint: %v", err)
		return
	}
	head, err := s.auditor.Saw(text)
	if err == nil {
		err = s.auditor.Consistent(ctx, s.agent)
	}
	if err != nil {
		s.t.Error(err)
		return
	}
	var size uint64
	rig.Eventually(s.t, fmt.Sprintf("the first %d receipts are published", head), func() bool {
		size, err = s.auditor.Published()
		return err == nil && size >= head
	})
	if err := s.auditor.Read(ctx, s.agent, size); err != nil {
		s.t.Error(err)
	}
}

// dispatched holds what the devices did against the log.
func (s *site) dispatched() {
	life, err := s.auditor.Commands()
	if err != nil {
		s.t.Error(err)
		return
	}
	for _, x := range s.fleet.Executions() {
		switch {
		case x.Executed > 1:
			s.t.Errorf("twice: command %s acted %d times", x.Command, x.Executed)
		case x.Executed == 1 && !slices.Contains(life[x.Command], "dispatched"):
			s.t.Errorf("command %s acted and was never dispatched: %v", x.Command, life[x.Command])
		}
	}
	for _, c := range s.ledger.all() {
		steps := life[c.ID]
		for i, h := range c.History {
			if i >= len(steps) || steps[i] != string(h.State) {
				s.t.Errorf("command %s was shown as %s at step %d, the log says %v", c.ID, h.State, i, steps)
				break
			}
		}
	}
}

// bundles verifies the evidence of at most n finished commands offline.
func (s *site) bundles(ids []vaultmesh.CommandID, n int) {
	ctx, cancel := s.context()
	defer cancel()
	for _, c := range s.ledger.all() {
		if n == 0 {
			return
		}
		if !control.Ended(c.State) || s.bundled[c.ID] || !slices.Contains(ids, c.ID) {
			continue
		}
		n--
		s.bundled[c.ID] = true
		var b []byte
		if err := s.agent.Insist(ctx, "GET", "/v1/commands/"+string(c.ID)+"/bundle", nil, &b); err != nil {
			s.t.Errorf("bundle of %s (%s): %v", c.ID, c.State, err)
			continue
		}
		s.accepted(b, string(c.ID)+" ("+string(c.State)+")")
	}
}

func (s *site) accepted(bundle []byte, what string) {
	if r := receipt.Verify(bundle, s.auditor.Trust()); !r.OK {
		s.t.Errorf("the bundle of %s is rejected: %+v", what, r.Failed())
	}
}

// finish lets everything come to rest, checks it once more from the beginning, and says what happened.
func (s *site) finish(rounds int) {
	s.t.Helper()
	p := s.start()
	ctx, cancel := s.context()
	defer cancel()
	rig.Eventually(s.t, "what became of every command that a device carried out is known", func() bool {
		for _, x := range s.fleet.Executions() {
			if x.Executed == 0 {
				continue
			}
			var c control.Command
			if err := s.agent.Insist(ctx, "GET", "/v1/commands/"+string(x.Command), nil, &c); err != nil {
				s.t.Fatalf("command %s acted: %v", x.Command, err)
			}
			if c.State == control.Dispatched || c.State == control.Acknowledged {
				return false
			}
			if err := s.ledger.settled(c); err != nil {
				s.t.Fatal(err)
			}
		}
		return true
	})
	s.fleet.Quiet(s.t)
	for _, why := range s.fleet.Refusals() {
		s.t.Errorf("a message was refused: %s", why)
	}
	s.checked = 0
	s.verify()
	s.commands(ids(s.ledger.all()))
	s.dispatched()
	var ended []string
	states, approved := map[control.State]int{}, 0
	for _, c := range s.ledger.all() {
		if len(c.Approvals) > 0 {
			approved++
		}
		if states[c.State]++; control.Ended(c.State) {
			ended = append(ended, "command="+string(c.ID))
		}
	}
	for part := range slices.Chunk(ended, 50) {
		var b []byte
		if err := s.agent.Insist(ctx, "GET", "/v1/bundles?"+strings.Join(part, "&"), nil, &b); err != nil {
			s.t.Errorf("bundle of %d commands: %v", len(part), err)
			continue
		}
		s.accepted(b, fmt.Sprintf("%d commands", len(part)))
	}
	executed, again := 0, 0
	for _, x := range s.fleet.Executions() {
		if executed += x.Executed; x.Delivered > 1 {
			again++
		}
	}
	if executed == 0 || states[control.Aligned] == 0 {
		s.t.Errorf("nothing happened: %d commands executed, states %v", executed, states)
	}
	if code := p.Terminate(s.t); code != 0 {
		s.t.Errorf("exit status %d: %s", code, p.Words())
	}
	if !s.t.Failed() {
		s.t.Logf("rounds %d (%v), acknowledged messages %d, commands %d %v, approved by a person %d, executed %d, delivered more than once %d, checkpoints %d, receipts %d, bundled commands %d, lost 0, twice 0",
			rounds, s.deaths, s.fleet.Acked.Load(), s.ledger.len(), states, approved, executed, again, s.auditor.Checkpoints(), len(s.auditor.Receipts), len(ended))
	}
}

func ids(list []control.Command) []vaultmesh.CommandID {
	out := make([]vaultmesh.CommandID, len(list))
	for i := range list {
		out[i] = list[i].ID
	}
	return out
}
