package gate

import (
	"crypto/ed25519"
	"slices"
	"strings"
	"sync"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// Operator is a person who may approve with a key of their own.
type Operator struct {
	Principal vaultmesh.Principal `json:"principal"`
	Key       ed25519.PublicKey   `json:"key"`
	Roles     []string            `json:"roles"`
}

// Operators is the registry of enrolled operators: one key for each principal, one principal for each key. It is safe
// for concurrent use and holds nothing durable: control enrols from its own records.
type Operators struct {
	mu    sync.RWMutex
	by    map[vaultmesh.Principal]Operator
	owner map[string]vaultmesh.Principal // by receipt.KeyID
}

// maxOperators and maxRoles bound the registry.
const (
	maxOperators = 10_000
	maxRoles     = 32
)

// NewOperators makes an empty registry.
func NewOperators() *Operators {
	return &Operators{by: map[vaultmesh.Principal]Operator{}, owner: map[string]vaultmesh.Principal{}}
}

// Enroll adds o, or replaces the key and roles of its principal. Errors: Invalid; Conflict where the key belongs to
// another principal already, so that one person cannot approve under two names.
func (r *Operators) Enroll(o Operator) error {
	const op = "gate.enroll"
	if err := vaultmesh.CheckID("gate.enroll", string(o.Principal)); err != nil {
		return err
	}
	if !strings.HasPrefix(string(o.Principal), "operator:") {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, string(o.Principal), "not an operator").WithFix("only a principal whose name begins with \"operator:\" can approve")
	}
	if len(o.Key) != ed25519.PublicKeySize {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, string(o.Principal), "the key has %d bytes, want %d", len(o.Key), ed25519.PublicKeySize)
	}
	if len(o.Roles) > maxRoles {
		return vaultmesh.Errorf(vaultmesh.TooLarge, op, string(o.Principal), "%d roles, the limit is %d", len(o.Roles), maxRoles)
	}
	for _, role := range o.Roles {
		if err := vaultmesh.CheckID("gate.enroll role", role); err != nil {
			return err
		}
	}
	o.Key, o.Roles = slices.Clone(o.Key), slices.Clone(o.Roles)
	id := receipt.KeyID(o.Key)
	r.mu.Lock()
	defer r.mu.Unlock()
	if other, taken := r.owner[id]; taken && other != o.Principal {
		return vaultmesh.Errorf(vaultmesh.Conflict, op, string(o.Principal), "the key is enrolled for %s", other).WithFix("each operator needs a key of their own")
	}
	old, known := r.by[o.Principal]
	if !known && len(r.by) == maxOperators {
		return vaultmesh.Errorf(vaultmesh.TooLarge, op, string(o.Principal), "%d operators are enrolled, which is the limit", maxOperators)
	}
	if known {
		delete(r.owner, receipt.KeyID(old.Key))
	}
	r.by[o.Principal], r.owner[id] = o, o.Principal
	return nil
}

// Remove takes p out; approvals that p signed no longer count.
func (r *Operators) Remove(p vaultmesh.Principal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o, ok := r.by[p]; ok {
		delete(r.owner, receipt.KeyID(o.Key))
		delete(r.by, p)
	}
}

// Get returns the operator; its slices must not be changed.
func (r *Operators) Get(p vaultmesh.Principal) (Operator, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	o, ok := r.by[p]
	return o, ok
}
