package mcpapi

import (
	"context"
	"slices"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
)

// guarded authorises reads by the caller's capability before the backend is asked, so that nothing is told about twins
// that the caller may not read. What acts is authorised, and receipted, by the backend itself.
type guarded struct {
	Backend
	now func() time.Time
}

func (g guarded) mayRead(caller control.Caller, id vaultmesh.TwinID) error {
	if caller.Capability == nil {
		return vaultmesh.Errorf(vaultmesh.Denied, "read", string(id), "no capability was presented").WithFix("send a capability token and a proof of possession")
	}
	if err := caller.Capability.ValidAt(g.now()); err != nil {
		return err
	}
	return caller.Capability.Allows(capability.Action{Verb: capability.Read, Twin: id})
}

func (g guarded) Twins(ctx context.Context, caller control.Caller, f TwinFilter) (TwinPage, error) {
	p, err := g.Backend.Twins(ctx, caller, f)
	if err != nil {
		return TwinPage{}, err
	}
	p.Twins = slices.DeleteFunc(slices.Clone(p.Twins), func(t twin.Twin) bool { return g.mayRead(caller, t.ID) != nil })
	return p, nil
}

func (g guarded) Twin(ctx context.Context, caller control.Caller, id vaultmesh.TwinID) (twin.Twin, error) {
	if err := g.mayRead(caller, id); err != nil {
		return twin.Twin{}, err
	}
	return g.Backend.Twin(ctx, caller, id)
}

func (g guarded) History(ctx context.Context, caller control.Caller, id vaultmesh.TwinID, name string, from, to time.Time, limit int) ([]twin.Point, error) {
	if err := g.mayRead(caller, id); err != nil {
		return nil, err
	}
	return g.Backend.History(ctx, caller, id, name, from, to, limit)
}

func (g guarded) Command(ctx context.Context, caller control.Caller, id vaultmesh.CommandID) (control.Command, error) {
	c, err := g.Backend.Command(ctx, caller, id)
	if err != nil {
		return control.Command{}, err
	}
	if err := g.mayRead(caller, c.Twin); err != nil {
		return control.Command{}, err
	}
	return c, nil
}

func (g guarded) Commands(ctx context.Context, caller control.Caller, f control.Filter) ([]control.Command, error) {
	list, err := g.Backend.Commands(ctx, caller, f)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(list), func(c control.Command) bool { return g.mayRead(caller, c.Twin) != nil }), nil
}

func (g guarded) Bundle(ctx context.Context, caller control.Caller, ids []vaultmesh.CommandID) ([]byte, error) {
	for _, id := range ids {
		if _, err := g.Command(ctx, caller, id); err != nil {
			return nil, err
		}
	}
	return g.Backend.Bundle(ctx, caller, ids)
}

func (g guarded) Anchor(ctx context.Context, caller control.Caller, id string) (anchor.Job, error) {
	if err := g.mayRead(caller, ""); err != nil {
		return anchor.Job{}, err
	}
	return g.Backend.Anchor(ctx, caller, id)
}

func (g guarded) Anchors(ctx context.Context, caller control.Caller, f anchor.Filter) ([]anchor.Job, []anchor.Coverage, error) {
	if err := g.mayRead(caller, ""); err != nil {
		return nil, nil, err
	}
	return g.Backend.Anchors(ctx, caller, f)
}

// mayReadSubject asks whether the caller may read the receipts of a subject: those of a twin or of a command may be read by
// whoever may read the twin, all others belong to the whole domain.
func (g guarded) mayReadSubject(ctx context.Context, caller control.Caller, subject string) error {
	if id, ok := strings.CutPrefix(subject, receipt.TwinSubject("")); ok {
		return g.mayRead(caller, vaultmesh.TwinID(id))
	}
	if id, ok := strings.CutPrefix(subject, receipt.CommandSubject("")); ok {
		_, err := g.Command(ctx, caller, vaultmesh.CommandID(id))
		return err
	}
	return g.mayRead(caller, "")
}

func (g guarded) Search(ctx context.Context, caller control.Caller, q lawchain.Search) (lawchain.Answer, error) {
	err := g.mayRead(caller, q.Twin)
	if q.Subject != "" {
		err = g.mayReadSubject(ctx, caller, q.Subject)
	}
	if err != nil {
		return lawchain.Answer{}, err
	}
	return g.Backend.Search(ctx, caller, q)
}

func (g guarded) State(ctx context.Context, caller control.Caller, key string, size uint64) (StateProof, error) {
	id, ok := strings.CutPrefix(key, state.TwinKey(""))
	err := g.mayRead(caller, vaultmesh.TwinID(id))
	if !ok {
		err = g.mayReadSubject(ctx, caller, strings.TrimPrefix(key, state.SubjectKey("")))
	}
	if err != nil {
		return StateProof{}, err
	}
	return g.Backend.State(ctx, caller, key, size)
}
