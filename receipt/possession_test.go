package receipt

import (
	"slices"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

// editProposal changes the first proposal before it is encoded.
func editProposal(s *story, edit func(b *ProposedBody)) {
	s.body = func(_ string, body any) {
		if b, ok := body.(*ProposedBody); ok {
			edit(b)
		}
	}
}

// One request that a holder signed is one command.
func TestOneRequestOneCommand(t *testing.T) {
	s := newStory(t)
	var first ProposedBody
	editProposal(s, func(b *ProposedBody) {
		if first.Command == "" {
			first = *b
		}
	})
	s.more = func(block vaultmesh.Digest) {
		ref := first.CommandRef
		ref.Command = "01JCMD2"
		o := other{s, ref, block, 5100 * time.Millisecond}
		again := first
		again.CommandRef = ref
		o.step(CommandProposed, proposer, 0, &again)
		o.step(CommandAssessed, "node:dev", 0, &AssessedBody{CommandRef: ref})
		o.step(CommandAuthorized, "node:dev", 0, &AuthorizedBody{CommandRef: ref})
		o.step(CommandDispatched, "node:dev", 0, &DispatchedBody{CommandRef: ref, Device: "sub-4", Expires: t0.Add(10 * time.Second)})
		o.step(CommandAcknowledged, "device:sub-4", 10*time.Millisecond, &ResponseBody{CommandRef: ref, Device: "sub-4", Code: "done"})
		o.step(CommandAligned, "node:dev", 20*time.Millisecond, &ObservedBody{CommandRef: ref, Observed: map[string]Observation{}})
	}
	r := Verify(s.export(), trust(t, s))
	if r.OK || !slices.ContainsFunc(r.Failed(), func(c Check) bool {
		return c.Name == "capability.chain[01JCMD2]" && strings.Contains(c.Detail, "its nonce is used twice")
	}) {
		t.Errorf("two commands rest on one signed request:\n%s", humanForm(t, r, false, 0))
	}
}

// Where nobody signed a request, the report says whose word it is, and an auditor may ask for more.
func TestNobodySigned(t *testing.T) {
	s := newStory(t)
	editProposal(s, func(b *ProposedBody) { b.Proof, b.Target = "", nil })
	bundle := s.export()
	r := Verify(bundle, trust(t, s))
	if !r.OK || !slices.ContainsFunc(r.NotProved, func(s string) bool {
		return strings.Contains(s, "that the holders of the capabilities asked for 1 command themselves: the domain says")
	}) {
		t.Errorf("it does not say that nobody signed:\n%s", humanForm(t, r, false, 0))
	}
	r = Demand{Possession: true}.Verify(bundle, trust(t, s))
	if r.OK || len(r.Failed()) != 1 || r.Failed()[0].Name != "capability.chain[01JCMD]" {
		t.Errorf("a signature is demanded and there is none:\n%s", humanForm(t, r, false, 0))
	}
	s = newStory(t)
	if r := (Demand{Possession: true}).Verify(s.export(), trust(t, s)); !r.OK {
		t.Errorf("the holder signed:\n%s", humanForm(t, r, false, 0))
	}
}

// The words of a proposal are those that its holder signed.
func TestSignedReason(t *testing.T) {
	for name, edit := range map[string]func(b *ProposedBody){
		"other words":    func(b *ProposedBody) { b.Target.Request, b.Reason = b.RequestText(), "I know that this is unsafe" },
		"words left out": func(b *ProposedBody) { b.Target.Request, b.Reason = b.RequestText(), "" },
	} {
		s := newStory(t)
		editProposal(s, edit)
		r := Verify(s.export(), trust(t, s))
		if r.OK || !strings.Contains(r.Failed()[0].Detail, "the reason is not that of the proposal") {
			t.Errorf("%s: ok %v, %v", name, r.OK, r.Failed())
		}
	}
	s := newStory(t)
	editProposal(s, func(b *ProposedBody) { b.Target.Request = b.RequestText() })
	if r := Verify(s.export(), trust(t, s)); !r.OK {
		t.Errorf("the words as they were signed: %v", r.Failed())
	}
}
