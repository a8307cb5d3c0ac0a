package fsck

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/archive"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
)

var archiveChecks = []string{checkArchive, checkCheckpoint, checkObjects, checkEntries, checkTree, checkChains, checkTimes, checkSignatures}

// Archive checks an archive: every manifest and every object of it.
func Archive(ctx context.Context, b bucket.Bucket, o Options) (*Report, error) {
	o.defaults()
	began := time.Now()
	keys, err := newKeyring(o.Pins)
	if err != nil {
		return nil, err
	}
	a := &archived{b: b, o: o, keys: keys}
	r := &Report{Place: b.String(), Kind: "archive"}
	failure := ended(a.check(ctx, r), &a.found)
	return r.finish(&a.found, failure, began, archiveChecks...), nil
}

// archived is one check of an archive.
type archived struct {
	b      bucket.Bucket
	o      Options
	keys   *keyring
	found  findings
	j      *judge
	behind backing
	all    []segment
	notes  [][]byte // checkpoints, by segment
	work   []place

	mu   sync.Mutex
	open map[int]*archive.Signed // guarded by mu: the manifests that are in use
}

// segment is what is kept of a manifest, of which an old archive has very many: the rest is read again where it is used.
type segment struct {
	number  uint64
	to      uint64
	digest  vaultmesh.Digest
	created time.Time
	key     string
	good    bool // a key that was known when it was read signed it
}

// place is one entry bundle.
type place struct {
	at    int // of its segment
	i     uint64
	first uint64
}

func (a *archived) check(ctx context.Context, r *Report) error {
	last, err := a.manifests(ctx)
	if err != nil || last == nil {
		return err
	}
	r.Origin, r.Size, r.Root = last.Origin, last.To, last.Root
	reached := a.reached(last.To)
	if reached < last.To {
		a.found.damage(checkArchive, archive.ManifestPath(last.Segment), "the archive ends at receipt %d, the newest checkpoint that it reaches is of %d: it is being written, or its end is missing", last.To, reached)
	}
	a.behind = backing{limit: a.o.Unverified, keys: a.keys, prove: func() bool { return a.backed(last) }}
	if !a.behind.begin() && !a.o.Pins.Follow {
		a.found.note("nothing behind the manifests was read, since no pinned key stands behind the last of them")
		a.j = newJudge(a.o, a.keys, &a.found, nil)
		return a.signatures(ctx)
	}
	a.j = newJudge(a.o, a.keys, &a.found, tiles.NewBuilder(func(tiles.Tile, []byte) error { return nil }))
	defer a.j.close()
	err = ordered(ctx, a.o.Workers, uint64(len(a.work)), a.read, func(i uint64, v bundle) error { return a.use(i, v, last.To) })
	if failed := a.signatures(ctx); err == nil {
		err = failed
	}
	a.j.end(r, last.To, last.Root, err == nil)
	if err == nil {
		err = a.proofs(ctx)
	}
	return err
}

// manifests reads all of them and returns the last that follows from the first.
func (a *archived) manifests(ctx context.Context) (last *archive.Signed, err error) {
	n, err := archive.List(ctx, a.b)
	if vaultmesh.KindOf(err) == vaultmesh.Corrupt && err != nil {
		a.found.damage(checkArchive, "manifests", "%v", err)
	} else if err != nil {
		return nil, err
	}
	hidden, err := archive.Hidden(ctx, a.b, n)
	if err != nil && vaultmesh.KindOf(err).Retryable() {
		return nil, err
	}
	if n += hidden; n == 0 {
		return nil, a.nothing(ctx)
	}
	for i := range n {
		m, shadowed, err := archive.Read(ctx, a.b, i)
		if shadowed {
			a.found.damage(checkArchive, archive.ManifestPath(i), "it was deleted or overwritten; the version that belongs there is still in the bucket, and was read")
		}
		if err != nil && vaultmesh.KindOf(err).Retryable() || ctx.Err() != nil {
			return nil, firstError(err, ctx.Err())
		}
		if err != nil {
			a.found.damage(checkArchive, archive.ManifestPath(i), "%v", err)
			return last, nil
		}
		if last != nil && (m.From != last.To || m.Previous != last.Digest() || m.Origin != last.Origin || m.Domain != last.Domain) {
			a.found.damage(checkArchive, archive.ManifestPath(i), "it does not follow the manifest before it")
			return last, nil
		}
		s := segment{m.Segment, m.To, m.Digest(), m.Created, m.KeyID, false}
		if pub, ok := (*a.keys.known.Load())[m.KeyID]; ok {
			s.good = m.CheckSignature(pub) == nil
		}
		for k := range m.Bundles() {
			a.work = append(a.work, place{len(a.all), k, m.From + k*tiles.Width})
		}
		a.all, last = append(a.all, s), m
		if err := a.checkpoint(ctx, m); err != nil {
			return nil, err
		}
		a.o.Heads = append(a.o.Heads, Head{Size: m.To, Root: m.Root, From: archive.ManifestPath(i)})
	}
	return last, nil
}

// nothing tells an empty place from an archive whose manifests are gone.
func (a *archived) nothing(ctx context.Context) error {
	any := false
	err := a.b.List(ctx, "segments/", func(bucket.Object) (bool, error) { any = true; return false, nil })
	if err == nil && any {
		a.found.damage(checkArchive, "manifests", "there are segments, and no manifest")
		return nil
	}
	return firstError(err, vaultmesh.Errorf(vaultmesh.NotFound, "fsck", a.b.String(), "there is no archive"))
}

// checkpoint reads the signed note of a segment, the last of a.all.
func (a *archived) checkpoint(ctx context.Context, m *archive.Signed) error {
	a.notes = append(a.notes, nil)
	o := m.Object(tiles.Checkpoint)
	raw, err := a.object(ctx, m, o)
	if err != nil || raw == nil {
		return err
	}
	head, origin, err := ReadHead(raw, m.Path(o))
	if err != nil || origin != m.Origin || head.Size < m.To {
		a.found.damage(checkCheckpoint, m.Path(o), "it is not a checkpoint over the %d receipts up to segment %d", m.To, m.Segment)
		return nil
	}
	a.notes[len(a.notes)-1] = raw
	return nil
}

// reached returns the size of the largest checkpoint that lies within the archive. All that do must be of the log.
func (a *archived) reached(end uint64) (reached uint64) {
	for i, raw := range a.notes {
		if raw == nil {
			continue
		}
		head, _, err := ReadHead(raw, fmt.Sprintf("checkpoint of segment %d", a.all[i].number))
		if err == nil && head.Size <= end {
			reached = max(reached, head.Size)
			a.o.Heads = append(a.o.Heads, head)
		}
	}
	a.o.defaults() // sorts the heads
	return reached
}

// manifest reads the manifest of a segment again. Nil without an error says that it changed meanwhile, which is reported.
func (a *archived) manifest(ctx context.Context, at int) (*archive.Signed, error) {
	a.mu.Lock()
	m := a.open[at]
	a.mu.Unlock()
	if m != nil {
		return m, nil
	}
	s := a.all[at]
	m, _, err := archive.Read(ctx, a.b, s.number)
	if err != nil && vaultmesh.KindOf(err).Retryable() || ctx.Err() != nil {
		return nil, firstError(err, ctx.Err())
	}
	if err != nil || m.Digest() != s.digest {
		a.found.damage(checkArchive, archive.ManifestPath(s.number), "it changed while the archive was checked")
		return nil, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for old := range a.open {
		if len(a.open) > a.o.Workers && old < at {
			delete(a.open, old)
		}
	}
	if a.open == nil {
		a.open = map[int]*archive.Signed{}
	}
	a.open[at] = m
	return m, nil
}

// object reads an object. Nil without an error says that damage was found and reported.
func (a *archived) object(ctx context.Context, m *archive.Signed, o archive.Object) (data []byte, err error) {
	for i := range attempts {
		request, cancel := context.WithTimeout(ctx, requestTimeout)
		var shadowed bool
		data, shadowed, err = archive.ReadObject(request, a.b, &m.Manifest, o)
		cancel()
		if shadowed {
			a.found.damage(checkObjects, m.Path(o), "%s of segment %d was overwritten; the version that belongs there is still in the bucket, and was read", o.Name, m.Segment)
		}
		if err == nil || vaultmesh.KindOf(err) != vaultmesh.Unavailable || i == attempts-1 {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retryAfter << i):
		}
	}
	if err != nil && vaultmesh.KindOf(err) == vaultmesh.Corrupt {
		a.found.damage(checkObjects, m.Path(o), "%v", err)
		return nil, nil
	}
	if err == nil && data == nil {
		data = []byte{}
	}
	return data, err
}

// read reads one bundle. It runs on any worker.
func (a *archived) read(ctx context.Context, i uint64) (v bundle) {
	p := a.work[i]
	m, err := a.manifest(ctx, p.at)
	if err != nil || m == nil {
		return bundle{err: err}
	}
	o, width := m.Bundle(p.i)
	raw, err := a.object(ctx, m, o)
	if err != nil || raw == nil {
		return bundle{err: err}
	}
	v.bytes = int64(len(raw))
	entries, err := tiles.Entries(raw, width)
	if err != nil {
		a.found.damage(checkObjects, m.Path(o), "%v", err)
		return v
	}
	v.facts = make([]fact, len(entries))
	for k, e := range entries {
		v.facts[k] = a.keys.open(e)
	}
	return v
}

func (a *archived) use(i uint64, v bundle, size uint64) error {
	if v.err != nil {
		return v.err
	}
	p := a.work[i]
	width := min(tiles.Width, a.all[p.at].to-p.first)
	if v.facts == nil {
		return a.j.missing(nil, width)
	}
	for _, f := range v.facts {
		if err := a.j.receipt(f); err != nil {
			return err
		}
	}
	a.o.Progress(p.first+width, size)
	return a.behind.add(v.bytes)
}

// backed reports whether a key that is trusted by now stands behind the last manifest, which names every object by its digest
// and the manifest before it by its own; or, where only the log's keys are pinned, behind the last checkpoint.
func (a *archived) backed(last *archive.Signed) bool {
	if a.keys.judge {
		pub, ok := (*a.keys.known.Load())[last.KeyID]
		return ok && last.CheckSignature(pub) == nil
	}
	raw := a.notes[len(a.notes)-1]
	return raw != nil && a.keys.checkpoint(raw) == nil
}

// signatures verifies manifests and checkpoints, once the log's own statements about keys are known.
func (a *archived) signatures(ctx context.Context) error {
	for i, s := range a.all {
		where := archive.ManifestPath(s.number)
		if raw := a.notes[i]; raw != nil {
			a.j.checkpoint(raw, where+", checkpoint")
		}
		if !a.keys.judge {
			continue
		}
		pub, ok := (*a.keys.known.Load())[s.key]
		if !ok {
			a.found.damage(checkArchive, where, "it is signed by the key %.60q, which is not pinned", s.key)
			continue
		}
		if !s.good { // its key was not known when it was read, or the signature is wrong
			m, err := a.manifest(ctx, i)
			if err != nil {
				return err
			}
			if m == nil {
				continue
			}
			if err := m.CheckSignature(pub); err != nil {
				a.found.damage(checkArchive, where, "%v", err)
				continue
			}
		}
		a.counts(s, where)
	}
	return nil
}

// counts reports a manifest by a key that did not count for a log of its size: one that is retired, or for which its root
// did not vouch any more.
func (a *archived) counts(s segment, where string) {
	for _, k := range a.keys.history.Keys(receipt.PurposeReceipt) {
		if receipt.KeyID(k.Public) != s.key {
			continue
		}
		if k.Until != 0 && s.to > k.Until {
			a.found.damage(checkArchive, where, "it is signed by the key %s, which counts until size %d, and is of receipts up to %d", s.key, k.Until, s.to)
		}
		if s.to < k.From {
			a.found.damage(checkArchive, where, "it is signed by the key %s, which counts from size %d on, and is of receipts up to %d", s.key, k.From, s.to)
		}
	}
}

// proofs compares the anchors' proofs with their digests; what they prove is for the verification of a bundle to say.
func (a *archived) proofs(ctx context.Context) error {
	for i := range a.all {
		m, err := a.manifest(ctx, i)
		if err != nil {
			return err
		}
		if m == nil {
			continue
		}
		for _, o := range m.Objects {
			if !strings.HasPrefix(o.Name, "anchors/") {
				continue
			}
			if _, err := a.object(ctx, m, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// Kind tells what is at a place: "archive", "published", or "" where neither is.
func Kind(ctx context.Context, b bucket.Bucket) (string, error) {
	if _, err := fetch(ctx, b, tiles.Checkpoint, tiles.MaxCheckpoint); err == nil || vaultmesh.KindOf(err) == vaultmesh.TooLarge {
		return "published", nil
	} else if vaultmesh.KindOf(err) != vaultmesh.NotFound {
		return "", err
	}
	for _, p := range []struct{ prefix, kind string }{{"manifests/", "archive"}, {"segments/", "archive"}, {"tile/", "published"}} {
		found := false
		err := b.List(ctx, p.prefix, func(bucket.Object) (bool, error) { found = true; return false, nil })
		if err != nil && vaultmesh.KindOf(err) != vaultmesh.Invalid {
			return "", err
		}
		if found {
			return p.kind, nil
		}
	}
	return "", nil
}
