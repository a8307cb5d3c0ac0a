package fsck

import (
	"context"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/archive"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
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
	b     bucket.Bucket
	o     Options
	keys  *keyring
	found findings
	j     *judge
	all   []*archive.Signed
	notes map[uint64][]byte // checkpoints by segment
	work  []place
}

// place is one entry bundle.
type place struct {
	m     *archive.Signed
	i     uint64
	first uint64
}

func (a *archived) check(ctx context.Context, r *Report) error {
	last, err := a.manifests(ctx)
	if err != nil || last == nil {
		return err
	}
	r.Origin, r.Size, r.Root = last.Origin, last.To, last.Root
	reached, err := a.checkpoints(ctx, last.To)
	if err != nil {
		return err
	}
	if reached < last.To {
		a.found.damage(checkArchive, archive.ManifestPath(last.Segment), "the archive ends at receipt %d, the newest checkpoint that it reaches is of %d: it is being written, or its end is missing", last.To, reached)
	}
	a.j = newJudge(a.o, a.keys, &a.found, tiles.NewBuilder(func(tiles.Tile, []byte) error { return nil }))
	err = ordered(ctx, a.o.Workers, uint64(len(a.work)), a.read, func(i uint64, v bundle) error { return a.use(i, v, last.To) })
	a.signatures()
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
		a.all, last = append(a.all, m), m
		for k := range m.Bundles() {
			a.work = append(a.work, place{m, k, m.From + k*tiles.Width})
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

// checkpoints reads the signed note of every segment, and returns the size of the largest that lies within the archive.
func (a *archived) checkpoints(ctx context.Context, end uint64) (reached uint64, err error) {
	a.notes = map[uint64][]byte{}
	for _, m := range a.all {
		raw, err := a.object(ctx, m, m.Object(tiles.Checkpoint))
		if err != nil {
			return 0, err
		}
		if raw == nil {
			continue
		}
		head, origin, err := ReadHead(raw, m.Path(m.Object(tiles.Checkpoint)))
		if err != nil || origin != m.Origin || head.Size < m.To {
			a.found.damage(checkCheckpoint, head.From, "it is not a checkpoint over the %d receipts up to segment %d", m.To, m.Segment)
			continue
		}
		a.notes[m.Segment] = raw
		if head.Size <= end {
			reached = max(reached, head.Size)
			a.o.Heads = append(a.o.Heads, head)
		}
	}
	a.o.defaults() // sorts the heads
	return reached, nil
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
	o, width := p.m.Bundle(p.i)
	raw, err := a.object(ctx, p.m, o)
	if err != nil || raw == nil {
		return bundle{err: err}
	}
	entries, err := tiles.Entries(raw, width)
	if err != nil {
		a.found.damage(checkObjects, p.m.Path(o), "%v", err)
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
	_, width := p.m.Bundle(p.i)
	if v.facts == nil {
		return a.j.missing(nil, width)
	}
	for _, f := range v.facts {
		if err := a.j.receipt(f); err != nil {
			return err
		}
	}
	a.o.Progress(p.first+width, size)
	return nil
}

// signatures verifies manifests and checkpoints, once the log's own statements about keys are known.
func (a *archived) signatures() {
	for _, m := range a.all {
		where := archive.ManifestPath(m.Segment)
		if raw, ok := a.notes[m.Segment]; ok {
			a.j.checkpoint(raw, m.Path(m.Object(tiles.Checkpoint)))
		}
		if !a.keys.judge {
			continue
		}
		pub, ok := (*a.keys.known.Load())[m.KeyID]
		if !ok {
			a.found.damage(checkArchive, where, "it is signed by the key %.60q, which is not pinned", m.KeyID)
			continue
		}
		if err := m.CheckSignature(pub); err != nil {
			a.found.damage(checkArchive, where, "%v", err)
		}
	}
}

// proofs compares the anchors' proofs with their digests; what they prove is for the verification of a bundle to say.
func (a *archived) proofs(ctx context.Context) error {
	for _, m := range a.all {
		for _, o := range m.Objects[m.Bundles():] {
			if o.Name == tiles.Checkpoint {
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
	for prefix, kind := range map[string]string{"manifests/": "archive", "segments/": "archive", "tile/": "published"} {
		found := false
		err := b.List(ctx, prefix, func(bucket.Object) (bool, error) { found = true; return false, nil })
		if err != nil && vaultmesh.KindOf(err) != vaultmesh.Invalid {
			return "", err
		}
		if found {
			return kind, nil
		}
	}
	return "", nil
}
