package chaos

import (
	"fmt"
	"slices"
	"strings"

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

// history finds every message in the history of its twin, value by value.
func (s *site) history(messages []rig.Message) {
	ctx, cancel := s.context()
	defer cancel()
	lost, err := rig.Lost(ctx, s.agent, messages)
	if err != nil {
		s.t.Error(err)
	}
	for _, what := range lost[:min(len(lost), 5)] {
		s.t.Errorf("lost: %s", what)
	}
	if len(lost) > 5 {
		s.t.Errorf("lost: %d values in all", len(lost))
	}
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
	if err := s.agent.Insist(ctx, "GET", "/v1/log/checkpoint", nil, &text); err != nil {
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
	if executed == 0 || states[control.Aligned] == 0 || approved == 0 || again == 0 {
		s.t.Errorf("not everything happened: %d commands executed, %d of them delivered again, %d approved, states %v", executed, again, approved, states)
	}
	if code := p.Terminate(s.t); code != 0 {
		s.t.Errorf("exit status %d: %s", code, p.Words())
	}
	s.sound(p)
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
