package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
)

// find looks for every acknowledged message: it must be in the history of its twin, byte for byte and once, under a
// batch receipt of the log whose root covers it, and the twin must show it or something newer. It returns how many
// messages and batches it found.
func (t *traffic) find(ctx context.Context, in *truth, twins *twin.Store) (found, batches uint64, err error) {
	f := &finder{truth: in, leaves: map[vaultmesh.LogIndex][]vaultmesh.Digest{}}
	for i, p := range t.publishers {
		for k := range p.twins {
			if err := ctx.Err(); err != nil {
				return 0, 0, err
			}
			n, err := f.twin(twins, p, k, t.acked[i])
			if err != nil {
				return 0, 0, err
			}
			found += n
		}
	}
	if found < t.total() {
		return 0, 0, vaultmesh.Errorf(vaultmesh.Corrupt, "bench.find", "", "%d messages were acknowledged, the history holds %d", t.total(), found)
	}
	return found, uint64(len(f.leaves)), nil
}

// finder remembers the batches that it has checked.
type finder struct {
	truth  *truth
	leaves map[vaultmesh.LogIndex][]vaultmesh.Digest
}

// twin reads the history of one twin in order; message n of the publisher is about it where n mod linesEach is k.
func (f *finder) twin(twins *twin.Store, p *publisher, k int, acked uint64) (found uint64, err error) {
	const op = "bench.find"
	id := p.twins[k]
	topic := device.TelemetryTopic(p.device, id)
	n := uint64(k)
	for page := twin.MaxPoints; page == twin.MaxPoints; {
		entries, err := twins.Entries(f.truth.journal, id, p.time(n), p.time(n).Add(24*time.Hour), twin.MaxPoints)
		if err != nil {
			return 0, err
		}
		page = len(entries)
		for _, e := range entries {
			if !e.Time.Equal(p.time(n)) || !bytes.Equal(e.Raw, p.payloadOf(n)) {
				return 0, vaultmesh.Errorf(vaultmesh.Corrupt, op, string(id), "want message %d of %d acknowledged ones in the history, it holds that of %s", n, acked, e.Time)
			}
			if err := f.proved(e, topic); err != nil {
				return 0, err
			}
			n += linesEach
			found++
		}
	}
	if n < acked {
		return 0, vaultmesh.Errorf(vaultmesh.Corrupt, op, string(id), "message %d of %d acknowledged ones is not in the history", n, acked)
	}
	if acked <= uint64(k) {
		return found, nil
	}
	last := acked - 1 - (acked-1-uint64(k))%linesEach
	if t, ok := twins.Get(id); !ok || t.Seen.Before(p.time(last)) {
		return 0, vaultmesh.Errorf(vaultmesh.Corrupt, op, string(id), "the twin shows %s, the last acknowledged message is of %s", t.Seen, p.time(last))
	}
	return found, nil
}

// proved checks the place of a message in its batch, and once for each batch that its receipt states the leaves' root.
func (f *finder) proved(e twin.Entry, topic string) error {
	const op = "bench.find"
	leaves, ok := f.leaves[e.Batch]
	if !ok {
		raw, ok, err := f.truth.journal.Get(device.LeavesKey(e.Batch))
		if err != nil {
			return err
		}
		if !ok {
			return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "batch %d has no leaves", e.Batch)
		}
		for ; len(raw) >= len(vaultmesh.Digest{}); raw = raw[len(vaultmesh.Digest{}):] {
			leaves = append(leaves, vaultmesh.Digest(raw[:len(vaultmesh.Digest{})]))
		}
		if err := f.receipted(e.Batch, leaves); err != nil {
			return err
		}
		f.leaves[e.Batch] = leaves
	}
	if e.Pos >= len(leaves) || leaves[e.Pos] != receipt.MessageLeaf(topic, e.Raw) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, topic, "message %d of batch %d is not what the leaf says", e.Pos, e.Batch)
	}
	return nil
}

func (f *finder) receipted(batch vaultmesh.LogIndex, leaves []vaultmesh.Digest) error {
	envelope, err := f.truth.log.Receipt(batch)
	if err != nil {
		return err
	}
	r, err := receipt.Open(envelope)
	if err != nil {
		return err
	}
	var body receipt.BatchBody
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "bench.find", r.Subject, "receipt %d cannot be read", batch).Because(err)
	}
	root, err := receipt.BatchRoot(leaves)
	if err != nil {
		return err
	}
	if root != body.Root || body.Count != uint64(len(leaves)) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "bench.find", r.Subject, "receipt %d is about %d messages with another root than the %d leaves kept", batch, body.Count, len(leaves))
	}
	return nil
}
