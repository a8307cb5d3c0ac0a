package control

import (
	"context"
	"slices"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/lawchain/private"
	"vaultmesh.org/vaultmesh/receipt"
)

// What stands in the place of a reason that cannot be shown.
const (
	reasonErased = "(erased)"
	reasonHidden = "(kept privately; it cannot be read now)"
	reasonLost   = "(not recorded: it could not be kept privately)"
)

// hide keeps a person's own words so that they can be erased, and returns what stands in their place in receipts and
// records. Who keeps no texts gets the words back.
func (s *Service) hide(p vaultmesh.Principal, words string) (string, *private.Sealed, error) {
	if receipt.IsPrivateRef(words) {
		return "", nil, vaultmesh.Errorf(vaultmesh.Invalid, "reason", "", "it looks like a reference to a private text").WithFix("say it in other words")
	}
	if s.o.Texts == nil {
		return words, nil, nil
	}
	o, err := s.o.Texts.NewOpening(words)
	if err != nil {
		return "", nil, err
	}
	sealed, err := s.sealOpening(p, &o)
	return receipt.PrivateRef(o.Commitment()), sealed, err
}

func (s *Service) sealOpening(p vaultmesh.Principal, o *receipt.Opening) (*private.Sealed, error) {
	if o == nil {
		return nil, nil
	}
	sealed, err := s.o.Texts.Seal(p, *o)
	return &sealed, err
}

// checkOpening makes sure that a proposal's reason is either words or a reference to the words that came with it.
func (s *Service) checkOpening(p *Proposal) error {
	const op = "command.propose"
	commitment, ok := receipt.ParsePrivateRef(p.Reason)
	switch {
	case p.Opening == nil && !receipt.IsPrivateRef(p.Reason):
		return nil
	case s.o.Texts == nil:
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, "reason", "this node keeps no private texts").WithFix("say the reason in the clear, or not at all")
	case p.Opening == nil || !ok || p.Opening.Commitment() != commitment:
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "reason", "it is a reference to a private text, and that text did not come with it").WithFix("send the opening of the commitment, or the reason itself")
	case len(p.Opening.Text) > 1024:
		return vaultmesh.Errorf(vaultmesh.TooLarge, op, "reason", "%d bytes, the limit is 1024", len(p.Opening.Text))
	}
	return nil
}

// withhold keeps the words of a proposal so that they can be erased. Words in a request that the holder signed stay as they
// are: the receipt holds what was signed, or the signature proves nothing; such a client withholds them itself
// ([Proposal.Withheld]).
func (s *Service) withhold(caller Caller, p *Proposal) (sealed *private.Sealed, err error) {
	if p.Opening == nil && p.Reason != "" && caller.Proof == "" {
		p.Reason, sealed, err = s.hide(caller.Principal, p.Reason)
		return sealed, err
	}
	return s.sealOpening(caller.Principal, p.Opening)
}

// reveal returns the words behind a reference, or says why there are none; other texts as they are.
func (s *Service) reveal(text string) string {
	commitment, ok := receipt.ParsePrivateRef(text)
	if !ok || s.o.Texts == nil {
		return text
	}
	o, err := s.o.Texts.Open(s.o.Journal, commitment)
	switch vaultmesh.KindOf(err) {
	case vaultmesh.Expired:
		return reasonErased
	default:
		if err != nil {
			s.o.Log.Warn("a private text cannot be read", "error", err)
			return reasonHidden
		}
	}
	return o.Text
}

// shown is a command as those see it who may read it: with the words that people gave.
func (s *Service) shown(c Command) Command {
	if s.o.Texts == nil {
		return c
	}
	c.Reason = s.reveal(c.Reason)
	if slices.ContainsFunc(c.History, func(t Transition) bool { return receipt.IsPrivateRef(t.Reason) }) {
		c.History = slices.Clone(c.History)
		for i := range c.History {
			c.History[i].Reason = s.reveal(c.History[i].Reason)
		}
	}
	return c
}

func (s *Service) shownHalt(h HaltState) HaltState {
	h.Reason = s.reveal(h.Reason)
	return h
}

// Opening returns the words behind a commitment of a receipt, for disclosure. Errors: NotFound, Expired where they were
// erased. Who may see them is for the caller to decide.
func (s *Service) Opening(commitment vaultmesh.Digest) (receipt.Opening, error) {
	if s.o.Texts == nil {
		return receipt.Opening{}, vaultmesh.Errorf(vaultmesh.NotFound, "private.open", commitment.String(), "this node keeps no private texts")
	}
	return s.o.Texts.Open(s.o.Journal, commitment)
}

// Erase destroys the key of a principal's private texts, and records that. Every proof goes on to verify; the words are
// gone. Where the node fails in between, the key is destroyed and the same call records it.
func (s *Service) Erase(ctx context.Context, caller Caller, p vaultmesh.Principal, reason string) (receipt.Ref, error) {
	const op = "private.erase"
	if err := authorise(caller, capability.Action{Verb: capability.Admin}, s.o.Now()); err != nil {
		return receipt.Ref{}, err
	}
	if err := vaultmesh.CheckID("principal", string(p)); err != nil {
		return receipt.Ref{}, err
	}
	if err := checkReason(reason); err != nil {
		return receipt.Ref{}, err
	}
	if s.o.Texts == nil {
		return receipt.Ref{}, vaultmesh.Errorf(vaultmesh.NotFound, op, string(p), "this node keeps no private texts")
	}
	destroyed, err := s.o.Texts.Erase(p)
	if err != nil {
		return receipt.Ref{}, err
	}
	kept, _, err := s.o.Texts.Kept(s.o.Journal, p)
	if err != nil {
		return receipt.Ref{}, err
	}
	before, err := erasedBefore(s.o.Journal, p)
	if err != nil {
		return receipt.Ref{}, err
	}
	if !destroyed && kept <= before {
		return receipt.Ref{}, vaultmesh.Errorf(vaultmesh.NotFound, op, string(p), "nothing is kept of this principal that is not erased already").
			WithFix("name a principal who gave reasons, with its role, such as operator:ada; `vaultmesh receipts --actor NAME` shows what one did")
	}
	res, err := s.order(ctx, Entry{Actor: caller.Principal, Erase: &EraseEntry{Principal: p, Kept: kept, Reason: reason}})
	return res.Receipt, err
}
