package export

import (
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

const origin = sample.Origin

var start = sample.Start

// domain is a log of receipts that a test appends to and exports, one a second.
type domain struct {
	testing.TB
	*sample.World
	key sample.Key         // of receipts
	log ed25519.PrivateKey // of checkpoints
}

func newDomain(t testing.TB) *domain {
	t.Helper()
	w := sample.New(t)
	w.Genesis()
	return &domain{t, w, w.Key, w.LogKey.PrivateKey}
}

// append logs a receipt and returns where it is.
func (d *domain) append(draft receipt.Draft, body any, causes ...receipt.Ref) receipt.Ref {
	d.Helper()
	return d.Add(draft.Kind, draft.Subject, draft.Actor, time.Duration(d.Size())*time.Second, body, func(to *receipt.Draft) {
		to.Capability, to.Policy, to.Causes = draft.Capability, draft.Policy, causes
	})
}

// halts logs n receipts that no check asks more of.
func (d *domain) halts(n int) {
	for i := range n {
		d.append(receipt.Draft{Kind: receipt.HaltSet, Subject: receipt.HaltSubject(sample.Domain), Actor: "operator:ada"}, &receipt.HaltBody{Reason: fmt.Sprintf("test %d", i)})
	}
}

// bundle exports the whole log.
func (d *domain) bundle() ([]byte, *receipt.Trust) {
	d.Helper()
	parts, trust := d.All()
	return d.Pack(parts), trust
}
