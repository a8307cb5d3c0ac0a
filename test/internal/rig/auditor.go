package rig

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// Auditor follows the log from outside, as a stranger with the pinned keys would: it keeps every checkpoint that it was
// shown, has the node prove that each is a prefix of the newest, and computes the tree itself from the published
// entries. It is for one goroutine.
type Auditor struct {
	data     string
	verifier note.Verifier
	trust    *receipt.Trust

	seen  map[uint64]vaultmesh.Digest // size → root, of every checkpoint that was shown
	open  []uint64                    // sizes of seen that were not proved to be a prefix yet, and the newest that was
	tree  *compact.Range
	roots map[uint64]vaultmesh.Digest // computed here, at the sizes in seen

	Receipts []receipt.Receipt // every receipt so far; bodies of telemetry batches are dropped
}

// NewAuditor pins the keys of <data>/trust.json.
func NewAuditor(data string) (*Auditor, error) {
	text, err := os.ReadFile(filepath.Join(data, "trust.json"))
	if err != nil {
		return nil, err
	}
	t, err := receipt.LoadTrust(text)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(t.Log.Key)
	if err != nil {
		return nil, err
	}
	f := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	return &Auditor{data: data, verifier: v, trust: t, seen: map[uint64]vaultmesh.Digest{}, tree: f.NewEmptyRange(0), roots: map[uint64]vaultmesh.Digest{}}, nil
}

// Trust is what the auditor pinned at its start.
func (a *Auditor) Trust() *receipt.Trust { return a.trust }

// Saw keeps a checkpoint that a node showed. Two of one size with different roots are an error.
func (a *Auditor) Saw(text []byte) (uint64, error) {
	cp, _, _, err := log.ParseCheckpoint(text, a.verifier.Name(), a.verifier)
	if err != nil {
		return 0, fmt.Errorf("a shown checkpoint does not verify: %w", err)
	}
	root := vaultmesh.Digest(cp.Hash)
	if have, ok := a.seen[cp.Size]; ok && have != root {
		return 0, fmt.Errorf("two checkpoints of size %d have the roots %s and %s: the log forked", cp.Size, have, root)
	}
	if _, ok := a.seen[cp.Size]; !ok {
		a.seen[cp.Size] = root
		a.open = append(a.open, cp.Size)
	}
	return cp.Size, nil
}

// Checkpoints is how many different checkpoints were seen.
func (a *Auditor) Checkpoints() int { return len(a.seen) }

// Consistent has the node prove that every checkpoint seen so far is a prefix of its present one.
func (a *Auditor) Consistent(ctx context.Context, c *Client) error {
	var text []byte
	if err := c.Call(ctx, "GET", "/v1/log/checkpoint", nil, &text); err != nil {
		return err
	}
	size, err := a.Saw(text)
	if err != nil {
		return err
	}
	for _, old := range a.open {
		root := a.seen[old]
		if old > size {
			return fmt.Errorf("a checkpoint of %d receipts was shown, and now the log has %d: it forgot", old, size)
		}
		if old == size || old == 0 {
			continue
		}
		var p struct {
			Hashes []vaultmesh.Digest `json:"hashes"`
		}
		if err := c.Call(ctx, "GET", fmt.Sprintf("/v1/log/consistency?old=%d&new=%d", old, size), nil, &p); err != nil {
			return err
		}
		hashes := make([][]byte, len(p.Hashes))
		for i := range p.Hashes {
			hashes[i] = p.Hashes[i][:]
		}
		now := a.seen[size]
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, old, size, hashes, root[:], now[:]); err != nil {
			return fmt.Errorf("the log of %d receipts is no prefix of that of %d: %w", old, size, err)
		}
	}
	a.open = []uint64{size} // being a prefix is transitive
	return nil
}

// Published reads the size of the published tree from the node's folder: what a mirror could fetch.
func (a *Auditor) Published() (uint64, error) {
	text, err := os.ReadFile(filepath.Join(a.data, "log", "checkpoint"))
	if err != nil {
		return 0, err
	}
	return a.Saw(text)
}

// Read reads the published entries up to size through the node's public log, computes the tree over them, and holds its
// root against every checkpoint that was seen.
func (a *Auditor) Read(ctx context.Context, c *Client, size uint64) error {
	for a.tree.End() < size {
		n := a.tree.End() / 256
		path := fmt.Sprintf("/log/tile/entries/%s", tileNumber(n))
		if width := size - n*256; width < 256 {
			path += fmt.Sprintf(".p/%d", width)
		}
		var raw []byte
		if err := c.Call(ctx, "GET", path, nil, &raw); err != nil {
			return fmt.Errorf("the published entries %s: %w", path, err)
		}
		for i := n * 256; len(raw) > 0; i++ {
			if len(raw) < 2 || len(raw) < 2+int(binary.BigEndian.Uint16(raw)) {
				return fmt.Errorf("%s ends inside an entry", path)
			}
			length := 2 + int(binary.BigEndian.Uint16(raw))
			entry := raw[2:length]
			raw = raw[length:]
			if i < a.tree.End() {
				continue
			}
			if err := a.append(entry); err != nil {
				return err
			}
		}
	}
	for at, root := range a.seen {
		if mine, ok := a.roots[at]; ok && mine != root {
			return fmt.Errorf("the published entries have the root %s at %d, the checkpoint says %s", mine, at, root)
		}
	}
	return nil
}

func (a *Auditor) append(entry []byte) error {
	r, err := receipt.Open(entry)
	if err != nil {
		return fmt.Errorf("entry %d: %w", a.tree.End(), err)
	}
	if r.Kind == receipt.TelemetryBatch {
		r.Body = nil
	}
	a.Receipts = append(a.Receipts, r)
	if err := a.tree.Append(r.Leaf[:], nil); err != nil {
		return err
	}
	root, err := a.tree.GetRootHash(nil)
	if err != nil {
		return err
	}
	a.roots[a.tree.End()] = vaultmesh.Digest(root)
	return nil
}

// tileNumber is the path form of C2SP tlog-tiles: groups of three digits, all but the last with an x in front.
func tileNumber(n uint64) string {
	s := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		s = fmt.Sprintf("x%03d/%s", n%1000, s)
	}
	return s
}

// Commands reads the life of every command out of the log, and fails where it breaks a rule that needs no other source:
// a state that does not follow, a command proposed twice, one key of one principal used for two commands, or a dispatch
// while the domain was halted.
func (a *Auditor) Commands() (map[vaultmesh.CommandID][]string, error) {
	type key struct {
		who vaultmesh.Principal
		key string
	}
	life, keys, halted := map[vaultmesh.CommandID][]string{}, map[key]vaultmesh.CommandID{}, false
	for i := range a.Receipts {
		r := &a.Receipts[i]
		switch r.Kind {
		case receipt.HaltSet:
			halted = true
		case receipt.HaltCleared:
			halted = false
		}
		name, ok := strings.CutPrefix(r.Kind, "command.")
		if !ok {
			continue
		}
		var head receipt.ProposedBody
		if err := json.Unmarshal(r.Body, &head); err != nil {
			return nil, fmt.Errorf("receipt %d: %w", i, err)
		}
		before := life[head.Command]
		last := ""
		if len(before) > 0 {
			last = before[len(before)-1]
		}
		next, _ := receipt.NextCommandStates(last)
		if !slices.Contains(next, name) {
			return nil, fmt.Errorf("receipt %d: command %s went from %q to %q", i, head.Command, last, name)
		}
		if name == "dispatched" && halted {
			return nil, fmt.Errorf("receipt %d: command %s was dispatched while the domain was halted", i, head.Command)
		}
		if name == "proposed" {
			k := key{r.Actor, head.IdempotencyKey}
			if other, used := keys[k]; used {
				return nil, fmt.Errorf("receipt %d: %s used the key %s for %s and %s", i, k.who, k.key, other, head.Command)
			}
			keys[k] = head.Command
		}
		life[head.Command] = append(before, name)
	}
	return life, nil
}
