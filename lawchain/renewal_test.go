package lawchain_test

import (
	"crypto/ed25519"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
)

// delegated has the root vouch for a key of the log, or do so again.
func (r *rotating) delegated(act, key string, at time.Time, valid time.Duration) receipt.KeyBody {
	r.t.Helper()
	sign := func(name string) func([]byte) ([]byte, error) {
		return func(m []byte) ([]byte, error) { return ed25519.Sign(r.key[name], m), nil }
	}
	b, err := receipt.SignKey(receipt.KeyStatement{Act: act, Domain: "rotate", Purpose: receipt.PurposeLog, Origin: rotateOrigin, Key: r.public(key), By: r.public("root"), Time: at, Expires: at.Add(valid)}, sign("root"), sign(key))
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// A root that renews every half hour, for as long as the domain lives: neither a renewal nor a rotation is refused for the
// number of those before, nor do they make them cost more, and whoever reads the keys reads no more than the newest.
func TestRenewalsHaveNoEnd(t *testing.T) {
	const renewals = 20_000 // of one key: more than a year at keys.validity 1h; there is no bound
	r := &rotating{t: t, dir: t.TempDir(), key: map[string]ed25519.PrivateKey{}}
	r.open("log")
	r.signer("root")
	r.signer("cap")
	text, err := receipt.Key{Origin: rotateOrigin, Public: r.public("log")}.LogKey()
	if err != nil {
		t.Fatal(err)
	}
	r.append(receipt.DomainGenesis, receipt.GenesisBody{Origin: rotateOrigin, LogKey: text, ReceiptKeys: [][]byte{r.public("receipts")}, CapabilityKeys: [][]byte{r.public("cap")}})
	roots := []ed25519.PublicKey{r.public("root")}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	change := func(at time.Time, signers []string, bodies ...receipt.KeyBody) error {
		var list []note.Signer
		for _, s := range signers {
			list = append(list, r.signer(s))
		}
		return r.submit(func(tx journal.Tx) error {
			_, err := r.log.ChangeKeys(tx, "node:test", at, bodies, roots, list)
			return err
		})
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(change(now, []string{"log"}, r.delegated(receipt.KeyDelegated, "log", now, time.Hour)))
	// Their signatures are not made one by one: the same statement stands for most of them.
	again := r.delegated(receipt.KeyRenewed, "log", now, time.Hour)
	body, err := receipt.Body(again)
	must(err)
	for range renewals / 1000 {
		must(r.submit(func(tx journal.Tx) error {
			for range 1000 {
				if _, _, err := r.log.Append(tx, receipt.Draft{Kind: receipt.KeyRenewed, Subject: receipt.RenewalSubject("rotate"), Actor: "node:test", Time: now, Body: body}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	later := now.Add(renewals * 30 * time.Minute)
	must(change(later, []string{"log"}, r.delegated(receipt.KeyRenewed, "log", later, time.Hour)))
	read := 0
	h, err := lawchain.ReadKeys(counting{r.j, &read}, "rotate", roots)
	must(err)
	if read > 10 {
		t.Errorf("%d records were read", read)
	}
	if live := h.Live(receipt.PurposeLog); len(live) != 1 || !live[0].Expires.Equal(later.Add(time.Hour)) {
		t.Errorf("%+v", live)
	}
	// A stolen key can still be replaced, and the new one is vouched for.
	rotated := r.statement(receipt.KeyRotated, "new", "log")
	must(change(later, []string{"new"}, rotated, r.statement(receipt.KeyRetired, "log", "new"), r.delegated(receipt.KeyDelegated, "new", later, time.Hour)))
	r.signedBy("new")
	if n := r.log.Keys().Introduced(); n != 1 {
		t.Errorf("%d keys introduced, want the new one: renewals are none", n)
	}
	// What the root renews is known already: nobody brings in a key by a statement of which bundles leave most out.
	r.signer("other")
	if err := change(later, []string{"new"}, r.delegated(receipt.KeyRenewed, "other", later, time.Hour)); vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Errorf("a renewal of an unknown key: %v", err)
	}
	found, err := r.log.SubjectUntil(receipt.RenewalSubject("rotate"), 1001, 2)
	must(err)
	if len(found) != 2 || found[0] != 1000 || found[1] != 1001 {
		t.Errorf("the renewals until receipt 1001: %v", found)
	}
	if found, err = r.log.SubjectUntil(receipt.RenewalSubject("rotate"), 1, 2); err != nil || len(found) != 0 {
		t.Errorf("the renewals until the first delegation: %v %v", found, err)
	}
	r.close()
}

// counting counts the records that are read one by one.
type counting struct {
	journal.Reader
	n *int
}

func (c counting) Get(key []byte) ([]byte, bool, error) {
	*c.n++
	return c.Reader.Get(key)
}
